"""The beat in small parts: those that decide run on the main thread and wait for nobody, those that ask run on a loop.

The main thread has the `agenda` (what is due), the `dispatcher` and the `publisher`; the event loop has an `office` of
clerks: `reader`, `keeper`, `claimer`, `noter`. They talk in `news` and in calls that do not wait.
"""
