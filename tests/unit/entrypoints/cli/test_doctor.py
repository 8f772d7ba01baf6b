"""What `portico doctor` says of keys, without a server."""

from datetime import timedelta

import pytest

from application.settings import KeyRing, KeySettings
from entrypoints.cli.doctor import ages
from tests.support.builders import A_MOMENT


@pytest.mark.parametrize(("days", "warning"), [(0, False), (365, False), (366, True)])
def test_the_oldest_key_that_signs_is_named(days: int, *, warning: bool) -> None:
    """Operators forget to rotate keys, because nothing fails."""
    young, old = KeyRing(made_at=A_MOMENT), KeyRing(made_at=A_MOMENT - timedelta(days=days))

    (found,) = ages(KeySettings(access=young, refresh=old, transport=KeyRing()), A_MOMENT)

    assert found.warning is warning
    assert f"{days} days old" in found.detail
    assert ("portico make-keys --rotate" in found.detail) is warning
    assert not found.exit_code


def test_the_age_of_keys_that_are_no_files_is_not_known() -> None:
    assert [*ages(KeySettings(), A_MOMENT)] == []
