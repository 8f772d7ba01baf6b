"""One database of time zones, independent of the machine's."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module, resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from domain.scheduling.zones import find_zone, zone_names, zone_rules_version

ROOT = Path(__file__).parents[4]
VANCOUVER = "America/Vancouver"
WINTER = datetime(2026, 12, 1, tzinfo=UTC)


def locked(name: str) -> ZoneInfo:
    """Return a zone as the locked package has it."""
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file)


def test_the_locked_rules_count_and_not_the_zones_of_the_machine(tmp_path: Path) -> None:
    """As on a host whose own database is older: its file is found first, and says something else."""
    (tmp_path / "America").mkdir()
    other = resources.files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").read_bytes()
    (tmp_path / VANCOUVER).write_bytes(other)
    script = f"""
from datetime import datetime
from zoneinfo import ZoneInfo
early, moment = ZoneInfo({VANCOUVER!r}), datetime.fromisoformat({WINTER.isoformat()!r})
from domain.scheduling.schedules import Crontab
for zone in Crontab(timezone={VANCOUVER!r}).zone, ZoneInfo({VANCOUVER!r}), early:
    print(moment.astimezone(zone).utcoffset())
"""
    printed = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONTZPATH": str(tmp_path)},  # noqa: TID251 - a child needs all of it
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    right = str(WINTER.astimezone(locked(VANCOUVER)).utcoffset())
    assert printed[:2] == [right, right]
    assert printed[2] == "9:00:00", "the machine's own file would have been found first"


def test_every_zone_is_the_locked_one() -> None:
    assert len(zone_names()) > 500
    assert all(
        WINTER.astimezone(find_zone(name)).utcoffset()
        == WINTER.astimezone(locked(name)).utcoffset()
        for name in zone_names()
    )


@pytest.mark.parametrize(
    "name",
    [
        "posix/Europe/Berlin",
        "right/Europe/Berlin",
        "Factory",
        "localtime",
        "posixrules",
        "europe/berlin",
        "America",
        "tzdata.zi",
        "",
    ],
)
def test_a_name_that_only_some_copies_of_the_database_have_is_no_zone(name: str) -> None:
    with pytest.raises(LookupError):
        find_zone(name)


def test_the_version_of_the_rules_is_that_of_the_package() -> None:
    assert zone_rules_version() == import_module("tzdata").__version__
