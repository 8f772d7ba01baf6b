"""How a worker registers its tasks again and again."""

from threading import Event

from entrypoints.celery.offers import RepeatingThread


def test_the_call_is_repeated_until_the_thread_is_stopped() -> None:
    calls: list[None] = []
    thrice = Event()

    def register() -> None:
        calls.append(None)
        if len(calls) == 3:
            thrice.set()

    thread = RepeatingThread(register, every=0.001)
    thread.start()

    assert thrice.wait(10)
    thread.stop()
    number = len(calls)
    assert not Event().wait(0.02)
    assert len(calls) == number


def test_a_thread_that_is_stopped_before_its_interval_calls_nothing() -> None:
    calls: list[None] = []
    thread = RepeatingThread(lambda: calls.append(None), every=3600)
    thread.start()

    thread.stop()

    assert not calls
