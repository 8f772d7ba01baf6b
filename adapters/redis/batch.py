"""Questions of concurrent callers that share one round trip."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")

_LARGEST = 500  # the server does nothing else meanwhile, and Lua takes no list of any length


class Batch(Generic[Question, Answer]):
    """One batch is asked at a time; questions that come meanwhile go into the next one.

    So an answer is never older than its question, and batches are as large as the process is busy. If one fails, the
    callers that wait for the next one fail too: their time is running as well.
    """

    def __init__(self, ask: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]]) -> None:
        self._ask = ask
        self._asked: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._answering: asyncio.Task[None] | None = None

    async def many(self, questions: Sequence[Question]) -> list[Answer]:
        """Return the answers in the order of the questions, or raise the error of a batch."""
        return await asyncio.gather(*map(self, questions))

    def __call__(self, question: Question) -> asyncio.Future[Answer]:
        """Return the answer, once awaited, or raise the error of the batch."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked.append((question, answer))
        if self._answering is None:
            # It starts after the tasks that are ready now, and collects all their questions. So it is no part of what
            # the first caller does, such as its trace.
            self._answering = asyncio.create_task(self._answer(), context=Context())
        return answer

    async def _answer(self) -> None:
        sent: list[tuple[Question, asyncio.Future[Answer]]] = []
        try:
            while self._asked:
                sent, self._asked = self._asked[:_LARGEST], self._asked[_LARGEST:]
                answers = await self._ask([question for question, _ in sent])
                for (_, future), answer in zip(sent, answers, strict=True):
                    if not future.done():  # the caller may have gone
                        future.set_result(answer)
        except Exception as error:  # noqa: BLE001 - the callers that wait raise it
            for _, future in sent + self._asked:
                if not future.done():
                    future.set_exception(error)
        finally:
            for _, future in sent + self._asked:
                future.cancel()  # no answer yet: the event loop is closing
            self._asked = []
            self._answering = None
