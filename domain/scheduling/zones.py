"""Time zones, from the locked `tzdata` package alone: what the rules are does not depend on the machine.

Importing this module makes it so for the whole process, whatever `/usr/share/zoneinfo` and `PYTHONTZPATH` hold.
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

    What other copies of the database have besides is no zone here: `posix/…` and `right/…` (with leap seconds), and
    `localtime`, which is whatever a machine says. Neither is `Factory`, which stands for a zone that is not set.
    """
    if name not in zone_names():
        raise LookupError(name)
    return ZoneInfo(name)


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all zones."""
    return frozenset(available_timezones()) - {"Factory"}
