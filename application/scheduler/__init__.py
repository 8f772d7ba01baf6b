"""The engine of the beat. A slot passes one stage after the other, each in a file of its own.

`definitions` → `schedule_queue` → `claims` → `publishing` → `outcomes`. `leader_election` decides whether slots move,
and `engine` builds, starts and stops the stages. Nothing here knows who carries messages.
"""
