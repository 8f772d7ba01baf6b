"""The shape of the configuration, and which choices are unsafe. `adapters.environment` reads it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from domain.identity import PasswordPolicy
from domain.sessions import AgentBinding

# OWASP Password Storage Cheat Sheet: the least argon2id is worth having with.
_LEAST_ARGON2_MEMORY_KIB = 19456
_LEAST_ARGON2_TIME = 2


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


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The HTTP server and what browsers may do with it."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    cors_origins: tuple[str, ...] = ()
    cors_credentials: bool = False
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    hsts: bool = False
    body_limit: int = 1024 * 1024
    auth_body_limit: int = 16 * 1024
    stop_timeout: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """`postgresql://…`; the driver is chosen by the adapter."""

    url: str | None = field(default=None, repr=False)
    direct_url: str | None = field(default=None, repr=False)
    """Where a connection stays the same, if `url` leads to a pooler in transaction mode."""
    pool_size: int = 10
    timeout: timedelta = timedelta(seconds=1.5)
    """For connecting, for waiting on the pool, and for each statement."""

    @property
    def direct(self) -> "PostgresSettings":
        """The same, for connections that stay the same."""
        return replace(self, url=self.direct_url or self.url, direct_url=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """`redis://` or `rediss://`."""

    url: str | None = field(default=None, repr=False)
    timeout: timedelta = timedelta(seconds=1.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class MongoSettings:
    """`mongodb://…` and the database within."""

    url: str | None = field(default=None, repr=False)
    database: str = "portico"
    timeout: timedelta = timedelta(seconds=1.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSettings:
    """What is kept in MongoDB, and for how long."""

    audit_retention: timedelta = timedelta(days=365)
    """After this time an audit entry is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """Celery's broker and results, workers, and the beat."""

    broker_url: str | None = field(default=None, repr=False)
    """`redis://`, `rediss://`, `amqp://` or `amqps://`; None is the Redis of everything else."""
    result_url: str | None = field(default=None, repr=False)
    """`redis://` or `rediss://`; None is the Redis of everything else."""
    task_modules: tuple[str, ...] = ()
    """Modules with tasks, besides Portico's own."""
    pool: WorkerPool = WorkerPool.PREFORK
    concurrency: int | None = None
    """Tasks at once; None is one per core."""
    lease: timedelta = timedelta(seconds=15)
    """A standby beat takes over within this time."""
    poll: timedelta = timedelta(seconds=5)
    """Between two looks for changes, in case that no notification came."""
    reconcile: timedelta = timedelta(minutes=5)
    """Between two comparisons of everything."""
    runs_retention: timedelta = timedelta(days=30)
    """After this time a run is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """An S3-compatible store."""

    url: str | None = None
    region: str = "us-east-1"
    bucket: str = "portico"
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    timeout: timedelta = timedelta(seconds=1.5)


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

    issuer: str = "https://portico.local"
    audience: str = "portico"
    client_id: str = "portico"
    access_lifetime: timedelta = timedelta(minutes=10)
    refresh_idle: timedelta = timedelta(days=7)
    refresh_absolute: timedelta = timedelta(days=30)
    refresh_grace: timedelta = timedelta(seconds=10)
    leeway: timedelta = timedelta(seconds=30)
    cap: int = 20
    """Sessions per user; the oldest one ends for a new one."""
    agent_binding: AgentBinding = AgentBinding.FAMILY
    require_fresh_ciphertext: bool = False
    ciphertext_window: timedelta = timedelta(seconds=120)

    @property
    def refresh_audience(self) -> str:
        """The audience of refresh tokens, which no other service accepts."""
        return f"{self.issuer}/refresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordSettings:
    """argon2id parameters, its pool, and the policy for new passwords."""

    memory_kib: int = _LEAST_ARGON2_MEMORY_KIB
    time_cost: int = _LEAST_ARGON2_TIME
    parallelism: int = 1
    workers: int | None = None
    """Threads that hash; None is one per core."""
    queue: int = 256
    """Hashes that may wait; the next one is answered 503."""
    policy: PasswordPolicy = field(default_factory=PasswordPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleSettings:
    """How often things may be tried."""

    account: Limit = Limit(10, 300)
    address: Limit = Limit(30, 300)
    everyone: Limit = Limit(1000, 300)
    refresh: Limit = Limit(60, 60)
    public: Limit = Limit(120, 60)
    failures_before_lock: int = 5
    first_lock: timedelta = timedelta(seconds=30)
    longest_lock: timedelta = timedelta(hours=1)
    known_device: timedelta = timedelta(days=90)
    """How long a device that has logged in keeps a bucket of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAdministrator:
    """Who `create-admin` makes. Without a password a one-time one is made and, in debug environments, printed."""

    username: str = "admin"
    email: str = "admin@portico.local"
    name: str = "Administrator"
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be configured."""

    environment: Environment = Environment.PRODUCTION
    stores: Stores = Stores.SERVERS
    data_dir: Path = Path(".portico")
    log_level: str = "INFO"
    registration: Registration = Registration.CLOSED
    http: HttpSettings = HttpSettings()
    postgres: PostgresSettings = PostgresSettings()
    redis: RedisSettings = RedisSettings()
    mongo: MongoSettings = MongoSettings()
    documents: DocumentSettings = DocumentSettings()
    jobs: JobSettings = JobSettings()
    s3: S3Settings = S3Settings()
    keys: KeySettings = KeySettings()
    sessions: SessionSettings = SessionSettings()
    passwords: PasswordSettings = PasswordSettings()
    throttle: ThrottleSettings = ThrottleSettings()
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
        if self.passwords.policy.longest < self.passwords.policy.shortest:
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
