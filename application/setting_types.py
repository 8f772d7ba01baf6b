"""The types of settings: `adapters.environment` checks them; errors and the documentation describe them."""

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, TypeAlias

_SECOND, _MINUTE, _DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Kind:
    """The rule for a value, beyond its type."""

    expects: str
    """The end of the sentence "must be …"."""
    least: int | timedelta | None = None
    most: int | timedelta | None = None
    pattern: str | None = None
    """The pattern that a text, or each of several, must match as a whole."""
    schemes: tuple[str, ...] = ()
    """How an address may begin."""
    in_bytes: bool = False
    """Whether it is a size, which may have a unit (KiB, MiB)."""
    secret: bool = False
    """Whether it may come from a file (`<variable>_FILE`) and is never shown."""


Word: TypeAlias = Annotated[str, Kind("one word of ASCII characters", pattern="[!-~]{1,100}")]
Text: TypeAlias = Annotated[str, Kind("2 to 100 characters", pattern="(?s).{2,100}")]
Secret: TypeAlias = Annotated[str, Kind("text", pattern="(?s).+", secret=True)]
# A value that is no printable text once it is decoded would be refused at each request, not at the start.
HttpHeaders: TypeAlias = Annotated[
    str,
    Kind(
        "name=value, with commas between several and values percent-encoded, such as authorization=Bearer%20abc",
        pattern=r"{0}(,{0})*".format(
            r"[!#$%&'*+.^_`|~0-9A-Za-z-]+=([ -$&-+\--~]|%[2-7][0-9A-Fa-f])+"
        ),
        secret=True,
    ),
]
Email: TypeAlias = Annotated[str, Kind("an email address", pattern=r"[^\s@]{1,64}@[^\s@]{1,189}")]
Username: TypeAlias = Annotated[
    str, Kind("2 to 100 characters without white space or @", pattern=r"[^\s@]{2,100}")
]
DatabaseName: TypeAlias = Annotated[
    str, Kind("1 to 63 letters, digits, _ or -", pattern="[A-Za-z0-9_-]{1,63}")
]
BucketName: TypeAlias = Annotated[
    str,
    Kind(
        "3 to 63 lower-case letters, digits, dots or hyphens",
        pattern="[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    ),
]
Origins: TypeAlias = Annotated[
    tuple[str, ...],
    Kind(
        "origins such as https://app.example.org, with commas between them, or *",
        pattern=r"\*|[a-z][a-z0-9+.-]*://[^\s/?#@]+",
    ),
]
Modules: TypeAlias = Annotated[
    tuple[str, ...],
    Kind(
        "names of Python modules such as shop.tasks, with commas between them",
        pattern=r"[^\W\d]\w*(\.[^\W\d]\w*)*",
    ),
]
MediaTypes: TypeAlias = Annotated[
    tuple[str, ...],
    Kind(
        "media types such as image/png, with commas between them",
        pattern=r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}",
    ),
]
Networks: TypeAlias = Annotated[
    tuple[IPv4Network | IPv6Network, ...],
    Kind("IP addresses or networks such as 10.0.0.0/8, with commas between them"),
]

Count: TypeAlias = Annotated[int, Kind("a whole number from 1 to 100000", least=1, most=100_000)]
Percent: TypeAlias = Annotated[int, Kind("a whole number from 0 to 100", least=0, most=100)]
Port: TypeAlias = Annotated[int, Kind("a port, 0 to 65535 (0: any free one)", least=0, most=65535)]
Lanes: TypeAlias = Annotated[int, Kind("a whole number from 1 to 64", least=1, most=64)]
Memory: TypeAlias = Annotated[
    int, Kind("a whole number of KiB from 8 to 4194304", least=8, most=4 * 1024 * 1024)
]
Size: TypeAlias = Annotated[
    int, Kind("a size of at least 1KiB, such as 512KiB or 2MiB", least=1024, in_bytes=True)
]
ShortestPassword: TypeAlias = Annotated[
    int, Kind("a whole number from 8 (NIST SP 800-63B-4) to 128", least=8, most=128)
]
LongestPassword: TypeAlias = Annotated[
    int, Kind("a whole number from 64 (NIST SP 800-63B-4) to 1024", least=64, most=1024)
]

Timeout: TypeAlias = Annotated[
    timedelta, Kind("50ms to 10m", least=_SECOND / 20, most=10 * _MINUTE)
]
Lifetime: TypeAlias = Annotated[
    timedelta, Kind("1s to 366d, such as 30s, 10m, 12h or 7d", least=_SECOND, most=366 * _DAY)
]
UrlLifetime: TypeAlias = Annotated[
    timedelta, Kind("10s to 12h", least=10 * _SECOND, most=720 * _MINUTE)
]
Interval: TypeAlias = Annotated[timedelta, Kind("1s to 1h", least=_SECOND, most=60 * _MINUTE)]
Retention: TypeAlias = Annotated[timedelta, Kind("1d to 10000d", least=_DAY, most=10_000 * _DAY)]
AtMostAMinute: TypeAlias = Annotated[
    timedelta, Kind("0 to 60 seconds", least=0 * _SECOND, most=_MINUTE)
]

HttpUrl: TypeAlias = Annotated[
    str, Kind("an http:// or https:// address", schemes=("http", "https"))
]
PostgresUrl: TypeAlias = Annotated[
    str, Kind("postgresql://user:password@host:port/database", schemes=("postgresql",), secret=True)
]
RedisUrl: TypeAlias = Annotated[
    str,
    Kind(
        "redis:// or rediss://user:password@host:port/number",
        schemes=("redis", "rediss"),
        secret=True,
    ),
]
RedisServersUrl: TypeAlias = Annotated[
    str,
    Kind(
        "redis://user:password@host:port/number, redis+cluster://host:port,host:port,…, "
        "redis+sentinel://host:port,host:port,…/name of the master/number, or the same with rediss for TLS",
        schemes=(
            *("redis", "redis+cluster", "redis+sentinel"),
            *("rediss", "rediss+cluster", "rediss+sentinel"),
        ),
        secret=True,
    ),
]
BrokerUrl: TypeAlias = Annotated[
    str,
    Kind(
        "redis://, rediss://, amqp:// or amqps://user:password@host:port/…",
        schemes=("redis", "rediss", "amqp", "amqps"),
        secret=True,
    ),
]
MongoUrl: TypeAlias = Annotated[
    str,
    Kind(
        "mongodb:// or mongodb+srv://user:password@host:port",
        schemes=("mongodb", "mongodb+srv"),
        secret=True,
    ),
]
