"""What every `PasswordHasher` promises."""

from collections.abc import Iterator

import pytest

from adapters.memory.password_hasher import MemoryPasswordHasher
from adapters.security.password_hasher import Argon2PasswordHasher
from adapters.security.pool import HashingPool
from application.ports.password_hasher import PasswordHasher
from application.settings import PasswordSettings
from domain.identity import Password


@pytest.fixture(params=["memory", "argon2"])
def hasher(request: pytest.FixtureRequest) -> Iterator[PasswordHasher]:
    if request.param == "memory":
        yield MemoryPasswordHasher()
        return
    settings = PasswordSettings(argon2_memory_kib=8, argon2_time_cost=1)
    pool = HashingPool(settings)
    yield Argon2PasswordHasher(pool, settings)
    pool.close()


async def test_a_hash_is_of_its_password_alone(hasher: PasswordHasher) -> None:
    stored = await hasher.hash(Password("correct horse"))

    assert await hasher.verify(Password("correct horse"), stored)
    for other in ("Correct horse", "correct horse ", "correct hors", "", "\0", stored):
        assert not await hasher.verify(Password(other), stored)


async def test_a_hash_shows_neither_the_password_nor_who_else_has_it(
    hasher: PasswordHasher,
) -> None:
    first = await hasher.hash(Password("correct horse"))
    second = await hasher.hash(Password("correct horse"))

    assert first != second
    assert "correct horse" not in first


@pytest.mark.parametrize(
    "text", ["pässwörd", "пароль", "\N{GRINNING FACE}" * 40, "a\0b", "x" * 9999]
)
async def test_any_text_can_be_a_password(hasher: PasswordHasher, text: str) -> None:
    stored = await hasher.hash(Password(text))

    assert await hasher.verify(Password(text), stored)
    assert not await hasher.verify(Password(text[:-1]), stored)


async def test_text_that_no_keyboard_sends_is_a_wrong_password_and_no_error(
    hasher: PasswordHasher,
) -> None:
    """JSON can carry half of a surrogate pair, which UTF-8 cannot."""
    stored = await hasher.hash(Password("correct horse"))

    assert not await hasher.verify(Password("\ud800"), stored)
    assert not await hasher.verify(Password("\ud800"), None)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "",
        "correct horse",
        "!",
        "$argon2id$",
        "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$",
        "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$not base64",
        "$argon2id$v=19$m=0,t=0,p=0$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
        "$2b$12$abcdefghijklmnopqrstuu5Lo0g67CiD3M4RpN1BmBb4Crp5w7dbK",
        "pbkdf2_sha256$1000$salt$hash",
        "$memory$g=1$salt",
        "\N{SNOWMAN}",
    ],
)
async def test_no_password_matches_a_stored_text_that_is_no_hash(
    hasher: PasswordHasher, stored: str | None
) -> None:
    assert not await hasher.verify(Password("correct horse"), stored)
    assert not await hasher.verify(Password(""), stored)


async def test_only_what_was_not_made_with_the_parameters_of_today_wants_a_new_hash(
    hasher: PasswordHasher,
) -> None:
    assert not hasher.needs_rehash(await hasher.hash(Password("correct horse")))
    assert hasher.needs_rehash("$argon2id$v=19$m=16,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo")
    assert hasher.needs_rehash("no hash at all")
