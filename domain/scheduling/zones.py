"""Time zones, from the locked `tzdata` package alone: their rules do not depend on the machine.

Importing this module has this effect for the whole process. `/usr/share/zoneinfo` and `PYTHONTZPATH` are ignored.
"""

from functools import cache
from importlib import metadata
from zoneinfo import ZoneInfo, available_timezones, reset_tzpath

reset_tzpath(())
ZoneInfo.clear_cache()


@cache
def zone_rules_version() -> str:
    """Return the version of the time zone database, such as `2026.6`, which the IANA calls 2026f."""
    return metadata.version("tzdata")


@cache
def find_zone(name: str) -> ZoneInfo:
    """Return the zone called `name`; raise `LookupError` if the database does not list it.

    Some names of other copies of the database are no zones here: `posix/…` and `right/…` (with leap seconds),
    `localtime` (the zone of the machine), and `Factory` (a zone that is not set).
    """
    if name not in zone_names():
        raise LookupError(name)
    return ZoneInfo(name)


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all zones."""
    return frozenset(available_timezones()) - {"Factory"}
