"""The check for unsafe or contradictory settings; `adapters.environment` checks single variables."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from application.settings import (
    LEAST_ARGON2_MEMORY_KIB,
    LEAST_ARGON2_TIME,
    Environment,
    Settings,
    Stores,
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


def problems_of(settings: Settings) -> tuple[Problem, ...]:
    """Return every choice that must not be run with, in the order of the fields."""
    problems = [*_problems_anywhere(settings)]
    if settings.environment.deployed:
        problems += _problems_when_deployed(settings)
    return tuple(problems)


def _problems_anywhere(settings: Settings) -> Iterator[Problem]:
    if settings.http.cors.credentials and "*" in settings.http.cors.origins:
        yield Problem(
            "PORTICO_CORS_ORIGINS",
            "must name origins: `*` together with credentials lets every site act for its visitors",
        )
    if settings.stores is Stores.SERVERS:
        for variable, url in (
            ("PORTICO_POSTGRES_URL", settings.postgres.url),
            ("PORTICO_REDIS_URL", settings.redis.url),
            ("PORTICO_MONGO_URL", settings.mongo.url),
            ("PORTICO_S3_URL", settings.s3.url),
        ):
            if url is None:
                yield Problem(
                    variable, "must be set (`portico run` starts servers of its own instead)"
                )

    if settings.stores is Stores.MEMORY and settings.http.workers > 1:
        yield Problem(
            "PORTICO_HTTP_WORKERS",
            "must be 1 with PORTICO_STORES=memory: processes do not share their memory",
        )
    yield from _contradictions(settings)


def _contradictions(settings: Settings) -> Iterator[Problem]:
    yield from _contradictions_of_redis(settings)
    if bool(settings.s3.access_key) != bool(settings.s3.secret_key):
        yield Problem("PORTICO_S3_ACCESS_KEY, PORTICO_S3_SECRET_KEY", "must be set together")
    if settings.s3.public_url and urlsplit(settings.s3.public_url).path not in {"", "/"}:
        yield Problem(
            "PORTICO_S3_PUBLIC_URL", "must be an origin without a path: a path breaks signatures"
        )
    lifetimes = settings.sessions
    if not lifetimes.access_lifetime <= lifetimes.refresh_idle <= lifetimes.refresh_absolute:
        yield Problem(
            "PORTICO_REFRESH_IDLE",
            "must lie between PORTICO_ACCESS_LIFETIME and PORTICO_REFRESH_ABSOLUTE",
        )
    if settings.passwords.password_max_length < settings.passwords.password_min_length:
        yield Problem("PORTICO_PASSWORD_MAX_LENGTH", "must be at least PORTICO_PASSWORD_MIN_LENGTH")
    if settings.throttle.longest_lock < settings.throttle.first_lock:
        yield Problem(
            "PORTICO_THROTTLE_LONGEST_LOCK", "must be at least PORTICO_THROTTLE_FIRST_LOCK"
        )


def _contradictions_of_redis(settings: Settings) -> Iterator[Problem]:
    address = urlsplit(settings.redis.url or "")
    _, _, several = address.scheme.partition("+")
    if several == "cluster" and address.path not in {"", "/", "/0"}:
        yield Problem("PORTICO_REDIS_URL", "must have no number but 0: that is all a cluster has")
    if several == "sentinel" and not re.fullmatch(r"/[^/]+(/\d*)?", address.path):
        yield Problem(
            "PORTICO_REDIS_URL",
            "must name the master that the Sentinels watch: redis+sentinel://host,host,host/name/0",
        )
    if several:
        where = "must be set where PORTICO_REDIS_URL names several servers"
        if settings.jobs.broker_url is None:
            yield Problem("PORTICO_BROKER_URL", f"{where}: messages take one Redis, or RabbitMQ")
        if settings.jobs.result_url is None:
            yield Problem("PORTICO_RESULT_URL", f"{where}: results take one Redis")


def _problems_when_deployed(settings: Settings) -> Iterator[Problem]:
    if settings.stores is Stores.MEMORY:
        yield Problem(
            "PORTICO_STORES",
            f"must be `servers` in {settings.environment}: memory forgets everything",
        )
    for variable, ring in (
        ("PORTICO_ACCESS_KEY", settings.keys.access),
        ("PORTICO_REFRESH_KEY", settings.keys.refresh),
        ("PORTICO_TRANSPORT_KEY", settings.keys.transport),
    ):
        if ring.active is None:
            yield missing_key(variable, settings.environment)
    if settings.keys.names is None:
        yield missing_name_key(settings.environment)
    if (
        settings.passwords.argon2_memory_kib < LEAST_ARGON2_MEMORY_KIB
        or settings.passwords.argon2_time_cost < LEAST_ARGON2_TIME
    ):
        yield Problem(
            "PORTICO_ARGON2_MEMORY_KIB, PORTICO_ARGON2_TIME_COST",
            f"must be at least {LEAST_ARGON2_MEMORY_KIB} and {LEAST_ARGON2_TIME} in {settings.environment} (OWASP)",
        )
    if not settings.sessions.issuer.startswith("https://") or settings.sessions.issuer.endswith(
        "portico.local"
    ):
        yield Problem(
            "PORTICO_ISSUER",
            f"must be the https:// address of this service in {settings.environment}",
        )
    if _origin(settings.s3.public_url) == _origin(settings.sessions.issuer):
        yield Problem(
            "PORTICO_S3_PUBLIC_URL",
            "must be another origin than PORTICO_ISSUER: an uploaded page would act for its readers",
        )


def _origin(url: str | None) -> tuple[str, str]:
    parts = urlsplit(url or "")
    return parts.scheme, parts.netloc
