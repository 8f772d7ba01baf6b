"""Named counters, shared by all processes."""

from typing import Protocol

from domain.sequences import SequenceKey, SequenceState


class Sequences(Protocol):
    """Counters by name and conditions. Each method raises `Unavailable` if the store is down or slow."""

    async def next(self, key: SequenceKey, *, count: int = 1) -> range:
        """Take the next `count` numbers; a sequence that does not exist starts at 1. Raise `SequenceExhausted`.

        No two callers ever get the same number, unless the sequence is reset or deleted in between. There may be
        gaps: after `Unavailable` the numbers may be taken, and no caller gets them.
        """
        ...

    async def find(self, key: SequenceKey) -> SequenceState | None:
        """Return how far the sequence is, if it exists."""
        ...

    async def reset(self, key: SequenceKey, value: int, *, expected: int) -> None:
        """Let the sequence go on after `value`; raise `PreconditionFailed` unless its last number is `expected`.

        A sequence that does not exist has the last number 0, and is made.
        """
        ...

    async def delete(self, key: SequenceKey, *, expected: int) -> None:
        """Remove the sequence; raise `PreconditionFailed` unless it exists and its last number is `expected`."""
        ...
