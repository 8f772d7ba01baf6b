"""What a variable may be: parsed once, and described in the words that its error uses."""

import re
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field

from adapters.security.keys import read_key_dir
from application.settings import KeySettings, Limit


@dataclass(frozen=True, slots=True)
class Kind:
    """What a variable must be, as the end of a sentence. A `secret` one may also come from `<variable>_FILE`."""

    expects: str
    secret: bool = False


def _words(value: object) -> object:
    """Split `a, b c` into words."""
    return re.split(r"[,\s]+", value.strip(", \t\n")) if isinstance(value, str) else value


def _limit(value: object) -> object:
    """Read `attempts/seconds`."""
    if isinstance(value, Limit):
        return value
    match = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,8})", str(value))
    if match is None:
        raise ValueError
    return Limit(int(match[1]), int(match[2]))


_UNITS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(value: object) -> object:
    """Read `30`, `30s`, `10m`, `12h` or `7d`."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?) ?(ms|s|m|h|d|)", str(value))
    if match is None:
        raise ValueError
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


def _address_of(*schemes: str, socket: bool = False) -> AfterValidator:
    """Accept an address with one of `schemes` and a host, or else a `?host=` if that may be a Unix socket."""

    def check(value: str) -> str:
        parts = urlsplit(value)
        host = parts.netloc.rpartition("@")[2]
        on_socket = socket and re.search(r"(?:^|&)host=[^&]+", parts.query)
        if parts.scheme not in schemes or not (host or on_socket) or re.search(r"\s", value):
            raise ValueError
        if "," not in host:  # MongoDB takes several hosts in one address
            _ = parts.port  # raises unless it is a number
        return value

    return AfterValidator(check)


def _without_driver(value: str) -> str:
    """Return `postgresql://…` for `postgres://…` and for what SQLAlchemy takes, such as `postgresql+asyncpg://…`."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", value)


def _origin(value: str) -> str:
    """Accept `scheme://host[:port]` as browsers send it, or `*`."""
    if value != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s/?#@]+", value):
        raise ValueError
    return value


def _module(value: str) -> str:
    """Accept the name of a Python module."""
    if not all(part.isidentifier() for part in value.split(".")):
        raise ValueError
    return value


def _pem(value: str) -> str:
    r"""Return the PEM text: given as it is, with `\n` for its line ends, or as the path of a file."""
    if "-----BEGIN" in value:
        return value.replace("\\n", "\n")
    try:
        text = Path(value).expanduser().read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError from error
    if "-----BEGIN" not in text:
        raise ValueError
    return text


def _key_dir(value: object) -> object:
    """Read the keys in a directory."""
    try:
        return read_key_dir(Path(value).expanduser()) if isinstance(value, str | Path) else value
    except OSError as error:
        raise ValueError from error


Word = Annotated[str, Field(pattern=r"^[!-~]{1,100}$"), Kind("one word of ASCII characters")]
Switch = Annotated[bool, Kind("on or off")]
Count = Annotated[int, Field(ge=1, le=100_000), Kind("a whole number from 1 to 100000")]
Port = Annotated[int, Field(ge=0, le=65535), Kind("a port, 0 to 65535 (0: any free one)")]
Bytes = Annotated[ByteSize, Field(ge=1024), Kind("a size of at least 1KiB, such as 512KiB or 2MiB")]
Timeout = Annotated[
    timedelta,
    BeforeValidator(_duration),
    Field(ge=timedelta(milliseconds=50), le=timedelta(minutes=10)),
    Kind("50ms to 10m"),
]
Lifetime = Annotated[
    timedelta,
    BeforeValidator(_duration),
    Field(ge=timedelta(seconds=1), le=timedelta(days=366)),
    Kind("1s to 366d, such as 30s, 10m, 12h or 7d"),
]
Interval = Annotated[
    timedelta,
    BeforeValidator(_duration),
    Field(ge=timedelta(seconds=1), le=timedelta(hours=1)),
    Kind("1s to 1h"),
]
Retention = Annotated[
    timedelta,
    BeforeValidator(_duration),
    Field(ge=timedelta(days=1), le=timedelta(days=10_000)),
    Kind("1d to 10000d"),
]
AtMostAMinute = Annotated[
    timedelta,
    BeforeValidator(_duration),
    Field(ge=timedelta(0), le=timedelta(seconds=60)),
    Kind("0 to 60 seconds"),
]
Attempts = Annotated[Limit, BeforeValidator(_limit), Kind("attempts/seconds, such as 10/300")]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...],
    BeforeValidator(_words),
    Kind("origins such as https://app.example.org, with commas between them, or *"),
]
Modules = Annotated[
    tuple[Annotated[str, AfterValidator(_module)], ...],
    BeforeValidator(_words),
    Kind("names of Python modules such as shop.tasks, with commas between them"),
]
Networks = Annotated[
    tuple[IPv4Network | IPv6Network, ...],
    BeforeValidator(_words),
    Kind("IP addresses or networks such as 10.0.0.0/8, with commas between them"),
]
PostgresUrl = Annotated[
    str,
    AfterValidator(_without_driver),
    _address_of("postgresql", socket=True),
    Kind("postgresql://user:password@host:port/database", secret=True),
]
RedisUrl = Annotated[
    str,
    _address_of("redis", "rediss"),
    Kind("redis:// or rediss://user:password@host:port/number", secret=True),
]
BrokerUrl = Annotated[
    str,
    _address_of("redis", "rediss", "amqp", "amqps"),
    Kind("redis://, rediss://, amqp:// or amqps://user:password@host:port/…", secret=True),
]
MongoUrl = Annotated[
    str,
    _address_of("mongodb", "mongodb+srv"),
    Kind("mongodb:// or mongodb+srv://user:password@host:port", secret=True),
]
HttpUrl = Annotated[str, _address_of("http", "https"), Kind("an http:// or https:// address")]
Secret = Annotated[str, Field(min_length=1), Kind("text", secret=True)]
NameKey = Annotated[
    str,
    Field(pattern=r"^[!-~]{32,1000}$"),
    Kind("a random secret of at least 32 ASCII characters without spaces", secret=True),
]
Pem = Annotated[
    str,
    AfterValidator(_pem),
    Kind("an RSA private key (PEM), or the path of a file with one", secret=True),
]
Pems = Annotated[
    str,
    AfterValidator(_pem),
    Kind(
        "RSA private keys (PEM), one after the other, or the path of a file with them", secret=True
    ),
]
KeyDir = Annotated[
    KeySettings,
    BeforeValidator(_key_dir),
    Kind("a readable directory of keys; `portico make-keys` makes one"),
]
