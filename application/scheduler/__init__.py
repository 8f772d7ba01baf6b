"""The engine of the beat: the main thread decides and never waits for the store, the event loop calls the store.

The main thread has the `schedule_queue` (what is due), the `dispatcher` and the `publisher`; the event loop has a
`supervisor` of background loops: `definitions`, `leadership`, `claims`, `outcomes`. The event loop sends `updates` to
the main thread; the main thread schedules calls on the loop.
"""
