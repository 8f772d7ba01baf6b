"""Python's garbage collector in a process that serves for long."""

import gc


def put_off() -> None:
    """Collect nothing until `freeze_heap`: what is imported is no garbage, and to look takes a sixth of a start."""
    gc.disable()


def freeze_heap() -> None:
    """Look from now on only at what is made later, and less often. Call it once all is loaded.

    A request that waits for a server outlives the youngest generation. Many of them set off collections of the
    whole heap, and nothing in a million objects of imported code is garbage: that took half of a request's time.
    Objects that are frozen before a fork stay in pages that the processes share. What the start has left behind,
    1 % of them, stays as well: to find it takes a tenth of the start.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()
