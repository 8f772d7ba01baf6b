"""What mypy and basedpyright know about the tasks of `TypedCelery`. Read by both, never run.

A line that must be an error says which one, for each of the two; `tests/integration/test_typing.py` takes these
comments away and expects exactly these errors, and no other.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar, assert_type

from celery import Task, chain, chord, group
from celery.canvas import Signature
from celery.result import AsyncResult, EagerResult
from pydantic import BaseModel

from entrypoints.celery.asynchronous.results import aresult
from entrypoints.celery.typed import Chainable, CoroutineTask, TypedCelery, TypedTask

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

app = TypedCelery("typing")


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task
async def greet(name: str, *, loud: bool = False) -> str:
    return name.upper() if loud else name


@app.task()
async def measure(text: str) -> int:
    return len(text)


@app.task(queue="mail", priority=3, acks_late=True, soft_time_limit=2.5, max_retries=None)
async def send_mail(to: str) -> bool:
    return bool(to)


@app.task(name="reports.build", autoretry_for=[ConnectionError], retry_backoff=True)
def build_report(year: int) -> list[str]:
    return [str(year)]


@app.task(bind=True)
def count(self: Task[..., Any], step: int) -> int:
    return self.request.retries or step


@app.task(bind=True, queue="slow")
async def crawl(self: TypedTask[[str], int], url: str) -> int:
    assert_type(self.delay(url), AsyncResult[int])
    return len(url)


# --- the awaited type is the result, and parameters keep their names, kinds and defaults ---

assert_type(add.delay(1, y=2), AsyncResult[int])
assert_type(add.delay(1).get(timeout=1), int)
assert_type(greet.delay("Ada", loud=True), AsyncResult[str])
assert_type(greet.delay("Ada").get(), str)
assert_type(measure.delay("Ada"), AsyncResult[int])
assert_type(send_mail.delay("ada@example.org"), AsyncResult[bool])
assert_type(build_report.delay(2026), AsyncResult[list[str]])
assert_type(count.delay(1), AsyncResult[int])
assert_type(crawl.delay("https://example.org"), AsyncResult[int])

assert_type(greet("Ada"), str)
assert_type(greet.apply(("Ada",)), EagerResult[str])
assert_type(greet.apply_async(("Ada",), {"loud": True}, countdown=3), AsyncResult[str])
assert_type(greet.si("Ada", loud=True), Chainable[str])
assert_type(greet.s(), Chainable[str])
assert_type(
    greet.options(queue="q", eta=datetime(2026, 1, 1, tzinfo=UTC)).delay("Ada"), AsyncResult[str]
)
assert_type(crawl.options(countdown=1.5).delay(url="https://example.org"), AsyncResult[int])


async def compose() -> None:
    assert_type(await greet.acall("Ada"), str)
    assert_type(await add.acall(1, y=2), int)
    assert_type(await aresult(greet.delay("Ada"), timeout=1), str)
    await greet.acall(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- what does not fit is refused ---

add.delay("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
add.delay()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
add.delay(1, z=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
greet.delay("Ada", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # noqa: FBT003
greet.delay(name=b"Ada")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
greet.si(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
measure.delay(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
send_mail.delay("a", "b")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
count.delay("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
crawl.delay(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
crawl.delay(crawl)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
greet.options(queue="q").delay(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
greet.options(quue="q")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
greet.options(countdown="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
greet.options(name="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
_: int = greet.delay("Ada").get()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

app.task(acks_late="yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
app.task(ack_late=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
app.task(countdown=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


async def not_bound(self: int, url: str) -> int:
    return self + len(url)


def not_bound_either() -> None: ...


app.task(bind=True)(not_bound)  # type: ignore[type-var]  # pyright: ignore[reportCallIssue, reportArgumentType]
app.task(bind=True)(not_bound_either)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]


# --- with `pydantic=True` a result travels as JSON, so it is not the model any more ---


class Point(BaseModel):
    x: int


@app.task(pydantic=True)
async def move(point: Point) -> Point:
    return point


@app.task(pydantic=True, bind=True, queue="q")
def rotate(self: Task[..., Any], point: Point) -> Point:
    return point


assert_type(move.delay(Point(x=1)), AsyncResult[Any])
assert_type(rotate.delay(point=Point(x=1)), AsyncResult[Any])
move.delay(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
rotate.delay()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# --- what can be awaited is, however it is made ---


def later(text: str) -> Awaitable[int]:
    return measure.acall(text)


def logged(function: Callable[P, R]) -> Callable[P, R]:
    return function


@app.task(ignore_result=True)
@logged
async def measure_again(text: str) -> int:
    return len(text)


assert_type(app.task(later).delay("Ada"), AsyncResult[int])
assert_type(measure_again.delay("Ada"), AsyncResult[int])
measure_again.delay(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def publish() -> None:
    assert_type(await greet.adelay("Ada", loud=True), AsyncResult[str])
    assert_type(await add.adelay(1, y=2), AsyncResult[int])
    assert_type(await greet.options(queue="q").adelay("Ada"), AsyncResult[str])
    await greet.adelay(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await greet.options(queue="q").adelay()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# --- canvases ---

signature: Signature[str] = greet.s("Ada")
assert_type(add.s(1) | add.s(2) | greet.s(), Chainable[str])
assert_type((add.s(1) | greet.si("Ada")).delay(), AsyncResult[str])
assert_type((add.s(1) | greet.si("Ada") | add.s()).delay().get(), int)
chain(add.s(1), greet.s()).delay()
chord([add.s(1), add.si(2)])(add.s())
group(add.s(1), greet.s()).delay()


# --- generic functions ---


@app.task
async def first(values: list[T]) -> T:
    return values[0]


@app.task
def last(values: list[T]) -> T:
    return values[-1]


assert_type(first.delay([1]), AsyncResult[int])


@app.task(queue="q")
def middle(values: list[T]) -> T:
    return values[len(values) // 2]


@app.task(bind=True)
def any_of(self: Task[..., Any], values: list[T]) -> T:
    return values[self.request.retries]


assert_type(last.delay(["a"]), AsyncResult[str])
assert_type(middle.delay([1]), AsyncResult[int])
any_of.delay([1])
last.delay(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- a base of its own: its methods are there, and arguments are checked all the same ---


class Audited(TypedTask[P, R]):
    def audit(self, word: str) -> str:
        return word


class Plain(Task[..., Any]):
    def audit(self, word: str) -> str:
        return word


@app.task(base=Audited)
def pay(amount: int) -> str:
    return str(pay.audit(str(amount)))


@app.task(base=Plain, queue="q")
async def pay_later(amount: int) -> str:
    return str(amount)


@app.task(base=Audited, bind=True)
async def pay_bound(self: Audited[[int], str], amount: int) -> str:
    assert_type(self.audit("x"), str)
    return str(amount)


pay.audit("x")
pay_later.audit("x")
pay_bound.audit("x")
assert_type(pay.delay(1), AsyncResult[str])
assert_type(pay_later.delay(1), AsyncResult[str])
assert_type(pay_bound.delay(1), AsyncResult[str])
pay.delay("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
pay_later.delay("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
pay_bound.delay("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
app.task(base=int)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- class tasks ---


class Triple(CoroutineTask[[int], int]):
    name = "triple"

    async def run(self, x: int) -> int:
        return 3 * x


class Sextuple(Triple):
    name = "sextuple"

    async def run(self, x: int) -> int:
        tripled = await super().run(x)
        assert_type(tripled, int)
        return 2 * tripled


sextuple = app.register_task(Sextuple())
assert_type(sextuple.delay(1), AsyncResult[int])
sextuple.delay("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Double(TypedTask[[int], int]):
    name = "double"

    def run(self, x: int) -> int:
        return 2 * x


double = app.register_task(Double())
assert_type(double.delay(1), AsyncResult[int])
double.delay("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
