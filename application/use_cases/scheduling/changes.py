"""Changes of periodic tasks: create, replace, change, reset, pause, resume, delete."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from application.ports.periodic_tasks import ScheduledTask
from application.ports.publishing_options import PublishingOptionsPolicy
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from application.use_cases.access.guard import Authorize
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import Caller
from application.use_cases.scheduling.periodic_tasks import DescribePeriodicTasks, find
from domain.scheduling.drafts import (
    Draft,
    changed_data,
    definition_data,
    read_draft,
    read_fields,
)
from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.fields import Fields, Flag
from domain.scheduling.periodic_tasks import Definition, PeriodicTask, UnreadableTask
from domain.scheduling.schedules import Clocked
from domain.scheduling.slots import PeriodicTaskId
from domain.versions import Versions, check_version


@dataclass(frozen=True, slots=True)
class TaskChanges:
    """The common part of all changes of periodic tasks: it checks the caller and adds the audit entry."""

    authorize: Authorize
    audit: RecordAudit

    async def lock(self, uow: UnitOfWork, caller: Caller, task_id: PeriodicTaskId) -> ScheduledTask:
        """Lock a task for the caller; raise `PeriodicTaskNotFound`, or what `Authorize` raises."""
        await uow.roles.lock_access()
        found = await uow.periodic_tasks.lock(task_id)
        await self.authorize(uow, caller)
        return found

    async def record(
        self,
        uow: UnitOfWork,
        caller: Caller,
        action: str,
        task_id: PeriodicTaskId,
        details: Mapping[str, Any],
    ) -> None:
        """Add an entry about a task to the audit log."""
        await self.audit(
            uow,
            action,
            caller.client,
            actor=caller.user_id,
            target=f"periodic_task:{task_id}",
            details=details,
        )


@dataclass(frozen=True, slots=True)
class CreatePeriodicTask:
    """Create a periodic task from plain data (see `read_draft`); it is enabled by default."""

    uow: UnitOfWorkFactory
    clock: Clock
    ids: IdGenerator
    options: PublishingOptionsPolicy
    changes: TaskChanges
    view: DescribePeriodicTasks

    async def __call__(self, caller: Caller, wanted: Mapping[str, object]) -> ScheduledTask:
        """Raise `InvalidDefinition` or `PeriodicTaskNameTaken`."""
        now = self.clock.now()
        async with self.uow() as uow:
            await uow.roles.lock_access()
            await self.changes.authorize(uow, caller)
            draft = read_draft(wanted, extra=STATE_FIELDS, check_options=self.options.problems)
            draft = await _check_signature(uow, draft)
            task = PeriodicTask(
                id=PeriodicTaskId(self.ids.new()),
                definition=draft.with_problems(draft.definition.problems_at(now)).build(),
                enabled=draft.extra.get("enabled", True),
                enabled_at=now,
                created_at=now,
                updated_at=now,
            )
            _include_now(task, None)
            await _check_a_run_is_left(self.view, task, None)
            await uow.periodic_tasks.add(task)
            await self.changes.record(
                uow, caller, "scheduling.task_created", task.id, _audit_details(task)
            )
            await uow.commit()
        return await self.view.one(ScheduledTask(task=task))


@dataclass(frozen=True, slots=True)
class ChangePeriodicTask:
    """Change a periodic task, valid or not: replace its definition, or only some fields."""

    uow: UnitOfWorkFactory
    clock: Clock
    options: PublishingOptionsPolicy
    changes: TaskChanges
    view: DescribePeriodicTasks

    async def replace(
        self,
        caller: Caller,
        task_id: PeriodicTaskId,
        wanted: Mapping[str, object],
        *,
        expected: Versions | None = None,
    ) -> ScheduledTask:
        """Raise `PeriodicTaskNotFound`, `PreconditionFailed`, `InvalidDefinition` or `PeriodicTaskNameTaken`."""
        async with self.uow() as uow:
            scheduled = await self.changes.lock(uow, caller, task_id)
            check_version(scheduled.task.updated_at, expected)
            draft = read_draft(wanted, extra=STATE_FIELDS, check_options=self.options.problems)
            draft = await _check_signature(uow, draft)
            return await self._save(
                uow,
                caller,
                scheduled,
                self._check_times(draft, scheduled).build(),
                enabled=draft.extra.get("enabled", True),
            )

    async def change(
        self,
        caller: Caller,
        task_id: PeriodicTaskId,
        wanted: Mapping[str, object],
        *,
        expected: Versions | None = None,
    ) -> ScheduledTask:
        """Merge some fields into a task; beside `enabled: true`, `catch_up: true` makes the slots of the pause missed.

        Raise what `replace` raises.
        """
        state, problems = read_fields(wanted, CHANGE_FIELDS)
        if state.get("catch_up") and state.get("enabled") is not True:
            problems["catch_up"] = "goes with enabled: true"
        rest = {name: value for name, value in wanted.items() if name not in CHANGE_FIELDS}
        async with self.uow() as uow:
            scheduled = await self.changes.lock(uow, caller, task_id)
            check_version(scheduled.task.updated_at, expected)
            definition = None
            # A task can be paused even if its definition is invalid, or its code is gone.
            if rest:
                changed = changed_data(_plain_data(scheduled.task), rest)
                draft = read_draft(changed, check_options=self.options.problems)
                draft = draft.with_problems(problems)
                if not _TASK_AND_ARGUMENTS.isdisjoint(rest):
                    draft = await _check_signature(uow, draft)
                definition = self._check_times(draft, scheduled).build()
            elif problems:
                raise InvalidDefinition(problems)
            return await self._save(
                uow,
                caller,
                scheduled,
                definition,
                enabled=state.get("enabled"),
                catch_up=state.get("catch_up", False),
            )

    def _check_times(self, draft: Draft, scheduled: ScheduledTask) -> Draft:
        """Check the times that change; times that the task already has may be in the past."""
        now, handled_until = self.clock.now(), scheduled.schedule_state.handled_until
        before = _definition_of(scheduled.task)
        problems = draft.definition.problems_at(now, before=before)
        at = _new_instant(draft.definition, before)
        if at is not None and handled_until is not None and at <= handled_until:
            problems["schedule.at"] = "is over"
        return draft.with_problems(problems)

    async def _save(
        self,
        uow: UnitOfWork,
        caller: Caller,
        scheduled: ScheduledTask,
        definition: Definition | None,
        *,
        enabled: bool | None,
        catch_up: bool = False,
    ) -> ScheduledTask:
        task, now = scheduled.task, self.clock.now()
        before, defined_before = _recorded_fields(task), _definition_of(task)
        if definition is not None and isinstance(task, UnreadableTask):
            task = task.redefined(definition, at=now)
        elif definition is not None and isinstance(task, PeriodicTask):
            task.redefine(definition, at=now)
        if enabled is False:
            task.pause(at=now)
        elif enabled:
            task.resume(at=now, catch_up=catch_up)
        _include_now(task, defined_before)
        await _check_a_run_is_left(self.view, task, defined_before)
        await uow.periodic_tasks.save(task)
        if difference := _difference(before, _recorded_fields(task)):
            if catch_up and "enabled" in difference:
                difference["catch_up"] = True
            await self.changes.record(uow, caller, "scheduling.task_changed", task.id, difference)
        found = await find(uow, task.id)
        await uow.commit()
        return await self.view.one(found)


@dataclass(frozen=True, slots=True)
class ResetPeriodicTask:
    """Let a periodic task begin anew: none of its runs count, and it goes on with its next slot from now on.

    So a one-off, or a task with `max_runs`, that is over can run again, and so can one whose slots were handled by a
    clock that was wrong. A run that is going on goes on, and the history stays.
    """

    uow: UnitOfWorkFactory
    clock: Clock
    changes: TaskChanges
    view: DescribePeriodicTasks

    async def __call__(self, caller: Caller, task_id: PeriodicTaskId) -> ScheduledTask:
        """Raise `PeriodicTaskNotFound`."""
        async with self.uow() as uow:
            scheduled = await self.changes.lock(uow, caller, task_id)
            task, before = scheduled.task, scheduled.schedule_state
            task.reset(at=self.clock.now())
            await uow.periodic_tasks.save(task)
            await uow.periodic_tasks.forget_schedule_state(task_id)
            handled_until = before.handled_until and before.handled_until.isoformat()
            await self.changes.record(
                uow,
                caller,
                "scheduling.task_reset",
                task_id,
                {"name": task.name, "runs": before.runs, "handled_until": handled_until},
            )
            found = await find(uow, task_id)
            await uow.commit()
        return await self.view.one(found)


MOST_AT_ONCE = 200
"""Limit of tasks that one request may pause or resume; one transaction changes all of them."""


@dataclass(frozen=True, slots=True)
class PauseOrResumeTasks:
    """Pause many periodic tasks at once, or resume them: all of them, or none if one does not exist."""

    uow: UnitOfWorkFactory
    clock: Clock
    changes: TaskChanges

    async def __call__(
        self,
        caller: Caller,
        ids: Collection[PeriodicTaskId],
        *,
        enabled: bool,
        catch_up: bool = False,
    ) -> int:
        """Return how many were changed by that; raise `PeriodicTaskNotFound`."""
        changed = 0
        async with self.uow() as uow:
            await uow.roles.lock_access()
            found = await uow.periodic_tasks.lock_all(ids)
            await self.changes.authorize(uow, caller)
            now = self.clock.now()
            for task in (each.task for each in found if each.task.enabled is not enabled):
                if enabled:
                    task.resume(at=now, catch_up=catch_up)
                else:
                    task.pause(at=now)
                await uow.periodic_tasks.save(task)
                changed += 1
                await self.changes.record(
                    uow,
                    caller,
                    "scheduling.task_changed",
                    task.id,
                    {"enabled": {"from": not enabled, "to": enabled}}
                    | ({"catch_up": True} if catch_up else {}),
                )
            await uow.commit()
        return changed


@dataclass(frozen=True, slots=True)
class DeletePeriodicTask:
    """Remove a periodic task and its history; what a worker has begun goes on, and nothing of it begins any more."""

    uow: UnitOfWorkFactory
    changes: TaskChanges

    async def __call__(
        self, caller: Caller, task_id: PeriodicTaskId, *, expected: Versions | None = None
    ) -> None:
        """Raise `PeriodicTaskNotFound` or `PreconditionFailed`."""
        async with self.uow() as uow:
            task = (await self.changes.lock(uow, caller, task_id)).task
            check_version(task.updated_at, expected)
            await uow.periodic_tasks.delete(task_id)
            await self.changes.record(
                uow, caller, "scheduling.task_deleted", task_id, _audit_details(task)
            )
            await uow.commit()


async def _check_a_run_is_left(
    view: DescribePeriodicTasks, task: PeriodicTask | UnreadableTask, before: Definition | None
) -> None:
    """Raise `InvalidDefinition` if the end or the schedule of an enabled task is new, and no slot is before the end."""
    definition = _definition_of(task)
    if definition is None or definition.end_at is None or not task.enabled:
        return
    if before and (before.end_at, before.schedule) == (definition.end_at, definition.schedule):
        return
    if isinstance(
        definition.schedule, Clocked
    ):  # `Definition` knows that its instant is before the end
        return
    if (await view.one(ScheduledTask(task=task))).next_run_at is None:
        raise InvalidDefinition({"end_at": "leaves no run: the schedule has none before it"})


async def _check_signature(uow: UnitOfWork, draft: Draft) -> Draft:
    """Check a draft against the tasks that workers know, once any is known."""
    registered = await uow.registered_tasks.find(draft.definition.task)
    if not registered and await uow.registered_tasks.is_empty():
        return draft
    return draft.check_signature(registered)


_TASK_AND_ARGUMENTS = frozenset({"task", "args", "kwargs"})
STATE_FIELDS: Fields = {"enabled": Flag()}
"""The fields of a task besides those of its definition."""
CHANGE_FIELDS: Fields = {**STATE_FIELDS, "catch_up": Flag()}
"""The fields of a change besides those of a definition."""


def _definition_of(task: PeriodicTask | UnreadableTask) -> Definition | None:
    return task.definition if isinstance(task, PeriodicTask) else None


def _new_instant(definition: Definition, before: Definition | None) -> datetime | None:
    """Return the instant of a clocked schedule, unless it is the one that it was before."""
    schedule = definition.schedule
    is_new = before is None or before.schedule != schedule
    return schedule.at if isinstance(schedule, Clocked) and is_new else None


def _include_now(task: PeriodicTask | UnreadableTask, before: Definition | None) -> None:
    """Let a clocked time run that meant "now" and came a little late."""
    if isinstance(task, PeriodicTask) and (at := _new_instant(task.definition, before)):
        task.include(at)


def _plain_data(task: PeriodicTask | UnreadableTask) -> Mapping[str, Any]:
    return (
        {**task.stored, "name": task.name}
        if isinstance(task, UnreadableTask)
        else definition_data(task.definition)
    )


def _recorded_fields(task: PeriodicTask | UnreadableTask) -> dict[str, Any]:
    return {**_plain_data(task), "enabled": task.enabled}


# Arguments, and headers among the options, may be about people: that they changed is enough to know.
_PRIVATE_FIELDS = frozenset({"args", "kwargs", "options"})


def _audit_details(task: PeriodicTask | UnreadableTask) -> dict[str, Any]:
    return {
        name: value for name, value in _recorded_fields(task).items() if name not in _PRIVATE_FIELDS
    }


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: "changed"
        if name in _PRIVATE_FIELDS
        else {"from": before.get(name), "to": after.get(name)}
        for name in after
        if before.get(name) != after.get(name)
    }
