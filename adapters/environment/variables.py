"""Every variable; `.env.example` and `docs/configuration.md` follow this list."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field
from pydantic.fields import FieldInfo

from adapters.environment.kinds import (
    AtMostAMinute,
    Attempts,
    BrokerUrl,
    Bytes,
    Count,
    HttpUrl,
    Interval,
    KeyDir,
    Kind,
    Lifetime,
    Modules,
    MongoUrl,
    NameKey,
    Networks,
    Origins,
    Pem,
    Pems,
    Port,
    PostgresUrl,
    RedisUrl,
    Retention,
    Secret,
    Switch,
    Timeout,
    Word,
)
from application.settings import (
    Environment,
    KeySettings,
    Registration,
    Settings,
    Stores,
    WorkerPool,
)
from domain.sessions import AgentBinding

PREFIX = "PORTICO_"

_DEFAULT = Settings()


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
    """Whether answers over TLS carry Strict-Transport-Security; set it once every address speaks TLS."""
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
    """PostgreSQL: users, roles, schedules. Default: DATABASE_URL, if that is an address of PostgreSQL."""
    postgres_direct_url: PostgresUrl | None = None
    """PostgreSQL without a pooler in transaction mode: beats, migrations. Default: PORTICO_POSTGRES_URL."""
    postgres_pool_size: Count = _DEFAULT.postgres.pool_size
    """Connections per process."""
    postgres_timeout: Timeout = _DEFAULT.postgres.timeout
    """For connecting, for waiting on the pool, and for each statement."""
    redis_url: RedisUrl | None = None
    """Redis or Valkey: sessions, throttles. Default: REDIS_URL, if that is an address of Redis."""
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
    audit_retention: Retention = _DEFAULT.documents.audit_retention
    """How long an entry stays in the audit log. To change it, the MongoDB user needs the role dbAdmin."""
    broker_url: BrokerUrl | None = None
    """Where messages for workers wait: Redis or RabbitMQ. Default: PORTICO_REDIS_URL, under keys of its own."""
    result_url: RedisUrl | None = None
    """Where results of tasks are. Default: PORTICO_REDIS_URL, under keys of its own."""
    task_modules: Modules = _DEFAULT.jobs.task_modules
    """Modules with tasks of your own, which workers and beats import."""
    worker_pool: Annotated[WorkerPool, Kind("prefork, threads or solo")] = _DEFAULT.jobs.pool
    """What a worker runs tasks in: processes, threads, or itself."""
    worker_concurrency: Count | None = _DEFAULT.jobs.concurrency
    """How many tasks a worker runs at once. Default: one per core."""
    beat_lease: Interval = _DEFAULT.jobs.lease
    """How long a beat leads without a sign of life; a standby beat takes over within this time."""
    beat_poll: Interval = _DEFAULT.jobs.poll
    """How often a beat looks for changes, in case that no notification came."""
    beat_reconcile: Interval = _DEFAULT.jobs.reconcile
    """How often a beat compares all that it knows with the database."""
    runs_retention: Retention = _DEFAULT.jobs.runs_retention
    """How long a run of a periodic task stays in its history."""
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

    keys_dir: KeyDir = KeySettings()
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
    name_key: NameKey | None = None
    """What the names and devices of log-in attempts are hashed under; another one forgets locks and known devices."""

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
    """How far the clocks of two hosts may be apart, that of Redis included."""
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
    """Log-in attempts per address (/64 for IPv6, and ten times as many per /48), or per known device."""
    throttle_global: Attempts = _DEFAULT.throttle.everyone
    """Log-in attempts in total, but for those on known devices."""
    throttle_refresh: Attempts = _DEFAULT.throttle.refresh
    """Refreshes per session."""
    throttle_public: Attempts = _DEFAULT.throttle.public
    """Requests for the public key, and registrations, per address (/64 for IPv6, and ten times as many per /48)."""
    throttle_lock_after: Count = _DEFAULT.throttle.failures_before_lock
    """Failures in a row that lock an account for a while."""
    throttle_first_lock: Lifetime = _DEFAULT.throttle.first_lock
    """How long the first lock lasts; each further failure doubles it."""
    throttle_longest_lock: Lifetime = _DEFAULT.throttle.longest_lock
    """How long a lock lasts at most."""
    throttle_known_device: Lifetime = _DEFAULT.throttle.known_device
    """How long a device that has logged in is known by its token, and has a bucket and a lock of its own."""

    registration: Annotated[Registration, Kind("open or closed")] = _DEFAULT.registration
    """Whether people may make their own accounts."""
    admin_username: Annotated[
        str,
        Field(pattern=r"^[^\s@]{2,100}$"),
        Kind("2 to 100 characters without white space or @"),
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
    """The first administrator's password; take it away once they are made. Without it LOCAL and TESTING print one."""

    def __repr_args__(self) -> tuple[()]:
        """Show nothing: there are secrets in it."""
        return ()


def variable_of(name: str) -> str:
    """Return what the attribute of `Variables` is called in the environment."""
    return "ENVIRONMENT" if name == "environment" else PREFIX + name.upper()


def kind_of(name: str) -> Kind:
    """Return what the attribute of `Variables` must be."""
    return next(m for m in _metadata(Variables.model_fields[name]) if isinstance(m, Kind))


def _metadata(field: FieldInfo) -> Iterator[object]:
    yield from field.metadata
    for choice in get_args(field.annotation):
        yield from getattr(choice, "__metadata__", ())


FALLBACKS = {"DATABASE_URL": ("postgres_url", "postgres"), "REDIS_URL": ("redis_url", "redis")}
"""What many platforms call an address, the attribute that it is for, and how one begins that is ours."""
NAMES = {variable_of(name): name for name in Variables.model_fields}
SECRET_FILES = {
    f"{variable}_FILE": name for variable, name in NAMES.items() if kind_of(name).secret
}
