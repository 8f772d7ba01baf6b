"""Periodic tasks: their definition, their schedule and its state, and how they change."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice

from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.firing import RESOLUTION, Sun
from domain.scheduling.json_values import Json, is_list, is_object, problem_with_json
from domain.scheduling.misfire import Due, Misfire, due_slots
from domain.scheduling.options import PublishingOptions
from domain.scheduling.schedules import Clocked, Schedule, in_utc
from domain.scheduling.slots import Jitter, PeriodicTaskId
from domain.scheduling.trigger import Trigger
from domain.text import nfc_stripped, problem_with
from domain.versions import next_version

LONGEST_NAME = 200
LONGEST_DESCRIPTION = 2000
LONGEST_TASK = 255
"""Characters of the name of the registered task."""
LONGEST_JITTER = timedelta(days=1)
LONGEST_GRACE = timedelta(days=3660)
MOST_RUNS = 2**31 - 1
SLOW_CLIENT = timedelta(minutes=1)
"""How long ago a new clocked time may be: clients and clocks are slow."""
MOST_SLOTS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """The part of a periodic task that users set. A change makes a new one (`dataclasses.replace`) and checks it."""

    name: str
    """Unique, on one line."""
    description: str = ""
    task: str
    """The name of the registered task that runs."""
    schedule: Schedule
    args: Sequence[Json] = field(default=(), hash=False)
    kwargs: Mapping[str, Json] = field(default_factory=dict[str, Json], hash=False)
    options: PublishingOptions = field(default_factory=PublishingOptions)
    start_at: datetime | None = None
    """No slot is before this instant; intervals count from it."""
    end_at: datetime | None = None
    """No slot is after this instant."""
    one_off: bool = False
    """Whether the first run is the last."""
    max_runs: int | None = None
    max_running: int | None = None
    """How many runs may be active at once. Further slots are skipped, or wait (`run_all`)."""
    jitter: timedelta = timedelta(0)
    """How much later than its slot a run may come, at random."""
    misfire: Misfire = Misfire.RUN_ONCE
    misfire_grace: timedelta | None = None
    """How late a run may be, jitter aside (None: however late)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", nfc_stripped(self.name))
        for bound in ("start_at", "end_at"):
            moment = getattr(self, bound)
            if moment is not None:
                object.__setattr__(self, bound, in_utc(moment, field=bound))
        if problems := {name: problem for name, problem in self._problems() if problem}:
            raise InvalidDefinition(problems)
        object.__setattr__(self, "args", tuple(self.args))
        object.__setattr__(self, "kwargs", dict(self.kwargs))

    @property
    def waits_when_full(self) -> bool:
        """Whether a slot waits for the end of a run when `max_running` is reached, instead of being skipped."""
        return self.max_running is not None and self.misfire is Misfire.RUN_ALL

    def _problems(self) -> Iterator[tuple[str, str | None]]:
        yield "name", problem_with(self.name, shortest=1, longest=LONGEST_NAME)
        yield "description", _problem_with_prose(self.description, longest=LONGEST_DESCRIPTION)
        yield "args", problem_with_json(self.args) if is_list(self.args) else "must be a list"
        yield (
            "kwargs",
            problem_with_json(self.kwargs) if is_object(self.kwargs) else "must be an object",
        )
        if is_object(self.kwargs) and "self" in self.kwargs:
            yield (
                "kwargs.self",
                "is what the task itself is called; no argument can have this name",
            )
        yield "task", problem_with(self.task, shortest=1, longest=LONGEST_TASK)
        if self.end_at is not None and self.start_at is not None and self.end_at < self.start_at:
            yield "end_at", "must not be before the start"
        if isinstance(self.schedule, Clocked) and not self._includes(self.schedule.at):
            yield "schedule.at", "must not be before the start or after the end"
        for name, most in (("max_runs", self.max_runs), ("max_running", self.max_running)):
            if most is not None and not 1 <= most <= MOST_RUNS:
                yield name, f"must be from 1 to {MOST_RUNS}"
        if not timedelta(0) <= self.jitter <= LONGEST_JITTER:
            yield "jitter", "must be from nothing to a day"
        if (
            self.misfire_grace is not None
            and not timedelta(0) <= self.misfire_grace <= LONGEST_GRACE
        ):
            yield "misfire_grace", f"must be from nothing to {LONGEST_GRACE.days} days"

    def problems_at(self, now: datetime, *, before: "Definition | None" = None) -> dict[str, str]:
        """Say which times are over at `now`, so that nothing would run, but for those that it had `before`.

        A slow client or clock may mean "now": an instant of the last minute comes late, and runs if a run may.
        """
        problems: dict[str, str] = {}
        if (
            self.end_at is not None
            and self.end_at <= now
            and not (before and before.end_at == self.end_at)
        ):
            problems["end_at"] = "is over"
        patience = timedelta(0) if self.misfire is Misfire.SKIP else SLOW_CLIENT
        if self.misfire_grace is not None:
            patience = min(patience, self.misfire_grace)
        if (
            isinstance(self.schedule, Clocked)
            and self.schedule.at <= now - patience
            and not (before and before.schedule == self.schedule)
        ):
            problems["schedule.at"] = "is over"
        return problems

    def _includes(self, moment: datetime) -> bool:
        return (self.start_at is None or self.start_at <= moment) and (
            self.end_at is None or moment <= self.end_at
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """How far the slots of a task are handled. The beat stores it apart from the definition, which it never writes."""

    handled_until: datetime | None = None
    """Every slot up to here has run or was skipped."""
    runs: int = 0


@dataclass(slots=True, kw_only=True)
class StoredTask:
    """The facts of every task, even if its definition cannot be read."""

    id: PeriodicTaskId
    enabled: bool = True
    enabled_at: datetime
    """Slots up to here do not run: the task did not exist, or was paused."""
    created_at: datetime
    updated_at: datetime
    reset_at: datetime | None = None
    """When it was reset; earlier runs do not count."""

    def pause(self, *, at: datetime) -> None:
        """Run no more until resumed."""
        if self.enabled:
            self.enabled = False
            self.updated_at = next_version(self.updated_at, at)

    def resume(self, *, at: datetime, catch_up: bool = False) -> None:
        """Run again from the next slot on; with `catch_up`, the slots of the pause were missed: `misfire` decides."""
        if not self.enabled:
            self.enabled = True
            self.enabled_at = self.enabled_at if catch_up else at
            self.updated_at = next_version(self.updated_at, at)

    def reset(self, *, at: datetime) -> None:
        """Begin again, as if it were created now: no run counts, no slot up to now runs. The definition stays."""
        self.reset_at = at
        self.enabled_at = at
        self.updated_at = next_version(self.updated_at, at)


@dataclass(slots=True, kw_only=True)
class PeriodicTask(StoredTask):
    """A task that runs by a schedule, from when it was enabled until it is paused or over."""

    definition: Definition

    @property
    def name(self) -> str:
        """Its unique name."""
        return self.definition.name

    def include(self, slot: datetime) -> None:
        """Let a slot run that was over when the task was created or changed."""
        self.enabled_at = min(self.enabled_at, slot - RESOLUTION)

    def redefine(self, definition: Definition, *, at: datetime) -> None:
        """Change the definition. Handled slots stay handled, so the next slot follows the last one, not the change."""
        self.definition = definition
        self.updated_at = next_version(self.updated_at, at)

    def trigger(self, sun: Sun) -> Trigger:
        """Return the slots of the task, whether or not it is enabled."""
        definition = self.definition
        return Trigger(
            schedule=definition.schedule,
            anchor=definition.start_at or self.created_at,
            start_at=definition.start_at,
            end_at=definition.end_at,
            sun=sun,
        )

    def jitter(self) -> Jitter:
        """Return how much later than its slot each run comes."""
        return Jitter(self.id, self.definition.jitter)

    def runs_left(self, state: ScheduleState) -> int | None:
        """Return how many runs are still to come, or None if nothing limits them."""
        most = 1 if self.definition.one_off else self.definition.max_runs
        return None if most is None else max(0, most - state.runs)

    def due(self, state: ScheduleState, *, now: datetime, up_since: datetime, sun: Sun) -> Due:
        """Return the slots to run at `now`, at most `MOST_SLOTS_AT_ONCE`, and until when slots are handled after them.

        `up_since` is when the beat that asks came up, whether it led or stood by: see `due_slots`.
        """
        handled_until = self._handled_until(state)
        left = self.runs_left(state)
        if not self.enabled or left == 0:
            return Due(slots=(), handled_until=handled_until, next_slot=None)
        due = due_slots(
            self.trigger(sun),
            handled_until=handled_until,
            now=now,
            up_since=up_since,
            misfire=self.definition.misfire,
            grace=self.definition.misfire_grace,
            jitter=self.jitter(),
            limit=min(most for most in (left, self._most_at_once) if most is not None),
        )
        return replace(due, next_slot=None) if len(due.slots) == left else due

    @property
    def _most_at_once(self) -> int:
        most = self.definition.max_running
        return (
            MOST_SLOTS_AT_ONCE
            if most is None or not self.definition.waits_when_full
            else min(most, MOST_SLOTS_AT_ONCE)
        )

    def next_run(self, state: ScheduleState, *, sun: Sun) -> datetime | None:
        """Return when the first slot that is not handled is due, jitter included, or None if there is none."""
        if not self.enabled or self.runs_left(state) == 0:
            return None
        slot = self.trigger(sun).next_after(self._handled_until(state))
        return None if slot is None else slot + self.jitter().delay(slot)

    def next_slots(self, state: ScheduleState, *, now: datetime, sun: Sun) -> Iterator[datetime]:
        """Yield future slots in order, lazily; none while the task is paused."""
        if self.enabled:
            handled_until = max(self._handled_until(state), now)
            yield from islice(self.slots_after(handled_until, sun=sun), self.runs_left(state))

    def slots_after(self, moment: datetime, *, sun: Sun) -> Iterator[datetime]:
        """Yield the slots of the trigger after `moment` in order, lazily."""
        trigger = self.trigger(sun)
        slot = trigger.next_after(moment)
        while slot is not None:
            yield slot
            slot = trigger.next_after(slot)

    def last_slot(self, state: ScheduleState, *, sun: Sun) -> datetime | None:
        """Return the latest slot that has run or was skipped since the task was enabled, if there is one."""
        if state.handled_until is None:
            return None
        trigger = self.trigger(sun)
        # Most have one in the last days, and finding it there needs far less astronomy.
        lately = max(self.enabled_at, state.handled_until - timedelta(days=2))
        return trigger.last_between(lately, state.handled_until) or trigger.last_between(
            self.enabled_at, state.handled_until
        )

    def lifetime(self, slot: datetime, *, sun: Sun) -> timedelta | None:
        """Return how long the message of `slot` may wait for a worker before it is dropped (None: for ever).

        By default as long as it is from this slot to the next, so that runs do not pile up behind a worker that is
        down. A task that wants all of its missed slots (`run_all`) wants these too.
        """
        if self.definition.options.expires is not None:
            return self.definition.options.expires
        if self.definition.misfire is Misfire.RUN_ALL:
            return None
        following = self.trigger(sun).next_after(slot)
        return None if following is None else following - slot

    def _handled_until(self, state: ScheduleState) -> datetime:
        return max(state.handled_until or self.enabled_at, self.enabled_at)


@dataclass(slots=True, kw_only=True)
class UnreadableTask(StoredTask):
    """A stored definition, written by hand, that breaks the rules. It is shown with the reason, and never runs."""

    name: str
    stored: Mapping[str, Json] = field(hash=False)
    """The stored fields that `read_draft` reads, except the name."""
    reason: str

    def redefined(self, definition: Definition, *, at: datetime) -> PeriodicTask:
        """Return the same task with a definition that can be read."""
        return PeriodicTask(
            id=self.id,
            definition=definition,
            enabled=self.enabled,
            enabled_at=self.enabled_at,
            created_at=self.created_at,
            updated_at=next_version(self.updated_at, at),
            reset_at=self.reset_at,
        )


def _problem_with_prose(text: str, *, longest: int) -> str | None:
    return (
        f"may have at most {longest} characters" if len(text) > longest else problem_with_json(text)
    )
