"""Every setting, described once. `adapters.environment` reads them; `setting_problems` refuses what is unsafe."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

from application.setting_types import (
    AtMostAMinute,
    BrokerUrl,
    BucketName,
    Count,
    DatabaseName,
    Email,
    HttpHeaders,
    HttpUrl,
    Interval,
    Kind,
    Lanes,
    Lifetime,
    LongestPassword,
    MediaTypes,
    Memory,
    Modules,
    MongoUrl,
    Networks,
    Origins,
    Percent,
    Port,
    PostgresUrl,
    RedisServersUrl,
    RedisUrl,
    Retention,
    Secret,
    ShortestPassword,
    Size,
    Text,
    Timeout,
    UrlLifetime,
    Username,
    Word,
)
from domain.files.files import Quota
from domain.identity import PasswordPolicy
from domain.sessions import AgentBinding

# OWASP Password Storage Cheat Sheet: the least argon2id is worth having with.
LEAST_ARGON2_MEMORY_KIB = 19456
LEAST_ARGON2_TIME = 2

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
    """The pool in which a worker runs tasks."""

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
class CorsSettings:
    """The access of pages of other sites to the API (CORS)."""

    PREFIX: ClassVar = "CORS_"

    origins: Origins = ()
    """Sites whose pages may call the API from a browser."""
    credentials: bool = False
    """Whether those pages may send credentials such as cookies. Needs named origins, not `*`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The HTTP server."""

    PREFIX: ClassVar = "HTTP_"

    host: Word = "127.0.0.1"
    """Address on which the API listens; 0.0.0.0 means all addresses."""
    port: Port = 8000
    """Port on which the API listens."""
    workers: Count = 1
    """Number of processes that serve the API."""
    trusted_proxies: Networks = ()
    """Proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted."""
    hsts: bool = False
    """Whether responses over TLS have Strict-Transport-Security. Set it when every address of the service uses TLS."""
    body_limit: Size = 1024 * 1024
    """Largest request body."""
    auth_body_limit: Size = 16 * 1024
    """Largest request body on the authentication routes."""
    avatar_body_limit: Size = 2 * 1024 * 1024
    """Largest image that can become an avatar."""
    keep_alive: Interval = timedelta(seconds=75)
    """Time that a connection may be idle between two requests. Longer than that of a proxy in front."""
    drain: AtMostAMinute | None = None
    """Time that a stopping API still serves, so that a balancer takes it out. Default: 5s when deployed, else 0."""
    stop_timeout: Timeout = timedelta(seconds=30)
    """Time that a stopping API has to finish its running requests."""
    cors: CorsSettings = CorsSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Metrics for Prometheus: of the API at `/metrics`, of workers and beats at a port of their own."""

    PREFIX: ClassVar = "METRICS_"

    allow: Networks = (ip_network("127.0.0.0/8"), ip_network("::1"))
    """Addresses that may scrape metrics without a token, but never through an unknown proxy. Default: this host."""
    token: Secret | None = field(default=None, repr=False)
    """Bearer token with which metrics may be scraped from anywhere."""
    host: Word = "127.0.0.1"
    """Address on which workers and beats serve their metrics; 0.0.0.0 means all addresses."""
    port: Port | None = None
    """Port on which a worker or a beat serves its metrics. Default: it has none."""
    dir: Path | None = None
    """Directory in which processes share their metrics, best in memory (tmpfs). Default: a temporary one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracesSettings:
    """Traces, sent to an OpenTelemetry collector."""

    PREFIX: ClassVar = "TRACES_"

    url: HttpUrl | None = None
    """OpenTelemetry collector (OTLP over HTTP) for traces. Needs the extra `tracing`. Default: there are no traces."""
    headers: HttpHeaders | None = field(default=None, repr=False)
    """Headers that spans are sent with, such as credentials of the collector."""
    sample: Percent = 5
    """Percentage of requests and tasks that are traced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """PostgreSQL. The adapter chooses the driver."""

    PREFIX: ClassVar = "POSTGRES_"

    url: PostgresUrl | None = field(default=None, repr=False)
    """PostgreSQL, for users, roles and schedules. Default: DATABASE_URL, if that is an address of PostgreSQL."""
    direct_url: PostgresUrl | None = field(default=None, repr=False)
    """PostgreSQL without a transaction-mode pooler, for beats and migrations. Default: PORTICO_POSTGRES_URL."""
    pool_size: Count = 10
    """Connections per process."""
    timeout: Timeout = timedelta(seconds=1.5)
    """Time limit for connecting, for getting a connection from the pool, and for each statement."""

    @property
    def direct(self) -> "PostgresSettings":
        """The same, for connections that stay the same."""
        return replace(self, url=self.direct_url or self.url, direct_url=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """Redis or Valkey."""

    PREFIX: ClassVar = "REDIS_"

    url: RedisServersUrl | None = field(default=None, repr=False)
    """Redis or Valkey, for sessions and throttles. Default: REDIS_URL, if that is an address of Redis."""
    timeout: Timeout = timedelta(seconds=1.5)
    """Time limit for connecting and for each command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MongoSettings:
    """MongoDB, and the database within."""

    PREFIX: ClassVar = "MONGO_"

    url: MongoUrl | None = field(default=None, repr=False)
    """MongoDB, for documents and the audit log."""
    database: DatabaseName = "portico"
    """Name of the MongoDB database."""
    timeout: Timeout = timedelta(seconds=1.4)
    """Time limit for connecting and for each operation; half a second more if the server is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogSettings:
    """The audit log."""

    PREFIX: ClassVar = "AUDIT_"

    retention: Retention = timedelta(days=365)
    """Time after which an audit entry is deleted. To change it, the MongoDB user needs the role dbAdmin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """The broker, the results of tasks, workers, and the beat."""

    PREFIX: ClassVar = ""

    broker_url: BrokerUrl | None = field(default=None, repr=False)
    """Broker of the messages for workers: Redis or RabbitMQ. Default: PORTICO_REDIS_URL if that is one server."""
    result_url: RedisUrl | None = field(default=None, repr=False)
    """Store of task results. Default: PORTICO_REDIS_URL if that is one server."""
    task_modules: Modules = ()
    """Modules with your own tasks; workers and beats import them."""
    worker_pool: WorkerPool = WorkerPool.PREFORK
    """How a worker runs tasks: in processes, in threads, or in its own thread, one after the other."""
    worker_concurrency: Count | None = None
    """Number of tasks that a worker runs at once. Default: one per core."""
    worker_stop: Interval | None = None
    """Time after SIGTERM at which a worker (`prefork`) hands back what still runs. Default: it finishes everything."""
    beat_lease: Interval = timedelta(seconds=15)
    """Time for which a beat leads without renewing its lease. A standby beat takes over within this time."""
    beat_poll: Interval = timedelta(seconds=5)
    """Interval at which a beat reads changes, in case a notification was lost."""
    beat_reconcile: Interval = timedelta(minutes=5)
    """Interval at which a beat compares everything it knows with the database."""
    runs_retention: Retention = timedelta(days=30)
    """Time after which a run of a periodic task is deleted from the history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeSettings:
    """Rooms, messages, and the connections of users."""

    PREFIX: ClassVar = ""

    message_length: Count = 4000
    """Largest number of characters of a message."""
    rooms_per_user: Count = 100
    """Largest number of rooms that a user may create."""
    members_per_room: Count = 1000
    """Largest number of members of a private room."""
    connections_per_user: Count = 20
    """Largest number of connections of a user at once."""
    rooms_per_connection: Count = 100
    """Largest number of rooms that a connection may be in at once."""
    connection_lease: Interval = timedelta(seconds=15)
    """Time after which the connections of a killed process are no longer counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """An S3-compatible store."""

    PREFIX: ClassVar = "S3_"

    url: HttpUrl | None = None
    """S3-compatible store, for files."""
    public_url: HttpUrl | None = None
    """Address of the store for browsers: an origin without a path, and not that of the API. Default: PORTICO_S3_URL."""
    region: Word = "us-east-1"
    """Region for which requests are signed."""
    bucket: BucketName = "portico"
    """Name of the bucket."""
    access_key: Secret = field(default="", repr=False)
    """Id of the S3 access key."""
    secret_key: Secret = field(default="", repr=False)
    """Secret of the S3 access key."""
    timeout: Timeout = timedelta(seconds=1.5)
    """Time limit for connecting and for each response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesSettings:
    """What users may upload, and for how long."""

    PREFIX: ClassVar = "FILES_"

    types: MediaTypes = (
        *("image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"),
        *("application/pdf", "text/plain", "text/csv", "application/json", "application/zip"),
        *("audio/mpeg", "audio/ogg", "audio/wav", "video/mp4", "video/webm"),
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    )
    """Media types that may be uploaded. The content is compared with them where the type has a signature."""
    max_size: Size = 1024 * 1024 * 1024
    """Largest file."""
    quota: Size = 10 * 1024 * 1024 * 1024
    """Size of all files of a user together, those included that are just being uploaded."""
    most: Count = 10_000
    """Largest number of files of a user."""
    most_pending: Count = 20
    """Largest number of uploads of a user that are not complete."""
    url_lifetime: UrlLifetime = timedelta(minutes=15)
    """Lifetime of the URLs that upload a file or a part of it."""
    download_lifetime: UrlLifetime = timedelta(minutes=5)
    """Lifetime of the URLs that download a file."""
    upload_lifetime: Lifetime = timedelta(hours=24)
    """Time since the last URL was signed after which an upload is given up, at the latest 7 days after its start."""
    delete_orphans: bool = False
    """Whether the daily comparison deletes objects that belong to no file, instead of only reporting them."""

    @property
    def user_quota(self) -> Quota:
        """What a user may reserve."""
        return Quota(size=self.quota, files=self.most, pending=self.most_pending)


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
    made_at: datetime | None = field(default=None, compare=False)
    """When the file with the active key was written; None if it is from no file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """Three purposes, three rings; a key of one is never in another. And a secret that signs and decrypts nothing."""

    access: KeyRing = KeyRing()
    refresh: KeyRing = KeyRing()
    transport: KeyRing = KeyRing()
    names: str | None = field(default=None, repr=False)
    """The secret that hashes the names and devices of log-in attempts."""
    generate_in: Path | None = None
    """Where missing keys are made, once; only debug environments have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """Tokens, their lifetimes, and what a refresh tolerates."""

    PREFIX: ClassVar = ""

    issuer: HttpUrl = "https://portico.local"
    """`iss` of all tokens: the address of this service."""
    audience: Word = "portico"
    """`aud` of access tokens."""
    client_id: Word = "portico"
    """`client_id` of access tokens (RFC 9068)."""
    access_lifetime: Lifetime = timedelta(minutes=10)
    """Lifetime of an access token."""
    refresh_idle: Lifetime = timedelta(days=7)
    """Time after which a session ends if it is not refreshed."""
    refresh_absolute: Lifetime = timedelta(days=30)
    """Time after which a session ends in any case."""
    refresh_grace: AtMostAMinute = timedelta(seconds=10)
    """Time after a rotation in which the previous refresh token still returns the same successor."""
    token_leeway: AtMostAMinute = timedelta(seconds=30)
    """Largest accepted difference between the clocks of two hosts, including the Redis server."""
    sessions_per_user: Count = 20
    """Largest number of sessions of a user. A new session beyond it ends the oldest one."""
    agent_binding: AgentBinding = AgentBinding.FAMILY
    """What a refresh must share with the log-in: the browser family, or exactly the same User-Agent."""
    require_fresh_ciphertext: bool | None = None
    """Whether an encrypted password must contain its time of encryption. Default: on in STAGING and PRODUCTION."""
    ciphertext_window: Lifetime = timedelta(seconds=120)
    """Largest accepted age of an encrypted password, and error of a client's clock."""
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

    argon2_memory_kib: Memory = LEAST_ARGON2_MEMORY_KIB
    """Memory of one password hash, in KiB. STAGING and PRODUCTION require 19456 or more (OWASP)."""
    argon2_time_cost: Count = LEAST_ARGON2_TIME
    """Passes of one password hash. STAGING and PRODUCTION require 2 or more (OWASP)."""
    argon2_parallelism: Lanes = 1
    """Parallel lanes of one password hash."""
    hashing_workers: Count | None = None
    """Number of threads that hash passwords. Default: one per core."""
    hashing_queue: Count = 256
    """Number of hashes that may wait. Further requests are answered 503."""
    password_min_length: ShortestPassword = _POLICY.shortest
    """Smallest number of characters of a new password."""
    password_max_length: LongestPassword = _POLICY.longest
    """Largest number of characters of a new password."""

    @property
    def policy(self) -> PasswordPolicy:
        """The rules of a new password."""
        return PasswordPolicy(shortest=self.password_min_length, longest=self.password_max_length)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleSettings:
    """How often things may be tried."""

    PREFIX: ClassVar = "THROTTLE_"

    account: Attempts = Limit(10, 300)
    """Log-in attempts per account, existing or not."""
    address: Attempts = Limit(30, 300)
    """Log-in attempts per address (IPv6: per /64, and ten times as many per /48), or per known device."""
    global_: Attempts = Limit(1000, 300)
    """Log-in attempts in total, not counting those from known devices."""
    refresh: Attempts = Limit(60, 60)
    """Refreshes per session."""
    public: Attempts = Limit(120, 60)
    """Public key requests and registrations per address (IPv6: per /64, and ten times as many per /48)."""
    lock_after: Count = 5
    """Number of consecutive failures after which an account is locked for some time."""
    first_lock: Lifetime = timedelta(seconds=30)
    """Duration of the first lock. Each further failure doubles it."""
    longest_lock: Lifetime = timedelta(hours=1)
    """Longest duration of a lock."""
    known_device: Lifetime = timedelta(days=90)
    """Time for which a device that logged in keeps its own limit and lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAdministrator:
    """Whom `create-admin` makes. Without a password a one-time one is made and, in debug environments, printed."""

    PREFIX: ClassVar = "ADMIN_"

    username: Username = "admin"
    """Username of the first administrator, whom `portico create-admin` and `portico run` create."""
    email: Email = "admin@portico.local"
    """Email address of the first administrator."""
    name: Text = "Administrator"
    """Name of the first administrator."""
    password: Secret | None = field(default=None, repr=False)
    """Password of the first administrator. Remove it afterwards. Without it, LOCAL and TESTING print a one-time one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be configured.

    A section has a `PREFIX`, and each of its fields is a variable: `PORTICO_`, the prefix, the field. Its type, its
    default and its docstring are all there is to know of it; the adapter that reads it and the documentation follow.
    """

    PREFIX: ClassVar = ""

    environment: Environment = Environment.PRODUCTION
    """Where this runs. STAGING and PRODUCTION refuse unsafe settings. LOCAL and TESTING serve the docs pages."""
    stores: Stores = Stores.SERVERS
    """Where data is kept. `memory` is for demos: it needs no server, and everything is lost when the process ends."""
    data_dir: Path = Path(".portico")
    """Directory in which `portico run` keeps the data of its servers, and LOCAL the generated keys."""
    log_level: LogLevel = "INFO"
    """Least severe level that is logged."""
    http: HttpSettings = HttpSettings()
    metrics: MetricsSettings = MetricsSettings()
    traces: TracesSettings = TracesSettings()
    postgres: PostgresSettings = PostgresSettings()
    redis: RedisSettings = RedisSettings()
    mongo: MongoSettings = MongoSettings()
    audit_log: AuditLogSettings = AuditLogSettings()
    s3: S3Settings = S3Settings()
    files: FilesSettings = FilesSettings()
    jobs: JobSettings = JobSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    keys: KeySettings = KeySettings()
    sessions: SessionSettings = SessionSettings()
    passwords: PasswordSettings = PasswordSettings()
    throttle: ThrottleSettings = ThrottleSettings()
    registration: Registration = Registration.CLOSED
    """Whether people can register themselves."""
    first_administrator: FirstAdministrator = FirstAdministrator()

    @property
    def broker_url(self) -> str | None:
        """The address of the broker; None if there is none."""
        return self.jobs.broker_url or self.redis.url

    @property
    def result_url(self) -> str | None:
        """The address of the store of results; None if there is none."""
        return self.jobs.result_url or self.redis.url
