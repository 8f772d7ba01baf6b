"""What a worker tells again and again."""

from threading import Event

from entrypoints.celery.offers import RepeatingThread


def test_a_worker_tells_again_and_again_until_it_ends() -> None:
    told: list[None] = []
    thrice = Event()

    def tell() -> None:
        told.append(None)
        if len(told) == 3:
            thrice.set()

    teller = RepeatingThread(tell, every=0.001)
    teller.start()

    assert thrice.wait(10)
    teller.stop()
    number = len(told)
    assert not Event().wait(0.02)
    assert len(told) == number


def test_a_worker_that_ends_before_it_is_time_tells_nothing_more() -> None:
    told: list[None] = []
    teller = RepeatingThread(lambda: told.append(None), every=3600)
    teller.start()

    teller.stop()

    assert not told
