"""Take numbers of sequences, and manage them."""

from collections.abc import Collection
from dataclasses import dataclass

from application.ports.sequences import Sequences
from application.ports.unit_of_work import UnitOfWorkFactory
from application.use_cases.access.guard import Authorize
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import Caller
from domain.errors import PreconditionFailed
from domain.sequences import SequenceKey, SequenceNotFound, SequenceState


@dataclass(frozen=True, slots=True)
class TakeNumbers:
    """Take the next numbers of a sequence."""

    sequences: Sequences

    async def __call__(self, key: SequenceKey, *, count: int = 1) -> range:
        """Return `count` numbers that no other caller gets; raise `SequenceExhausted`."""
        return await self.sequences.next(key, count=count)


@dataclass(frozen=True, slots=True)
class GetSequence:
    """See how far a sequence is, without taking a number."""

    sequences: Sequences

    async def __call__(self, key: SequenceKey) -> SequenceState:
        """Raise `SequenceNotFound`."""
        state = await self.sequences.find(key)
        if state is None:
            raise SequenceNotFound
        return state


@dataclass(frozen=True, slots=True)
class ResetSequence:
    """Let a sequence go on after another number."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    sequences: Sequences
    audit: RecordAudit

    async def __call__(
        self, caller: Caller, key: SequenceKey, value: int, *, expected: Collection[int] | None
    ) -> SequenceState:
        """Raise `PreconditionFailed` unless the last number, 0 if there is none, is among the expected."""
        async with self.uow() as uow:
            await uow.roles.lock_access()
            caller = await self.authorize(uow, caller)
            state = await self.sequences.find(key) or SequenceState(key, 0)
            _check_expected(state, expected)
            await self.audit(
                uow,
                "sequences.reset",
                caller.client,
                actor=caller.user_id,
                target=f"sequence:{key.name.value}",
                details={
                    "conditions": key.conditions,
                    "value": {"from": state.value, "to": value},
                },
            )
            await self.sequences.reset(key, value, expected=state.value)
            await uow.commit()
        return SequenceState(key, value)


@dataclass(frozen=True, slots=True)
class DeleteSequence:
    """Delete a sequence; the next caller gets the number 1 again."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    sequences: Sequences
    audit: RecordAudit

    async def __call__(
        self, caller: Caller, key: SequenceKey, *, expected: Collection[int] | None
    ) -> None:
        """Raise `SequenceNotFound`, or `PreconditionFailed` unless the last number is among the expected."""
        async with self.uow() as uow:
            await uow.roles.lock_access()
            caller = await self.authorize(uow, caller)
            state = await self.sequences.find(key)
            if state is None:
                raise SequenceNotFound
            _check_expected(state, expected)
            await self.audit(
                uow,
                "sequences.deleted",
                caller.client,
                actor=caller.user_id,
                target=f"sequence:{key.name.value}",
                details={"conditions": key.conditions, "value": state.value},
            )
            await self.sequences.delete(key, expected=state.value)
            await uow.commit()


def _check_expected(state: SequenceState, expected: Collection[int] | None) -> None:
    if expected is not None and state.value not in expected:
        raise PreconditionFailed
