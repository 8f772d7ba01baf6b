"""`TypedCelery`: Celery whose tasks know their arguments and their result, for mypy and pyright alike."""

import asyncio
import inspect
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from celery import Task
from celery.canvas import Signature
from celery.result import AsyncResult, EagerResult
from celery.utils.time import maybe_make_aware

from entrypoints.celery.asynchronous.tasks import (
    AsyncTask,
    AsyncWorker,
    on_process_loop,
    refuse_generator_function,
)
from entrypoints.celery.internals import CeleryHooks

P = ParamSpec("P")
R = TypeVar("R")
J = TypeVar("J", bound=float | str | Sequence[Any] | Mapping[str, Any] | None)
"""JSON values. Their overload comes first: mypy takes the first one for generic functions."""
T = TypeVar("T", bound=Task[..., Any])
R_co = TypeVar("R_co", covariant=True)
Self_contra = TypeVar("Self_contra", bound=Task[..., Any], contravariant=True)

_ROUTING = ("queue", "exchange", "exchange_type", "routing_key", "delivery_mode", "priority")


class MessageOptions(TypedDict, total=False):
    """Options of all messages of a task, or of one of them."""

    queue: str
    """The queue to send to; without one `task_routes` decides."""
    exchange: str
    """The exchange to send to, in place of a queue."""
    exchange_type: str
    """`direct`, `topic` or `fanout`."""
    routing_key: str
    """The routing key, in place of the one of the queue."""
    delivery_mode: Literal[1, 2]
    """1: the broker may lose the message when it restarts. 2: it keeps it."""
    priority: int
    """0 to 9; RabbitMQ delivers the highest number first, Redis the lowest."""
    serializer: str
    """`json`, or another one that kombu knows."""
    expires: float | datetime
    """Seconds from now, or an instant. After it no worker begins the message."""
    time_limit: float
    """Seconds until the process that runs it is killed (prefork only)."""
    soft_time_limit: float
    """Seconds until `SoftTimeLimitExceeded` is raised in it (prefork; coroutines: at an `await`, in every pool)."""
    ignore_result: bool
    """Whether the result is not stored."""


class TaskOptions(MessageOptions, total=False):
    """Options of the decorator. The configuration decides what is not given."""

    name: str
    """The name in messages; by default its module and function."""
    typing: bool
    """Whether arguments are checked against its signature before they are sent."""
    shared: bool
    """Whether all Celery applications of the process get it. The default is False."""
    lazy: bool
    """Whether the task may be created when it is first used."""
    longest_delay: timedelta | None
    """The longest countdown without a warning; None means any. The default is one hour."""
    acks_late: bool
    """Whether a message is acknowledged after it ran. Then it runs again if the whole worker dies."""
    acks_on_failure: bool
    """With `acks_late`: whether a message whose task failed is acknowledged."""
    acks_on_timeout: bool
    """With `acks_late`: whether a message whose task exceeded its time limit is acknowledged."""
    reject_on_worker_lost: bool
    """With `acks_late`: whether a message returns to the queue if only its process died. Otherwise it has failed."""
    retry_on_worker_lost: bool
    """Whether it is retried if its process died, up to `max_retries`."""
    max_retries: int | None
    """How often it may be retried; None means without end."""
    default_retry_delay: float
    """Seconds before a retry that does not say when."""
    autoretry_for: Sequence[type[BaseException]]
    """Exceptions after which it is retried."""
    dont_autoretry_for: Sequence[type[BaseException]]
    """Exceptions to `autoretry_for`."""
    retry_kwargs: Mapping[str, Any]
    """Arguments of `retry` for automatic retries, such as `max_retries` or `countdown`."""
    retry_backoff: bool | float
    """Whether each automatic retry waits twice as long as the last one. A number is the first wait in seconds."""
    retry_backoff_max: int
    """The longest of these waits in seconds."""
    retry_jitter: bool
    """Whether these waits are random, up to their full length."""
    throws: tuple[type[Exception], ...]
    """Exceptions that are logged as INFO without a traceback."""
    rate_limit: str | float | None
    """How many one worker may begin: `10/s`, `10/m`, `10/h`, or a number per second."""
    track_started: bool
    """Whether the result backend records the beginning."""
    trail: bool
    """Whether its result lists the tasks that it published."""
    send_events: bool
    """Whether workers send events of it."""
    store_errors_even_if_ignored: bool
    """With `ignore_result`: whether failures are stored."""
    store_eager_result: bool
    """Whether eager execution stores results."""
    resultrepr_maxsize: int
    """How many characters of a result appear in logs and events."""
    pydantic_strict: bool
    """With `pydantic`: whether values are not converted."""
    pydantic_context: dict[str, Any]
    """With `pydantic`: the context of validators."""
    pydantic_dump_kwargs: dict[str, Any]
    """With `pydantic`: arguments of `model_dump`."""


class PublishOptions(MessageOptions, total=False):
    """Options of one message. The task and the configuration decide what is not given."""

    task_id: str
    """The id of the message; by default a new one."""
    countdown: float
    """Seconds before a worker may begin it. Workers keep such messages in memory: mind `longest_delay`."""
    eta: datetime
    """The instant (aware) before which no worker begins it."""
    shadow: str
    """A name for logs and monitors, instead of the name of the task."""
    link: Signature[Any] | list[Signature[Any]]
    """Tasks to publish with its result when it has succeeded."""
    link_error: Signature[Any] | list[Signature[Any]]
    """Tasks to publish when it has failed."""
    headers: Mapping[str, Any]
    """Further headers of the message."""
    compression: str
    """`zlib`, or another one that kombu knows."""
    retry: bool
    """Whether publishing is tried again while the broker cannot be reached."""
    retry_policy: Mapping[str, Any]
    """How: `max_retries`, `interval_start`, `interval_step`, `interval_max` (seconds)."""
    add_to_parent: bool
    """Whether the task that publishes it lists it among its children."""


class LongDelayWarning(UserWarning):
    """A message is for much later. Workers would keep it in memory until then."""


class BlockedLoopWarning(UserWarning):
    """A coroutine publishes a message without `await`. Its event loop is blocked until the broker answers."""


@dataclass(frozen=True, slots=True)
class Publisher(Generic[P, R_co]):
    """A task, and options of its messages."""

    task: "TypedTask[P, R_co]"
    options: PublishOptions

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R_co]:
        """Publish a message."""
        return self.task.apply_async(args, kwargs, **self.options)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R_co]:
        """Publish a message, as `TypedTask.adelay` does."""
        return await asyncio.to_thread(self.task.apply_async, args, kwargs, **self.options)


if TYPE_CHECKING:

    class Chainable(Signature[R_co]):
        """A signature that knows the result of a chain; for celery-types a chain is a dictionary."""

        def __or__(self, other: Signature[R]) -> "Chainable[R]": ...  # type: ignore[override]
        def __ror__(self, other: Signature[Any]) -> "Chainable[R_co]": ...  # type: ignore[override]
else:
    Chainable = Signature


class TypedTask(AsyncTask[P, R_co]):
    """A task that takes `P` and returns `R_co`; for an `async def`, `R_co` is what awaiting it gives.

    `delay`, `adelay`, `si` and `acall` are checked. `s` is not, for others of a chain may supply arguments;
    `apply_async` cannot be, but `options(…).delay(…)` is.
    """

    longest_delay: timedelta | None = timedelta(hours=1)
    _has_warned = False
    _has_warned_of_blocking = False

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R_co]:
        """Publish a message like `delay`, for coroutines: the event loop is not blocked.

        It uses a thread of the loop. If the caller is cancelled meanwhile, the message may be published or not.
        """
        return await asyncio.to_thread(self.apply_async, args, kwargs)

    if TYPE_CHECKING:

        def s(self, *args: Any, **kwargs: Any) -> Chainable[R_co]: ...
        def si(self, *args: P.args, **kwargs: P.kwargs) -> Chainable[R_co]: ...

    def options(self, **options: Unpack[PublishOptions]) -> Publisher[P, R_co]:
        """Return a publisher with these options: `task.options(queue="mail").delay(…)`."""
        return Publisher(self, options)

    def apply_async(
        self,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        *more: Any,
        **options: Any,
    ) -> AsyncResult[R_co]:
        """Publish a message.

        Warn, once per task, with `LongDelayWarning` if it is for later than `longest_delay`, and with
        `BlockedLoopWarning` if a coroutine calls.
        """
        # A retry cannot be awaited, and an eager task does not wait for a broker.
        waits = "retries" not in options and not self.app.conf.task_always_eager
        if waits and not self._has_warned_of_blocking and _is_in_coroutine():
            self._has_warned_of_blocking = True
            warnings.warn(
                f"{self.name} is published on an event loop, which waits until the broker has answered; "
                "in a coroutine, write `await task.adelay(…)`",
                BlockedLoopWarning,
                stacklevel=2,
            )
        if not self._has_warned and self.longest_delay is not None:
            delay = self._delay(options)
            if delay > self.longest_delay:
                self._has_warned = True
                warnings.warn(
                    f"{self.name} is published {delay} ahead, and a worker would hold it in memory until then; "
                    "make it a periodic task (`clocked`), or say `longest_delay=None`",
                    LongDelayWarning,
                    stacklevel=2,
                )
        return super().apply_async(args, kwargs, *more, **options)

    def _delay(self, options: Mapping[str, Any]) -> timedelta:
        eta = options.get("eta")
        if isinstance(eta, datetime):
            return maybe_make_aware(eta, self.app.timezone) - self.app.now()
        return timedelta(seconds=options.get("countdown") or 0)


def _is_in_coroutine() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class CoroutineTask(TypedTask[P, Coroutine[Any, Any, R]]):
    """The base of classes of tasks whose `run` is `async def`; `R` is what awaiting it gives.

    One that overrides the `run` of another says `await super().run(…)`.
    """

    abstract = True

    if TYPE_CHECKING:  # its messages are those of a function that is `async def`

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...  # type: ignore[override]
        def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]: ...  # type: ignore[override]
        async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]: ...  # type: ignore[override]
        async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R: ...  # type: ignore[override]
        def apply_async(self, *args: Any, **options: Any) -> AsyncResult[R]: ...  # type: ignore[override]
        def apply(self, *args: Any, **options: Any) -> EagerResult[R]: ...  # type: ignore[override]
        def options(self, **options: Unpack[PublishOptions]) -> Publisher[P, R]: ...  # type: ignore[override]
        def s(self, *args: Any, **kwargs: Any) -> Chainable[R]: ...  # type: ignore[override]
        def si(self, *args: P.args, **kwargs: P.kwargs) -> Chainable[R]: ...  # type: ignore[override]


class TaskOfBase(TypedTask[P, R_co]):
    """A task with a `base`, for type checkers: its arguments are checked, the methods of the base are not."""

    abstract = True

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class TaskDecorator(Protocol):
    """Makes a task of a function."""

    @overload
    def __call__(self, fun: Callable[P, J], /) -> TypedTask[P, J]: ...
    @overload
    def __call__(self, fun: Callable[P, Awaitable[R]], /) -> TypedTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[P, R], /) -> TypedTask[P, R]: ...


class BoundTaskDecorator(Protocol):
    """Makes a task of a function whose first parameter is the task itself."""

    @overload
    def __call__(self, fun: Callable[Concatenate[Self_contra, P], J], /) -> TypedTask[P, J]: ...
    @overload
    def __call__(
        self, fun: Callable[Concatenate[Self_contra, P], Awaitable[R]], /
    ) -> TypedTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[Concatenate[Self_contra, P], R], /) -> TypedTask[P, R]: ...


class BaseTaskDecorator(Protocol):
    """Makes a task of a function, with a base class of its own."""

    @overload
    def __call__(self, fun: Callable[P, J], /) -> TaskOfBase[P, J]: ...
    @overload
    def __call__(self, fun: Callable[P, Awaitable[R]], /) -> TaskOfBase[P, R]: ...
    @overload
    def __call__(self, fun: Callable[P, R], /) -> TaskOfBase[P, R]: ...


class BoundBaseTaskDecorator(Protocol):
    """The same of a function whose first parameter is the task itself."""

    @overload
    def __call__(self, fun: Callable[Concatenate[Self_contra, P], J], /) -> TaskOfBase[P, J]: ...
    @overload
    def __call__(
        self, fun: Callable[Concatenate[Self_contra, P], Awaitable[R]], /
    ) -> TaskOfBase[P, R]: ...
    @overload
    def __call__(self, fun: Callable[Concatenate[Self_contra, P], R], /) -> TaskOfBase[P, R]: ...


class TypedCelery(CeleryHooks):
    """Celery with precise types and async tasks."""

    task_cls = f"{__name__}:TypedTask"

    @overload  # type: ignore[override]  # celery-types' overloads forget what the function takes and returns
    def task(self, fun: Callable[P, J], /) -> TypedTask[P, J]: ...
    @overload
    def task(self, fun: Callable[P, Awaitable[R]], /) -> TypedTask[P, R]: ...
    @overload
    def task(self, fun: Callable[P, R], /) -> TypedTask[P, R]: ...
    @overload
    def task(
        self, *, pydantic: Literal[True], bind: Literal[True], **options: Unpack[TaskOptions]
    ) -> Callable[[Callable[Concatenate[Self_contra, P], object]], TypedTask[P, Any]]: ...
    @overload
    def task(
        self,
        *,
        pydantic: Literal[True],
        bind: Literal[False] = False,
        **options: Unpack[TaskOptions],
    ) -> Callable[[Callable[P, object]], TypedTask[P, Any]]: ...
    @overload
    def task(
        self,
        *,
        base: type[Task[..., Any]],
        pydantic: Literal[True],
        bind: Literal[True],
        **options: Unpack[TaskOptions],
    ) -> Callable[[Callable[Concatenate[Self_contra, P], object]], TaskOfBase[P, Any]]: ...
    @overload
    def task(
        self,
        *,
        base: type[Task[..., Any]],
        pydantic: Literal[True],
        bind: Literal[False] = False,
        **options: Unpack[TaskOptions],
    ) -> Callable[[Callable[P, object]], TaskOfBase[P, Any]]: ...
    @overload
    def task(
        self,
        *,
        base: type[Task[..., Any]],
        bind: Literal[True],
        **options: Unpack[TaskOptions],
    ) -> BoundBaseTaskDecorator: ...
    @overload
    def task(
        self,
        *,
        base: type[Task[..., Any]],
        bind: Literal[False] = False,
        **options: Unpack[TaskOptions],
    ) -> BaseTaskDecorator: ...
    @overload
    def task(
        self, *, bind: Literal[True], **options: Unpack[TaskOptions]
    ) -> BoundTaskDecorator: ...
    @overload
    def task(
        self, *, bind: Literal[False] = False, **options: Unpack[TaskOptions]
    ) -> TaskDecorator: ...
    def task(self, *args: Any, **options: Any) -> Any:
        """Make a task of a function: `@app.task`, or with options, such as `@app.task(queue="mail", bind=True)`.

        With `pydantic=True` models among the arguments and the result travel as JSON, so results are dicts.
        """
        options.setdefault("shared", False)
        # As attributes of the task these are deprecated; Celery 6 ignores them.
        if publishing := {name: options.pop(name) for name in _ROUTING if name in options}:
            options["publishing"] = publishing
        if args:
            refuse_generator_function(args[0])
            return super().task(*args, **options)
        decorator = super().task(**options)

        def decorate(function: Callable[..., Any]) -> Any:
            # Celery creates the task when it is first needed, in a worker for example.
            refuse_generator_function(function)
            return decorator(function)

        return decorate

    def on_init(self) -> None:
        super().on_init()
        self.steps["worker"].add(AsyncWorker)

    def prepare_task(
        self, function: Callable[..., Any], options: dict[str, Any]
    ) -> tuple[Callable[..., Any], dict[str, Any]]:
        function = on_process_loop(function)
        if base := options.get("base"):
            options["base"] = self._with_ours(base)
        return function, options

    def register_task(self, task: T | type[T], **options: Any) -> T:
        if isinstance(task, type):
            return super().register_task(self._with_ours(task), **options)
        task.__class__ = self._with_ours(task.__class__)
        return super().register_task(task, **options)

    def _with_ours(self, base: type) -> type:
        """Return a class that derives from `base` and from the tasks of this application."""
        ours: type = self.Task
        if issubclass(base, ours) or issubclass(ours, base):
            return base if issubclass(base, ours) else ours
        kept = {
            "__module__": base.__module__,
            "__doc__": base.__doc__,
            # Defined again, so that `__init_subclass__` sees a coroutine function of a class that is not ours.
            "run": inspect.getattr_static(base, "run"),
        }
        return type(base.__name__, (base, ours), kept)
