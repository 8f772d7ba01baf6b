"""Which passwords attackers try first."""

import pytest

from adapters.memory.common_passwords import MemoryCommonPasswords
from adapters.security.common_passwords import ZxcvbnCommonPasswords
from application.ports.common_passwords import CommonPasswords


@pytest.fixture(params=[MemoryCommonPasswords, ZxcvbnCommonPasswords])
def common(request: pytest.FixtureRequest) -> CommonPasswords:
    made: CommonPasswords = request.param()
    return made


@pytest.mark.parametrize("password", ["password", "123456", "qwerty", "letmein"])
def test_the_first_guesses_of_attackers_are_common(common: CommonPasswords, password: str) -> None:
    assert password in common


@pytest.mark.parametrize("password", ["", "Password", "correct horse battery staple", "пароль\0"])
def test_nothing_else_is_and_only_folded_text_is_asked_for(
    common: CommonPasswords, password: str
) -> None:
    assert password not in common
