"""`DefinitionFeed` on a `MemoryStore`. Beats that share a store need one each."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from adapters.memory.store import MemoryStore
from application.ports.definition_feed import Changes, Defined, DefinitionFeed, Mark, Version
from domain.scheduling.periodic_tasks import PeriodicTask, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId


class MemoryDefinitionFeed(DefinitionFeed):
    """Finds changes by comparing the rows themselves: a commit replaces each row that it writes."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._seen: dict[PeriodicTaskId, tuple[PeriodicTask | UnreadableTask, Version]] = {}
        self._gone: dict[PeriodicTaskId, Version] = {}
        self._history = 0

    async def load(self) -> Changes:
        self._refresh()
        return Changes(defined=self._defined(self._seen), deleted=(), mark=Mark(self._history))

    async def changes(self, since: Mark) -> Changes:
        self._refresh()
        return Changes(
            defined=self._defined(one for one, (_, at) in self._seen.items() if at > since),
            deleted=[one for one, at in self._gone.items() if at > since],
            mark=Mark(self._history),
        )

    async def versions(self) -> Mapping[PeriodicTaskId, Version]:
        self._refresh()
        return {one: version for one, (_, version) in self._seen.items()}

    async def read(self, ids: Collection[PeriodicTaskId]) -> Sequence[Defined]:
        self._refresh()
        return self._defined(one for one in ids if one in self._seen)

    async def changed(self) -> None:
        await self._store.next_commit()

    async def record_problems(self, problems: Mapping[PeriodicTaskId, str | None]) -> None:
        for task_id, problem in problems.items():
            if problem is None:
                self._store.problems.pop(task_id, None)
            else:
                self._store.problems[task_id] = problem

    async def recorded_problems(self) -> Mapping[PeriodicTaskId, str]:
        return dict(self._store.problems)

    def _refresh(self) -> None:
        there = self._store.periodic_tasks
        for task_id in self._seen.keys() - there.keys():
            del self._seen[task_id]
            self._gone[task_id] = self._next_version()
        for task_id, task in there.items():
            if task_id not in self._seen or self._seen[task_id][0] is not task:
                self._seen[task_id] = task, self._next_version()
                self._gone.pop(task_id, None)

    def _next_version(self) -> Version:
        self._history += 1
        return Version(self._history)

    def _defined(self, ids: Iterable[PeriodicTaskId]) -> list[Defined]:
        return [
            Defined(task=replace(self._seen[one][0]), version=self._seen[one][1]) for one in ids
        ]
