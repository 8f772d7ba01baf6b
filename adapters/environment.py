"""The only reader of the environment: variables, `.env` files and secret files become `application.settings`.

`Variables` is the whole list, one attribute per variable; `.env.example` and `docs/configuration.md` follow it.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource

from adapters.security.keys import read_key_dir
from application.settings import (
    Environment,
    FirstAdministrator,
    HttpSettings,
    KeyRing,
    KeySettings,
    Limit,
    MongoSettings,
    PasswordSettings,
    PostgresSettings,
    Problem,
    RedisSettings,
    Registration,
    RetiredKey,
    S3Settings,
    SessionSettings,
    Settings,
    Stores,
    ThrottleSettings,
    UnsafeSettings,
)
from domain.identity import PasswordPolicy
from domain.sessions import AgentBinding

_PREFIX = "PORTICO_"
_PREFIX_OF_TESTS = "PORTICO_TEST_"
_DEFAULT = Settings()


# --- what a value may be ------------------------------------------------------------------------


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


def _origin(value: str) -> str:
    """Accept `scheme://host[:port]` as browsers send it, or `*`."""
    if value != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s/?#@]+", value):
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


_A_KEY = "an RSA private key (PEM), or the path of a file with one"

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
Networks = Annotated[
    tuple[IPv4Network | IPv6Network, ...],
    BeforeValidator(_words),
    Kind("IP addresses or networks such as 10.0.0.0/8, with commas between them"),
]
PostgresUrl = Annotated[
    str,
    _address_of("postgresql", "postgres", socket=True),
    Kind("postgresql://user:password@host:port/database", secret=True),
]
RedisUrl = Annotated[
    str,
    _address_of("redis", "rediss"),
    Kind("redis:// or rediss://user:password@host:port/number", secret=True),
]
MongoUrl = Annotated[
    str,
    _address_of("mongodb", "mongodb+srv"),
    Kind("mongodb:// or mongodb+srv://user:password@host:port", secret=True),
]
HttpUrl = Annotated[str, _address_of("http", "https"), Kind("an http:// or https:// address")]
Secret = Annotated[str, Field(min_length=1), Kind("text", secret=True)]
Pem = Annotated[str, AfterValidator(_pem), Kind(_A_KEY, secret=True)]
Pems = Annotated[
    str,
    AfterValidator(_pem),
    Kind(
        "RSA private keys (PEM), one after the other, or the path of a file with them", secret=True
    ),
]


# --- every variable -----------------------------------------------------------------------------


class Variables(BaseModel):
    """Every variable, without its prefix. The docstring of each says what it does."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True)

    environment: Annotated[
        Environment,
        BeforeValidator(lambda value: str(value).upper()),
        Kind("LOCAL, TESTING, STAGING or PRODUCTION"),
    ] = _DEFAULT.environment
    """Where this runs. STAGING and PRODUCTION refuse unsafe settings; LOCAL and TESTING have the docs pages."""
    stores: Annotated[Stores, Kind("servers or memory")] = _DEFAULT.stores
    """Where state lives. `memory` needs no server, forgets everything at the end, and is for demos."""
    data_dir: Annotated[Path, Kind("a directory")] = _DEFAULT.data_dir
    """Where `portico run` keeps its servers' data, and LOCAL its generated keys."""
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        BeforeValidator(lambda value: str(value).upper()),
        Kind("DEBUG, INFO, WARNING, ERROR or CRITICAL"),
    ] = "INFO"
    """The least important messages that are logged."""

    http_host: Word = _DEFAULT.http.host
    """The address on which the API listens; 0.0.0.0 is all of them."""
    http_port: Port = _DEFAULT.http.port
    """The port on which the API listens."""
    http_workers: Count = _DEFAULT.http.workers
    """How many processes serve the API."""
    http_trusted_proxies: Networks = _DEFAULT.http.trusted_proxies
    """The proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    http_hsts: Switch = _DEFAULT.http.hsts
    """Whether answers carry Strict-Transport-Security; set it once every address of the site speaks TLS."""
    http_body_limit: Bytes = ByteSize(_DEFAULT.http.body_limit)
    """The largest request body."""
    http_auth_body_limit: Bytes = ByteSize(_DEFAULT.http.auth_body_limit)
    """The largest request body on the authentication routes."""
    http_stop_timeout: Timeout = _DEFAULT.http.stop_timeout
    """How long a stopping API may take to finish the requests in flight."""
    cors_origins: Origins = _DEFAULT.http.cors_origins
    """The sites whose pages may call the API from a browser."""
    cors_credentials: Switch = _DEFAULT.http.cors_credentials
    """Whether those pages may send cookies and the like; needs origins by name, not `*`."""

    postgres_url: PostgresUrl | None = None
    """PostgreSQL: users, roles, schedules."""
    postgres_pool_size: Count = _DEFAULT.postgres.pool_size
    """Connections per process."""
    postgres_timeout: Timeout = _DEFAULT.postgres.timeout
    """For connecting, for waiting on the pool, and for each statement."""
    redis_url: RedisUrl | None = None
    """Redis or Valkey: sessions, throttles."""
    redis_timeout: Timeout = _DEFAULT.redis.timeout
    """For connecting, and for each command."""
    mongo_url: MongoUrl | None = None
    """MongoDB: documents, the audit log."""
    mongo_database: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_-]{1,63}$"), Kind("1 to 63 letters, digits, _ or -")
    ] = _DEFAULT.mongo.database
    """The MongoDB database."""
    mongo_timeout: Timeout = _DEFAULT.mongo.timeout
    """For connecting, and for each operation."""
    s3_url: HttpUrl | None = None
    """The S3-compatible store: files."""
    s3_region: Word = _DEFAULT.s3.region
    """The region that requests are signed for."""
    s3_bucket: Annotated[
        str,
        Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"),
        Kind("3 to 63 lower-case letters, digits, dots or hyphens"),
    ] = _DEFAULT.s3.bucket
    """The bucket."""
    s3_access_key: Secret = _DEFAULT.s3.access_key
    """The id of the S3 access key."""
    s3_secret_key: Secret = _DEFAULT.s3.secret_key
    """The secret of the S3 access key."""
    s3_timeout: Timeout = _DEFAULT.s3.timeout
    """For connecting, and for each answer."""

    keys_dir: Annotated[
        KeySettings,
        BeforeValidator(_key_dir),
        Kind("a readable directory of keys; `portico make-keys` makes one"),
    ] = KeySettings()
    """The directory of all keys; the variables below replace the keys in it one by one."""
    access_key: Pem | None = None
    """The key that signs access tokens."""
    access_key_next: Pem | None = None
    """The access key that will be in use after the next rotation; published already."""
    access_key_retired: Pems | None = None
    """Access keys that sign no more and whose tokens are still accepted."""
    refresh_key: Pem | None = None
    """The key that signs refresh tokens."""
    refresh_key_next: Pem | None = None
    """The refresh key that will be in use after the next rotation."""
    refresh_key_retired: Pems | None = None
    """Refresh keys that sign no more and whose tokens are still accepted."""
    transport_key: Pem | None = None
    """The key under which clients encrypt passwords."""
    transport_key_next: Pem | None = None
    """The transport key that will be in use after the next rotation."""
    transport_key_retired: Pems | None = None
    """Transport keys that are handed out no more and still decrypt."""

    issuer: HttpUrl = _DEFAULT.sessions.issuer
    """The `iss` of all tokens: the address of this service."""
    audience: Word = _DEFAULT.sessions.audience
    """The `aud` of access tokens."""
    client_id: Word = _DEFAULT.sessions.client_id
    """The `client_id` of access tokens (RFC 9068)."""
    access_lifetime: Lifetime = _DEFAULT.sessions.access_lifetime
    """How long an access token lives."""
    refresh_idle: Lifetime = _DEFAULT.sessions.refresh_idle
    """How long a session lives without a refresh."""
    refresh_absolute: Lifetime = _DEFAULT.sessions.refresh_absolute
    """How long a session lives at most."""
    refresh_grace: AtMostAMinute = _DEFAULT.sessions.refresh_grace
    """How long after a rotation the previous refresh token gives the same successor again."""
    token_leeway: AtMostAMinute = _DEFAULT.sessions.leeway
    """How far the clocks of two processes may be apart."""
    sessions_per_user: Count = _DEFAULT.sessions.cap
    """How many sessions a user has at most; the oldest one ends for a new one."""
    agent_binding: Annotated[AgentBinding, Kind("family or strict")] = (
        _DEFAULT.sessions.agent_binding
    )
    """Whether a refresh must come from the same browser family, or with exactly the same User-Agent."""
    require_fresh_ciphertext: Switch | None = None
    """Whether an encrypted password must say when it was sealed. Default: on in STAGING and PRODUCTION."""
    ciphertext_window: Lifetime = _DEFAULT.sessions.ciphertext_window
    """How far the clock of a client may be off when it says so."""

    argon2_memory_kib: Annotated[
        int, Field(ge=8, le=4 * 1024 * 1024), Kind("a whole number of KiB from 8 to 4194304")
    ] = _DEFAULT.passwords.memory_kib
    """Memory of one password hash, in KiB; STAGING and PRODUCTION want 19456 or more (OWASP)."""
    argon2_time_cost: Count = _DEFAULT.passwords.time_cost
    """Passes of one password hash; STAGING and PRODUCTION want 2 or more (OWASP)."""
    argon2_parallelism: Annotated[int, Field(ge=1, le=64), Kind("a whole number from 1 to 64")] = (
        _DEFAULT.passwords.parallelism
    )
    """Lanes of one password hash."""
    hashing_workers: Count | None = _DEFAULT.passwords.workers
    """Threads that hash. Default: one per core."""
    hashing_queue: Count = _DEFAULT.passwords.queue
    """Hashes that may wait; the next one is answered 503."""
    password_min_length: Annotated[
        int, Field(ge=8, le=128), Kind("a whole number from 8 (NIST SP 800-63B-4) to 128")
    ] = _DEFAULT.passwords.policy.shortest
    """The fewest characters of a new password."""
    password_max_length: Annotated[
        int, Field(ge=64, le=1024), Kind("a whole number from 64 (NIST SP 800-63B-4) to 1024")
    ] = _DEFAULT.passwords.policy.longest
    """The most characters of a new password."""

    throttle_account: Attempts = _DEFAULT.throttle.account
    """Log-in attempts per account, whether it exists or not."""
    throttle_address: Attempts = _DEFAULT.throttle.address
    """Log-in attempts per address (/64 for IPv6)."""
    throttle_global: Attempts = _DEFAULT.throttle.everyone
    """Log-in attempts in total."""
    throttle_refresh: Attempts = _DEFAULT.throttle.refresh
    """Refreshes per session."""
    throttle_public: Attempts = _DEFAULT.throttle.public
    """Requests for the public key, and registrations, per address."""
    throttle_lock_after: Count = _DEFAULT.throttle.failures_before_lock
    """Failures in a row that lock an account for a while."""
    throttle_first_lock: Lifetime = _DEFAULT.throttle.first_lock
    """How long the first lock lasts; each further failure doubles it."""
    throttle_longest_lock: Lifetime = _DEFAULT.throttle.longest_lock
    """How long a lock lasts at most."""
    throttle_known_device: Lifetime = _DEFAULT.throttle.known_device
    """How long a device that has logged in keeps a bucket and a lock of its own."""

    registration: Annotated[Registration, Kind("open or closed")] = _DEFAULT.registration
    """Whether people may make their own accounts."""
    admin_username: Annotated[
        str,
        Field(pattern=r"^[^\s@]{5,100}$"),
        Kind("5 to 100 characters without white space or @"),
    ] = _DEFAULT.first_administrator.username
    """The first administrator, whom `portico create-admin` and `portico run` make."""
    admin_email: Annotated[
        str, Field(pattern=r"^[^\s@]{1,64}@[^\s@]{1,189}$"), Kind("an email address")
    ] = _DEFAULT.first_administrator.email
    """The email address of the first administrator."""
    admin_name: Annotated[str, Field(min_length=2, max_length=100), Kind("2 to 100 characters")] = (
        _DEFAULT.first_administrator.name
    )
    """The name of the first administrator."""
    admin_password: Secret | None = None
    """The password of the first administrator. Without it LOCAL and TESTING make a one-time password and print it."""

    def __repr_args__(self) -> tuple[()]:
        """Show nothing: there are secrets in it."""
        return ()


# --- from variables to settings -----------------------------------------------------------------


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 - each value has the type of its variable
    """Return the settings of the process environment, then `.env.<environment>`, then `.env`.

    `overrides` are variables in lower case without their prefix (`http_port=0`), and beat them all. Raise
    `UnsafeSettings` with every variable that is unknown or wrong. Whether the whole is safe to run with is for
    `Settings.problems` to say.
    """
    if unknown := overrides.keys() - Variables.model_fields.keys():
        raise TypeError(f"no such variable: {', '.join(sorted(unknown))}")
    given, problems = _read(overrides.get("environment"))
    try:
        variables = Variables.model_validate(given | overrides)
    except ValidationError as error:
        wrong = {str(e["loc"][0]): None for e in error.errors(include_url=False)}
        problems += [Problem(variable_of(name), _must_be(name)) for name in wrong]
    else:
        if not problems:
            return _settings(variables)
    raise UnsafeSettings(tuple(problems))


def variable_of(name: str) -> str:
    """Return what the attribute of `Variables` is called in the environment."""
    return "ENVIRONMENT" if name == "environment" else _PREFIX + name.upper()


def kind_of(name: str) -> Kind:
    """Return what the attribute of `Variables` must be."""
    return next(m for m in _metadata(Variables.model_fields[name]) if isinstance(m, Kind))


def _metadata(field: FieldInfo) -> Iterator[object]:
    yield from field.metadata
    for choice in get_args(field.annotation):
        yield from getattr(choice, "__metadata__", ())


def _must_be(name: str) -> str:
    return f"must be {kind_of(name).expects}"


_NAMES = {variable_of(name): name for name in Variables.model_fields}
_SECRET_FILES = {
    f"{variable}_FILE": name for variable, name in _NAMES.items() if kind_of(name).secret
}


def _read(environment: object) -> tuple[dict[str, Any], list[Problem]]:
    """Return what the sources say by attribute of `Variables`, and what is wrong with them."""
    problems: list[Problem] = []
    process = _present(EnvSettingsSource(BaseSettings).env_vars)
    general = _dotenv(Path(".env"), problems)
    environment = environment or process.get("ENVIRONMENT") or general.get("ENVIRONMENT")
    special: dict[str, str] = {}
    if str(environment).upper() in Environment.__members__:
        special = _dotenv(Path(f".env.{str(environment).lower()}"), problems)

    values: dict[str, Any] = {}
    for source in (general, special, process):
        problems += _misplaced(source)
        for variable, text in source.items():
            if variable in _NAMES:
                values[_NAMES[variable]] = text
            elif variable in _SECRET_FILES:
                values[_SECRET_FILES[variable]] = Path(text)
    if environment:
        values["environment"] = environment
    problems += _open_secret_files(values)
    return values, problems


def _present(variables: Mapping[str, str | None]) -> dict[str, str]:
    """Return the variables that have a value: an empty one is how compose files say that there is none."""
    return {name.upper(): value for name, value in variables.items() if value}


def _dotenv(path: Path, problems: list[Problem]) -> dict[str, str]:
    try:
        return _present(DotEnvSettingsSource(BaseSettings, env_file=path).env_vars)
    except (OSError, UnicodeDecodeError):
        problems.append(Problem(str(path), "must be a readable file of UTF-8 text"))
        return {}


def _misplaced(source: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the variables of one source that mean nothing, or the same twice."""
    for variable, text in source.items():
        if variable in _SECRET_FILES:
            twin = variable.removesuffix("_FILE")
            if twin in source:
                yield Problem(variable, f"must not be set together with {twin}")
        elif (
            variable.startswith(_PREFIX)
            and not variable.startswith(_PREFIX_OF_TESTS)
            and variable not in _NAMES
            and not _is_service_link(variable, text)
        ):
            close = difflib.get_close_matches(variable, (*_NAMES, *_SECRET_FILES), n=1, cutoff=0.85)
            hint = f"; is {close[0]} meant?" if close else ""
            yield Problem(variable, f"is not known{hint}")


def _is_service_link(variable: str, text: str) -> bool:
    """Tell whether Kubernetes added this for a service called `portico` or `portico-…`."""
    return text.startswith(("tcp://", "udp://", "sctp://")) or bool(
        re.search(r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)_\w+$", variable)
    )


def _open_secret_files(values: dict[str, Any]) -> Iterator[Problem]:
    """Replace the path of a secret by what is in the file."""
    for variable, name in _SECRET_FILES.items():
        path = values.get(name)
        if isinstance(path, Path):
            try:
                values[name] = path.expanduser().read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError):
                del values[name]
                expected = kind_of(name).expects
                yield Problem(variable, f"must be the path of a readable file with {expected}")


def _settings(given: Variables) -> Settings:
    return Settings(
        environment=given.environment,
        stores=given.stores,
        data_dir=given.data_dir,
        log_level=given.log_level,
        registration=given.registration,
        http=HttpSettings(
            host=given.http_host,
            port=given.http_port,
            workers=given.http_workers,
            cors_origins=given.cors_origins,
            cors_credentials=given.cors_credentials,
            trusted_proxies=given.http_trusted_proxies,
            hsts=given.http_hsts,
            body_limit=given.http_body_limit,
            auth_body_limit=given.http_auth_body_limit,
            stop_timeout=given.http_stop_timeout,
        ),
        postgres=PostgresSettings(
            url=given.postgres_url,
            pool_size=given.postgres_pool_size,
            timeout=given.postgres_timeout,
        ),
        redis=RedisSettings(url=given.redis_url, timeout=given.redis_timeout),
        mongo=MongoSettings(
            url=given.mongo_url, database=given.mongo_database, timeout=given.mongo_timeout
        ),
        s3=S3Settings(
            url=given.s3_url,
            region=given.s3_region,
            bucket=given.s3_bucket,
            access_key=given.s3_access_key,
            secret_key=given.s3_secret_key,
            timeout=given.s3_timeout,
        ),
        keys=_keys(given),
        sessions=SessionSettings(
            issuer=given.issuer.rstrip("/"),
            audience=given.audience,
            client_id=given.client_id,
            access_lifetime=given.access_lifetime,
            refresh_idle=given.refresh_idle,
            refresh_absolute=given.refresh_absolute,
            refresh_grace=given.refresh_grace,
            leeway=given.token_leeway,
            cap=given.sessions_per_user,
            agent_binding=given.agent_binding,
            require_fresh_ciphertext=(
                given.environment.deployed
                if given.require_fresh_ciphertext is None
                else given.require_fresh_ciphertext
            ),
            ciphertext_window=given.ciphertext_window,
        ),
        passwords=PasswordSettings(
            memory_kib=given.argon2_memory_kib,
            time_cost=given.argon2_time_cost,
            parallelism=given.argon2_parallelism,
            workers=given.hashing_workers,
            queue=given.hashing_queue,
            policy=PasswordPolicy(
                shortest=given.password_min_length, longest=given.password_max_length
            ),
        ),
        throttle=ThrottleSettings(
            account=given.throttle_account,
            address=given.throttle_address,
            everyone=given.throttle_global,
            refresh=given.throttle_refresh,
            public=given.throttle_public,
            failures_before_lock=given.throttle_lock_after,
            first_lock=given.throttle_first_lock,
            longest_lock=given.throttle_longest_lock,
            known_device=given.throttle_known_device,
        ),
        first_administrator=FirstAdministrator(
            username=given.admin_username,
            email=given.admin_email,
            name=given.admin_name,
            password=given.admin_password,
        ),
    )


def _keys(given: Variables) -> KeySettings:
    stored = given.keys_dir
    return KeySettings(
        access=_ring(
            stored.access, given.access_key, given.access_key_next, given.access_key_retired
        ),
        refresh=_ring(
            stored.refresh, given.refresh_key, given.refresh_key_next, given.refresh_key_retired
        ),
        transport=_ring(
            stored.transport,
            given.transport_key,
            given.transport_key_next,
            given.transport_key_retired,
        ),
        generate_in=given.data_dir / "keys" if given.environment.debug else None,
    )


def _ring(
    stored: KeyRing, active: str | None, following: str | None, retired: str | None
) -> KeyRing:
    blocks = re.findall(r"-----BEGIN [^-]+-----.*?-----END [^-]+-----", retired or "", re.DOTALL)
    return KeyRing(
        active=active or stored.active,
        next=following or stored.next,
        retired=(*stored.retired, *(RetiredKey(pem=block) for block in blocks)),
    )
