"""The clock, ids and one-time passwords of the machine."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from math import log2
from uuid import UUID

from adapters.memory.system import MemorySchema
from adapters.security.common_passwords import ZxcvbnCommonPasswords
from adapters.system import SystemClock, SystemSecrets, Uuid7Generator
from application.settings import FirstAdministrator
from domain.identity import Password, PasswordPolicy


def test_the_clock_is_aware_and_in_utc() -> None:
    before = datetime.fromtimestamp(time.time(), UTC)

    now = SystemClock().now()

    assert now.tzinfo is UTC
    assert timedelta(0) <= now - before < timedelta(seconds=5)


def test_ids_are_of_version_7_and_sort_in_the_order_they_were_made() -> None:
    """Also within one millisecond."""
    ids = [Uuid7Generator().new() for _ in range(10_000)]

    assert ids == sorted(set(ids))
    assert {(type(id_), id_.version) for id_ in ids} == {(UUID, 7)}


def test_processes_forked_from_one_another_make_different_ids() -> None:
    made = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", _MAKE_IDS_IN_FORKS], check=True, capture_output=True, text=True
    ).stdout.split()

    assert len(made) == len(set(made)) == 5 * 100


_MAKE_IDS_IN_FORKS = """
import os
from adapters.system import Uuid7Generator

Uuid7Generator().new()
children = []
while len(children) < 5:
    if child := os.fork():
        children.append(child)
    else:
        ids = "".join(f"{Uuid7Generator().new()}\\n" for _ in range(100))
        os.write(1, ids.encode())
        os._exit(0)
for child in children:
    os.waitpid(child, 0)
"""


def test_a_one_time_password_cannot_be_guessed() -> None:
    passwords = {SystemSecrets().one_time_password() for _ in range(1000)}
    letters = set("".join(passwords)) - {"-"}
    shortest = min(len(password.replace("-", "")) for password in passwords)

    assert len(passwords) == 1000
    assert shortest * log2(len(letters)) >= 96


def test_a_one_time_password_can_be_read_aloud() -> None:
    password = SystemSecrets().one_time_password()

    assert [len(group) for group in password.split("-")] == [5, 5, 5, 5]
    assert password == password.lower()
    assert not set(password) & set("0o1il")


def test_a_one_time_password_is_accepted_by_the_policy() -> None:
    administrator, common = FirstAdministrator(), ZxcvbnCommonPasswords()
    for _ in range(1000):
        PasswordPolicy().check(
            Password(SystemSecrets().one_time_password()),
            identifiers=(administrator.username, administrator.email, administrator.name),
            is_common=common.__contains__,
            most_bytes=100,
        )


async def test_memory_is_always_current() -> None:
    await MemorySchema().upgrade()

    assert await MemorySchema().is_current()
