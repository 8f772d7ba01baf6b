"""Every setting, described once, and which choices are unsafe. `adapters.environment` reads them."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

from application.setting_types import (
    AtMostAMinute,
    BrokerUrl,
    BucketName,
    Count,
    DatabaseName,
    Email,
    HttpUrl,
    Interval,
    Kind,
    Lanes,
    Lifetime,
    LongestPassword,
    Memory,
    Modules,
    MongoUrl,
    Named,
    Networks,
    Origins,
    Port,
    PostgresUrl,
    RedisUrl,
    Retention,
    Secret,
    ShortestPassword,
    Size,
    Text,
    Timeout,
    Username,
    Word,
)
from domain.identity import PasswordPolicy
from domain.sessions import AgentBinding

# OWASP Password Storage Cheat Sheet: the least argon2id is worth having with.
_LEAST_ARGON2_MEMORY_KIB = 19456
_LEAST_ARGON2_TIME = 2

_POLICY = PasswordPolicy()


class Environment(StrEnum):
    """Where this runs. The default is the one with the strictest rules."""

    LOCAL = "LOCAL"
    TESTING = "TESTING"
    STAGING = "STAGING"
    PRODUCTION = "PRODUCTION"

    @property
    def debug(self) -> bool:
        """Whether docs pages, the Swagger log-in and printed passwords exist."""
        return self in {Environment.LOCAL, Environment.TESTING}

    @property
    def deployed(self) -> bool:
        """Whether unsafe choices are refused."""
        return not self.debug


class Stores(StrEnum):
    """Where state lives."""

    SERVERS = "servers"
    MEMORY = "memory"


class WorkerPool(StrEnum):
    """What a worker runs tasks in."""

    PREFORK = "prefork"
    """Processes: a task that hangs or crashes is alone."""
    THREADS = "threads"
    """Threads of one process, whose asynchronous tasks share one event loop and one pool of connections."""
    SOLO = "solo"
    """The worker's own thread, one task after the other."""


class Registration(StrEnum):
    """Who makes accounts."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `attempts` in `seconds`, evenly refilled."""

    attempts: int
    seconds: int

    @property
    def interval(self) -> timedelta:
        """The time after which one attempt comes back."""
        return timedelta(seconds=self.seconds) / self.attempts

    def times(self, factor: int) -> "Limit":
        """Return the limit that allows `factor` times as many attempts."""
        return Limit(self.attempts * factor, self.seconds)


Attempts: TypeAlias = Annotated[Limit, Kind("attempts/seconds, such as 10/300")]
LogLevel: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The HTTP server and what browsers may do with it."""

    PREFIX: ClassVar = "HTTP_"

    host: Word = "127.0.0.1"
    """The address on which the API listens; 0.0.0.0 is all of them."""
    port: Port = 8000
    """The port on which the API listens."""
    workers: Count = 1
    """How many processes serve the API."""
    trusted_proxies: Networks = ()
    """The proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    hsts: bool = False
    """Whether answers over TLS carry Strict-Transport-Security; set it once every address speaks TLS."""
    body_limit: Size = 1024 * 1024
    """The largest request body."""
    auth_body_limit: Size = 16 * 1024
    """The largest request body on the authentication routes."""
    stop_timeout: Timeout = timedelta(seconds=30)
    """How long a stopping API may take to finish the requests in flight."""
    cors_origins: Annotated[Origins, Named("CORS_ORIGINS")] = ()
    """The sites whose pages may call the API from a browser."""
    cors_credentials: Annotated[bool, Named("CORS_CREDENTIALS")] = False
    """Whether those pages may send cookies and the like; needs origins by name, not `*`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """PostgreSQL. The adapter chooses the driver."""

    PREFIX: ClassVar = "POSTGRES_"

    url: PostgresUrl | None = field(default=None, repr=False)
    """PostgreSQL: users, roles, schedules. Default: DATABASE_URL, if that is an address of PostgreSQL."""
    direct_url: PostgresUrl | None = field(default=None, repr=False)
    """PostgreSQL without a pooler in transaction mode: beats, migrations. Default: PORTICO_POSTGRES_URL."""
    pool_size: Count = 10
    """Connections per process."""
    timeout: Timeout = timedelta(seconds=1.5)
    """For connecting, for waiting on the pool, and for each statement."""

    @property
    def direct(self) -> "PostgresSettings":
        """The same, for connections that stay the same."""
        return replace(self, url=self.direct_url or self.url, direct_url=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """Redis or Valkey."""

    PREFIX: ClassVar = "REDIS_"

    url: RedisUrl | None = field(default=None, repr=False)
    """Redis or Valkey: sessions, throttles. Default: REDIS_URL, if that is an address of Redis."""
    timeout: Timeout = timedelta(seconds=1.5)
    """For connecting, and for each command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MongoSettings:
    """MongoDB, and the database within."""

    PREFIX: ClassVar = "MONGO_"

    url: MongoUrl | None = field(default=None, repr=False)
    """MongoDB: documents, the audit log."""
    database: DatabaseName = "portico"
    """The MongoDB database."""
    timeout: Timeout = timedelta(seconds=1.5)
    """For connecting, and for each operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogSettings:
    """The audit log."""

    PREFIX: ClassVar = "AUDIT_"

    retention: Retention = timedelta(days=365)
    """How long an entry stays in the audit log. To change it, the MongoDB user needs the role dbAdmin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """The broker, the results of tasks, workers, and the beat."""

    PREFIX: ClassVar = ""

    broker_url: BrokerUrl | None = field(default=None, repr=False)
    """Where messages for workers wait: Redis or RabbitMQ. Default: PORTICO_REDIS_URL, under keys of its own."""
    result_url: RedisUrl | None = field(default=None, repr=False)
    """Where results of tasks are. Default: PORTICO_REDIS_URL, under keys of its own."""
    task_modules: Modules = ()
    """Modules with tasks of your own, which workers and beats import."""
    pool: Annotated[WorkerPool, Named("WORKER_POOL")] = WorkerPool.PREFORK
    """What a worker runs tasks in: processes, threads, or itself."""
    concurrency: Annotated[Count | None, Named("WORKER_CONCURRENCY")] = None
    """How many tasks a worker runs at once. Default: one per core."""
    lease: Annotated[Interval, Named("BEAT_LEASE")] = timedelta(seconds=15)
    """How long a beat leads without a sign of life; a standby beat takes over within this time."""
    poll: Annotated[Interval, Named("BEAT_POLL")] = timedelta(seconds=5)
    """How often a beat looks for changes, in case that no notification came."""
    reconcile: Annotated[Interval, Named("BEAT_RECONCILE")] = timedelta(minutes=5)
    """How often a beat compares all that it knows with the database."""
    runs_retention: Retention = timedelta(days=30)
    """How long a run of a periodic task stays in its history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """An S3-compatible store."""

    PREFIX: ClassVar = "S3_"

    url: HttpUrl | None = None
    """The S3-compatible store: files."""
    region: Word = "us-east-1"
    """The region that requests are signed for."""
    bucket: BucketName = "portico"
    """The bucket."""
    access_key: Secret = field(default="", repr=False)
    """The id of the S3 access key."""
    secret_key: Secret = field(default="", repr=False)
    """The secret of the S3 access key."""
    timeout: Timeout = timedelta(seconds=1.5)
    """For connecting, and for each answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredKey:
    """A key that signs no more and is still accepted; unpublished once `until` has passed."""

    pem: str = field(repr=False)
    until_unix: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """The RSA private keys (PEM) of one purpose. Exactly one is in use; `next` is published ahead of its use."""

    active: str | None = field(default=None, repr=False)
    next: str | None = field(default=None, repr=False)
    retired: tuple[RetiredKey, ...] = ()

    def pems(self) -> tuple[str, ...]:
        """Return every key of the ring, the active one first."""
        return tuple(p for p in (self.active, self.next) if p) + tuple(k.pem for k in self.retired)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """Three purposes, three rings; a key of one is never in another. And a secret that signs and decrypts nothing."""

    access: KeyRing = KeyRing()
    refresh: KeyRing = KeyRing()
    transport: KeyRing = KeyRing()
    names: str | None = field(default=None, repr=False)
    """What the names and devices of log-in attempts are hashed under."""
    generate_in: Path | None = None
    """Where missing keys are made, once; only debug environments have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """Tokens, their lifetimes, and what a refresh tolerates."""

    PREFIX: ClassVar = ""

    issuer: HttpUrl = "https://portico.local"
    """The `iss` of all tokens: the address of this service."""
    audience: Word = "portico"
    """The `aud` of access tokens."""
    client_id: Word = "portico"
    """The `client_id` of access tokens (RFC 9068)."""
    access_lifetime: Lifetime = timedelta(minutes=10)
    """How long an access token lives."""
    refresh_idle: Lifetime = timedelta(days=7)
    """How long a session lives without a refresh."""
    refresh_absolute: Lifetime = timedelta(days=30)
    """How long a session lives at most."""
    refresh_grace: AtMostAMinute = timedelta(seconds=10)
    """How long after a rotation the previous refresh token gives the same successor again."""
    leeway: Annotated[AtMostAMinute, Named("TOKEN_LEEWAY")] = timedelta(seconds=30)
    """How far the clocks of two hosts may be apart, that of Redis included."""
    cap: Annotated[Count, Named("SESSIONS_PER_USER")] = 20
    """How many sessions a user has at most; the oldest one ends for a new one."""
    agent_binding: AgentBinding = AgentBinding.FAMILY
    """Whether a refresh must come from the same browser family, or with exactly the same User-Agent."""
    require_fresh_ciphertext: bool | None = None
    """Whether an encrypted password must say when it was sealed. Default: on in STAGING and PRODUCTION."""
    ciphertext_window: Lifetime = timedelta(seconds=120)
    """How far the clock of a client may be off when it says so."""
    cached_callers: Count = 20_000
    """How many callers each process remembers, at about 1 KB each; those beyond cost more with each request."""

    @property
    def refresh_audience(self) -> str:
        """The audience of refresh tokens, which no other service accepts."""
        return f"{self.issuer}/refresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordSettings:
    """argon2id parameters, its pool, and the policy for new passwords."""

    PREFIX: ClassVar = ""

    memory_kib: Annotated[Memory, Named("ARGON2_MEMORY_KIB")] = _LEAST_ARGON2_MEMORY_KIB
    """Memory of one password hash, in KiB; STAGING and PRODUCTION want 19456 or more (OWASP)."""
    time_cost: Annotated[Count, Named("ARGON2_TIME_COST")] = _LEAST_ARGON2_TIME
    """Passes of one password hash; STAGING and PRODUCTION want 2 or more (OWASP)."""
    parallelism: Annotated[Lanes, Named("ARGON2_PARALLELISM")] = 1
    """Lanes of one password hash."""
    workers: Annotated[Count | None, Named("HASHING_WORKERS")] = None
    """Threads that hash. Default: one per core."""
    queue: Annotated[Count, Named("HASHING_QUEUE")] = 256
    """Hashes that may wait; the next one is answered 503."""
    shortest: Annotated[ShortestPassword, Named("PASSWORD_MIN_LENGTH")] = _POLICY.shortest
    """The fewest characters of a new password."""
    longest: Annotated[LongestPassword, Named("PASSWORD_MAX_LENGTH")] = _POLICY.longest
    """The most characters of a new password."""

    @property
    def policy(self) -> PasswordPolicy:
        """The rules of a new password."""
        return PasswordPolicy(shortest=self.shortest, longest=self.longest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleSettings:
    """How often things may be tried."""

    PREFIX: ClassVar = "THROTTLE_"

    account: Attempts = Limit(10, 300)
    """Log-in attempts per account, whether it exists or not."""
    address: Attempts = Limit(30, 300)
    """Log-in attempts per address (/64 for IPv6, and ten times as many per /48), or per known device."""
    everyone: Annotated[Attempts, Named("THROTTLE_GLOBAL")] = Limit(1000, 300)
    """Log-in attempts in total, but for those on known devices."""
    refresh: Attempts = Limit(60, 60)
    """Refreshes per session."""
    public: Attempts = Limit(120, 60)
    """Requests for the public key, and registrations, per address (/64 for IPv6, and ten times as many per /48)."""
    failures_before_lock: Annotated[Count, Named("THROTTLE_LOCK_AFTER")] = 5
    """Failures in a row that lock an account for a while."""
    first_lock: Lifetime = timedelta(seconds=30)
    """How long the first lock lasts; each further failure doubles it."""
    longest_lock: Lifetime = timedelta(hours=1)
    """How long a lock lasts at most."""
    known_device: Lifetime = timedelta(days=90)
    """How long a device that has logged in is known by its token, and has a bucket and a lock of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAdministrator:
    """Whom `create-admin` makes. Without a password a one-time one is made and, in debug environments, printed."""

    PREFIX: ClassVar = "ADMIN_"

    username: Username = "admin"
    """The first administrator, whom `portico create-admin` and `portico run` make."""
    email: Email = "admin@portico.local"
    """The email address of the first administrator."""
    name: Text = "Administrator"
    """The name of the first administrator."""
    password: Secret | None = field(default=None, repr=False)
    """The first administrator's password; take it away once they are made. Without it LOCAL and TESTING print one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be configured.

    A section has a `PREFIX`, and each of its fields is a variable: `PORTICO_`, the prefix, the field. Its type, its
    default and its docstring are all there is to know of it; the adapter that reads it and the documentation follow.
    """

    PREFIX: ClassVar = ""

    environment: Environment = Environment.PRODUCTION
    """Where this runs. STAGING and PRODUCTION refuse unsafe settings; LOCAL and TESTING have the docs pages."""
    stores: Stores = Stores.SERVERS
    """Where state lives. `memory` needs no server, forgets everything at the end, and is for demos."""
    data_dir: Path = Path(".portico")
    """Where `portico run` keeps its servers' data, and LOCAL its generated keys."""
    log_level: LogLevel = "INFO"
    """The least important messages that are logged."""
    http: HttpSettings = HttpSettings()
    postgres: PostgresSettings = PostgresSettings()
    redis: RedisSettings = RedisSettings()
    mongo: MongoSettings = MongoSettings()
    audit_log: AuditLogSettings = AuditLogSettings()
    s3: S3Settings = S3Settings()
    jobs: JobSettings = JobSettings()
    keys: KeySettings = KeySettings()
    sessions: SessionSettings = SessionSettings()
    passwords: PasswordSettings = PasswordSettings()
    throttle: ThrottleSettings = ThrottleSettings()
    registration: Registration = Registration.CLOSED
    """Whether people may make their own accounts."""
    first_administrator: FirstAdministrator = FirstAdministrator()

    @property
    def broker_url(self) -> str | None:
        """The address of the broker; None if there is none."""
        return self.jobs.broker_url or self.redis.url

    @property
    def result_url(self) -> str | None:
        """The address of the store of results; None if there is none."""
        return self.jobs.result_url or self.redis.url

    def problems(self) -> tuple["Problem", ...]:
        """Return every choice that must not be run with, in the order of the fields."""
        problems = [*self._problems_anywhere()]
        if self.environment.deployed:
            problems += self._problems_when_deployed()
        return tuple(problems)

    def _problems_anywhere(self) -> Iterator["Problem"]:
        if self.http.cors_credentials and "*" in self.http.cors_origins:
            yield Problem(
                "PORTICO_CORS_ORIGINS",
                "must name origins: `*` together with credentials lets every site act for its visitors",
            )
        if self.stores is Stores.SERVERS:
            for variable, url in (
                ("PORTICO_POSTGRES_URL", self.postgres.url),
                ("PORTICO_REDIS_URL", self.redis.url),
                ("PORTICO_MONGO_URL", self.mongo.url),
                ("PORTICO_S3_URL", self.s3.url),
            ):
                if url is None:
                    yield Problem(
                        variable, "must be set (`portico run` starts servers of its own instead)"
                    )

        if self.stores is Stores.MEMORY and self.http.workers > 1:
            yield Problem(
                "PORTICO_HTTP_WORKERS",
                "must be 1 with PORTICO_STORES=memory: processes do not share their memory",
            )
        yield from self._contradictions()

    def _contradictions(self) -> Iterator["Problem"]:
        if bool(self.s3.access_key) != bool(self.s3.secret_key):
            yield Problem("PORTICO_S3_ACCESS_KEY, PORTICO_S3_SECRET_KEY", "must be set together")
        lifetimes = self.sessions
        if not lifetimes.access_lifetime <= lifetimes.refresh_idle <= lifetimes.refresh_absolute:
            yield Problem(
                "PORTICO_REFRESH_IDLE",
                "must lie between PORTICO_ACCESS_LIFETIME and PORTICO_REFRESH_ABSOLUTE",
            )
        if self.passwords.longest < self.passwords.shortest:
            yield Problem(
                "PORTICO_PASSWORD_MAX_LENGTH", "must be at least PORTICO_PASSWORD_MIN_LENGTH"
            )
        if self.throttle.longest_lock < self.throttle.first_lock:
            yield Problem(
                "PORTICO_THROTTLE_LONGEST_LOCK", "must be at least PORTICO_THROTTLE_FIRST_LOCK"
            )

    def _problems_when_deployed(self) -> Iterator["Problem"]:
        if self.stores is Stores.MEMORY:
            yield Problem(
                "PORTICO_STORES",
                f"must be `servers` in {self.environment}: memory forgets everything",
            )
        for variable, ring in (
            ("PORTICO_ACCESS_KEY", self.keys.access),
            ("PORTICO_REFRESH_KEY", self.keys.refresh),
            ("PORTICO_TRANSPORT_KEY", self.keys.transport),
        ):
            if ring.active is None:
                yield missing_key(variable, self.environment)
        if self.keys.names is None:
            yield missing_name_key(self.environment)
        if (
            self.passwords.memory_kib < _LEAST_ARGON2_MEMORY_KIB
            or self.passwords.time_cost < _LEAST_ARGON2_TIME
        ):
            yield Problem(
                "PORTICO_ARGON2_MEMORY_KIB, PORTICO_ARGON2_TIME_COST",
                f"must be at least {_LEAST_ARGON2_MEMORY_KIB} and {_LEAST_ARGON2_TIME} in {self.environment} (OWASP)",
            )
        if not self.sessions.issuer.startswith("https://") or self.sessions.issuer.endswith(
            "portico.local"
        ):
            yield Problem(
                "PORTICO_ISSUER",
                f"must be the https:// address of this service in {self.environment}",
            )


@dataclass(frozen=True, slots=True)
class Problem:
    """One variable and what it should have been. Never the value: it may be a secret."""

    variable: str
    message: str

    def __str__(self) -> str:
        return f"{self.variable} {self.message}"


def missing_key(variable: str, environment: Environment) -> Problem:
    """Return what is wrong when a purpose has no key in use."""
    return Problem(
        variable,
        f"must be set in {environment}: an RSA private key (PEM) or a file; `portico make-keys` makes one",
    )


def missing_name_key(environment: Environment) -> Problem:
    """Return what is wrong when there is nothing to hash names under."""
    return Problem(
        "PORTICO_NAME_KEY",
        f"must be set in {environment}: a random secret or a file; `portico make-keys` makes one",
    )


class UnsafeSettings(Exception):
    """The service must not start with these settings; `problems` says all that is wrong at once."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
