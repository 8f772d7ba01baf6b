"""Sequences in memory."""

from application.ports.sequences import Sequences
from domain.errors import PreconditionFailed
from domain.sequences import (
    HIGHEST,
    SequenceExhausted,
    SequenceKey,
    SequenceState,
)


class MemorySequences(Sequences):
    """The counters of one process."""

    def __init__(self) -> None:
        self._states: dict[str, SequenceState] = {}

    async def next(self, key: SequenceKey, *, count: int = 1) -> range:
        last = self._last(key)
        if last + count > HIGHEST:
            raise SequenceExhausted
        self._put(key, last + count)
        return range(last + 1, last + count + 1)

    async def find(self, key: SequenceKey) -> SequenceState | None:
        return self._states.get(key.text)

    async def reset(self, key: SequenceKey, value: int, *, expected: int) -> None:
        if self._last(key) != expected:
            raise PreconditionFailed
        self._put(key, value)

    async def delete(self, key: SequenceKey, *, expected: int) -> None:
        state = self._states.get(key.text)
        if state is None or state.value != expected:
            raise PreconditionFailed
        del self._states[key.text]

    def _last(self, key: SequenceKey) -> int:
        state = self._states.get(key.text)
        return state.value if state else 0

    def _put(self, key: SequenceKey, value: int) -> None:
        self._states[key.text] = SequenceState(key, value)
