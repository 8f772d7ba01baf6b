"""The main thread's part: between two waits it reads news, takes what is due from the agenda, and publishes."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Protocol

from application.ports.scheduling import BeatReport, DueSlots, Finished, Published
from application.ports.system import Clock
from domain.scheduling.runs import Run
from domain.scheduling.tasks import PeriodicTask
from domain.scheduling.zones import zone_rules_version
from entrypoints.celery.beat.agenda import Agenda, Entry
from entrypoints.celery.beat.garbage import Garbage
from entrypoints.celery.beat.health import PublishingHealth
from entrypoints.celery.beat.lease import Lease
from entrypoints.celery.beat.news import Began, Changed, Ended, Grant, Granted, Loaded, News

_log = logging.getLogger(__name__)

SLICE = 0.01
"""Seconds after which news and publishing give way to what is due."""
MANY_CHANGES = 1000
MOST_SLOTS = 500
"""Slots that are claimed in one statement, more or less."""
MOST_IN_HAND = 2000
"""Slots that wait for the store and runs that wait for the broker, at most: what is due beyond that stays due."""
SPARE_TIME = 0.5
"""Seconds until something is due in which what is not urgent is done."""
STALLED_AFTER = 10.0
"""Seconds without a sign of life after which the main thread hangs. A message takes less, even if it fails."""
SUSPENDED_AFTER = timedelta(seconds=60)
"""A beat that did nothing for so long was not there: its machine slept, or somebody moved the clock."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
"""Seconds until a broker that did not take a message is asked again."""


class BrokerAway(Exception):
    """The broker did not take a message; it may have arrived all the same."""


class Publisher(Protocol):
    """Sends the messages of runs. Raises `BrokerAway`, or whatever keeps this one message from ever being sent."""

    def publish(self, entry: Entry, run: Run, expires_at: datetime | None) -> None:
        """Give the message of a run to the broker, the same at every attempt."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatched:
    """What became of runs: the store is to learn of it."""

    published: list[Published] = field(default_factory=list[Published])
    unknown: list[tuple[DueSlots, Published]] = field(
        default_factory=list[tuple[DueSlots, Published]]
    )
    """Published while the store was away, which has never heard of these."""
    failed: list[Finished] = field(default_factory=list[Finished])

    def __bool__(self) -> bool:
        return bool(self.published or self.unknown or self.failed)


class Outside(Protocol):
    """What the dispatcher leaves to the event loop. Neither call waits."""

    @property
    def waiting(self) -> int:
        """How many slots wait for the store."""
        ...

    def claim(self, epoch: int, due_slots: Sequence[DueSlots]) -> None:
        """Have slots claimed; the runs come back as `Granted`."""
        ...

    def note(self, dispatched: Dispatched) -> None:
        """Have it noted."""
        ...


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Everything that must not be late."""

    agenda: Agenda
    publisher: Publisher
    outside: Outside
    lease: Lease
    clock: Clock
    monotonic: Callable[[], float]
    garbage: Garbage
    news: "SimpleQueue[News]" = field(default_factory=SimpleQueue)
    lag: timedelta = timedelta(0)
    """How late the latest runs were published."""
    published: int = 0
    """How many messages the broker took so far."""
    is_loaded: bool = False
    _epoch: int | None = None
    _in_hand: deque[Grant] = field(default_factory=deque[Grant])
    _reading: Iterator[None] | None = None
    _worked_at: datetime | None = None
    _pause: float = 0.0
    _broker_away_until: float = 0.0
    _alive_at: float = 0.0
    _doing: str = ""
    """What takes its time just now."""
    health: PublishingHealth = field(init=False)

    def __post_init__(self) -> None:
        self.health = PublishingHealth(clock=self.clock, monotonic=self.monotonic)
        self._alive_at = self.monotonic()

    @property
    def leads(self) -> bool:
        """Whether this beat leads and knows where everything stands."""
        return self._epoch is not None

    @property
    def in_hand(self) -> int:
        """How many runs are granted and not published."""
        return len(self._in_hand)

    def report(self, name: str) -> BeatReport:
        """Return how things are; any thread may ask, and learns whether the main thread hangs."""
        now, first = self.clock.now(), next(iter([*self._in_hand]), None)
        return BeatReport(
            name=name,
            problem=self._stall(),
            publishing=self.health.problem,
            next_slot=self.agenda.next_due_at,
            lag=self.lag if first is None else max(self.lag, now - first.run.scheduled_for),
            tasks=len(self.agenda),
            unpublished=self.in_hand,
            time_zones=zone_rules_version(),
        )

    def wait(self, longest: float) -> None:
        """Return when there is news, when something is due, or after `longest` seconds."""
        self._alive_at = self.monotonic()
        timeout = min(longest, self._seconds_to_wait())
        if timeout <= 0:
            return
        try:
            self._reading = self._read(self.news.get(timeout=timeout))
        except Empty:
            return

    def work(self) -> None:
        """Do what can be done now, for a slice of time."""
        self._alive_at = self.monotonic()
        now = self.clock.now()
        self._notice_suspension(now)
        give_way_at = self.monotonic() + SLICE
        self._read_news(give_way_at)
        if self.leads and self.lease.holds:
            self._claim_what_is_due(now)
            self.publish(give_way_at=give_way_at + SLICE)
        if self._seconds_to_wait() > SPARE_TIME and self.news.empty():
            self.agenda.tidy()
            self.garbage.collect()

    def publish(self, *, give_way_at: float) -> None:
        """Publish what is in hand until then, and at least one."""
        dispatched = Dispatched()
        while self._in_hand and self.lease.holds and self.monotonic() >= self._broker_away_until:
            if not self._publish_first(dispatched) or self.monotonic() >= give_way_at:
                break
        if dispatched:
            self.outside.note(dispatched)

    def publish_all(self, *, within: float) -> None:
        """Publish everything that was granted, however long it takes, but not longer than so many seconds."""
        give_up_at = self.monotonic() + within
        self._read_news(give_up_at)
        self.publish(give_way_at=give_up_at)

    # --- news ---

    def _read_news(self, give_way_at: float) -> None:
        while True:
            if self._reading is None:
                try:
                    self._reading = self._read(self.news.get_nowait())
                except Empty:
                    return
            for _ in self._reading:
                if self.monotonic() >= give_way_at:
                    return
            self._reading = None

    def _read(self, news: News) -> Iterator[None]:
        match news:
            case Loaded(tasks):
                for task in tasks:
                    self.agenda.define(task)
                    yield
                self.is_loaded = True
                self.garbage.spare()
            case Changed():
                yield from self._change(news)
            case Began(leadership, schedule_states):
                yield from self.agenda.settle(schedule_states)
                self._epoch = leadership.epoch
                if due_slots := self.agenda.first_sights(schedule_states):
                    self.outside.claim(leadership.epoch, due_slots)
            case Ended():
                self._epoch = None
                self._in_hand.clear()
            case Granted():
                self._grant(news)
        yield

    def _change(self, changed: Changed) -> Iterator[None]:
        now = self.clock.now()
        for task in changed.tasks:
            self.agenda.define(task, ready_since=now)
            yield
        for task_id in changed.deleted:
            self.agenda.forget(task_id)
            yield
        if len(changed.tasks) >= MANY_CHANGES:
            self.garbage.spare()

    def _grant(self, granted: Granted) -> None:
        self._in_hand.extend(granted.grants)
        for task_id, runs in granted.refused.items():
            self.agenda.give_back(task_id, runs)
        now = self.clock.now()
        for task_id, schedule_state in granted.answered.items():
            self.agenda.answer(task_id, schedule_state, now=now)

    # --- due ---

    def _claim_what_is_due(self, now: datetime) -> None:
        room = MOST_IN_HAND - self.outside.waiting - len(self._in_hand)
        if room > 0 and self._epoch is not None:
            due_slots = self.agenda.due(now, most=min(room, MOST_SLOTS))
            if due_slots:
                self.outside.claim(self._epoch, due_slots)

    def _notice_suspension(self, now: datetime) -> None:
        if self._worked_at is not None and now - self._worked_at > SUSPENDED_AFTER:
            _log.warning(
                "the beat did nothing since %s; what was due meanwhile was missed", self._worked_at
            )
            self.agenda.up_since = now
        if self._worked_at is not None and now < self._worked_at:
            self.agenda.set_back(now)
        self._worked_at = now

    def _stall(self) -> str | None:
        seconds = self.monotonic() - self._alive_at
        if seconds <= STALLED_AFTER:
            return None
        return f"it has hung for {seconds:.0f} s{f', {self._doing}' if self._doing else ''}"

    def _seconds_to_wait(self) -> float:
        if self._reading is not None:
            return 0.0
        if not self.leads:
            return float("inf")
        if not self.lease.holds:
            return FIRST_PAUSE  # nobody tells when it is extended
        waits = []
        if self._in_hand:
            waits.append(self._broker_away_until - self.monotonic())
        due_at = self.agenda.next_due_at
        if due_at is not None:
            seconds = (due_at - self.clock.now()).total_seconds()
            full = self.outside.waiting + len(self._in_hand) >= MOST_IN_HAND
            # What makes room is news, or the broker.
            waits.append(max(seconds, FIRST_PAUSE) if full else seconds)
        return min(waits, default=float("inf"))

    # --- publishing ---

    def _publish_first(self, dispatched: Dispatched) -> bool:
        """Publish the first run in hand; return False if the broker is away."""
        grant = self._in_hand[0]
        run = grant.run
        entry = self.agenda.find(run.task_id)
        expires_at: datetime | None = None
        try:
            if entry is None or not isinstance(entry.task, PeriodicTask):
                raise LookupError("its periodic task is gone, or cannot be read")  # noqa: TRY301
            lifetime = entry.task.lifetime(run.scheduled_for, sun=self.agenda.sun)
            expires_at = None if lifetime is None else self.clock.now() + lifetime
            self._alive_at = self.monotonic()
            self._doing = f"publishing {entry.task.definition.name}"
            self.publisher.publish(entry, run, expires_at)
        except BrokerAway as error:
            self._wait_for_broker(error)
            return False
        except Exception as error:  # noqa: BLE001 - one message that cannot be sent stops no other
            self.health.failed(run, error)
            self._in_hand.popleft()
            dispatched.failed.append(
                Finished(run_id=run.id, at=self.clock.now(), error=f"was not published: {error}")
            )
            return True
        finally:
            self._doing = ""
            self._alive_at = self.monotonic()
        self._in_hand.popleft()
        now = self.clock.now()
        self._pause = 0.0
        self.health.succeeded()
        self.lag = now - run.scheduled_for
        self.published += 1
        published = Published(run_id=run.id, at=now, deadline=expires_at)
        if grant.handled_until is None:
            dispatched.published.append(published)
        else:
            due = DueSlots(
                task_id=run.task_id, slots=(run.scheduled_for,), handled_until=grant.handled_until
            )
            dispatched.unknown.append((due, published))
        return True

    def _wait_for_broker(self, error: BrokerAway) -> None:
        self.health.broker_is_away(error, waiting=len(self._in_hand))
        self._pause = min(self._pause * 2 or FIRST_PAUSE, LONGEST_PAUSE)
        self._broker_away_until = self.monotonic() + self._pause
