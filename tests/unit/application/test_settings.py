"""Which settings are refused, and how."""

from dataclasses import replace
from datetime import timedelta

import pytest

from application.setting_problems import Problem, UnsafeSettings, problems_of
from application.settings import (
    CorsSettings,
    Environment,
    HttpSettings,
    JobSettings,
    KeyRing,
    KeySettings,
    Limit,
    MongoSettings,
    PasswordSettings,
    PostgresSettings,
    RedisSettings,
    S3Settings,
    SessionSettings,
    Settings,
    Stores,
    ThrottleSettings,
)

SAFE = Settings(
    postgres=PostgresSettings(url="postgresql://db/portico"),
    redis=RedisSettings(url="redis://cache"),
    mongo=MongoSettings(url="mongodb://documents"),
    s3=S3Settings(url="https://s3.example.org", access_key="id", secret_key="secret"),
    keys=KeySettings(
        access=KeyRing(active="pem"),
        refresh=KeyRing(active="pem"),
        transport=KeyRing(active="pem"),
        names="n" * 32,
    ),
    sessions=SessionSettings(issuer="https://id.example.org"),
)
LOCAL_DEMO = Settings(environment=Environment.LOCAL, stores=Stores.MEMORY)


def refused(settings: Settings) -> list[str]:
    """Return the variables that are refused."""
    return [problem.variable for problem in problems_of(settings)]


def test_the_environment_is_production_unless_something_else_is_said() -> None:
    assert Settings().environment is Environment.PRODUCTION


@pytest.mark.parametrize("environment", Environment)
def test_debug_and_deployed_are_opposites(environment: Environment) -> None:
    assert environment.debug is (environment in {Environment.LOCAL, Environment.TESTING})
    assert environment.deployed is not environment.debug


@pytest.mark.parametrize("environment", Environment)
def test_safe_settings_are_safe_everywhere(environment: Environment) -> None:
    assert refused(replace(SAFE, environment=environment)) == []


def test_a_demo_in_memory_needs_no_server_and_no_key() -> None:
    assert refused(LOCAL_DEMO) == []


def test_everything_that_is_wrong_is_said_at_once_in_production() -> None:
    assert refused(Settings()) == [
        "PORTICO_POSTGRES_URL",
        "PORTICO_REDIS_URL",
        "PORTICO_MONGO_URL",
        "PORTICO_S3_URL",
        "PORTICO_ACCESS_KEY",
        "PORTICO_REFRESH_KEY",
        "PORTICO_TRANSPORT_KEY",
        "PORTICO_NAME_KEY",
        "PORTICO_ISSUER",
    ]


@pytest.mark.parametrize(
    "url", ["redis+cluster://one,two,three", "rediss+sentinel://one:26379,two/portico/1"]
)
def test_several_servers_of_redis_need_a_broker_and_a_store_of_results_beside_them(
    url: str,
) -> None:
    settings = replace(SAFE, redis=RedisSettings(url=url))
    assert refused(settings) == ["PORTICO_BROKER_URL", "PORTICO_RESULT_URL"]

    jobs = JobSettings(broker_url="amqp://broker", result_url="redis://results")
    assert refused(replace(settings, jobs=jobs)) == []


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://one,two/1",
        "redis+sentinel://one,two",
        "redis+sentinel://one,two/",
        "redis+sentinel://one,two/portico/first",
    ],
)
def test_an_address_of_several_servers_says_what_they_need(url: str) -> None:
    jobs = JobSettings(broker_url="amqp://broker", result_url="redis://results")
    settings = replace(SAFE, redis=RedisSettings(url=url), jobs=jobs)
    assert refused(settings) == ["PORTICO_REDIS_URL"]


@pytest.mark.parametrize("environment", [Environment.STAGING, Environment.PRODUCTION])
@pytest.mark.parametrize(
    ("variable", "change"),
    [
        ("PORTICO_STORES", {"stores": Stores.MEMORY}),
        ("PORTICO_ACCESS_KEY", {"keys": replace(SAFE.keys, access=KeyRing())}),
        ("PORTICO_REFRESH_KEY", {"keys": replace(SAFE.keys, refresh=KeyRing())}),
        ("PORTICO_TRANSPORT_KEY", {"keys": replace(SAFE.keys, transport=KeyRing(next="pem"))}),
        ("PORTICO_NAME_KEY", {"keys": replace(SAFE.keys, names=None)}),
        ("PORTICO_ARGON2", {"passwords": PasswordSettings(argon2_memory_kib=19455)}),
        ("PORTICO_ARGON2", {"passwords": PasswordSettings(argon2_time_cost=1)}),
        ("PORTICO_ISSUER", {"sessions": SessionSettings(issuer="http://id.example.org")}),
        ("PORTICO_ISSUER", {"sessions": SessionSettings()}),
    ],
)
def test_settings_for_a_laptop_are_refused_when_deployed(
    environment: Environment, variable: str, change: dict[str, object]
) -> None:
    settings = replace(SAFE, environment=environment, **change)  # type: ignore[arg-type]

    (problem,) = problems_of(settings)
    assert problem.variable.startswith(variable)
    assert environment in problem.message
    assert refused(replace(settings, environment=Environment.LOCAL)) == []


@pytest.mark.parametrize(
    ("variable", "change"),
    [
        ("PORTICO_POSTGRES_URL", {"postgres": PostgresSettings()}),
        (
            "PORTICO_CORS_ORIGINS",
            {"http": HttpSettings(cors=CorsSettings(origins=("*",), credentials=True))},
        ),
        ("PORTICO_S3_ACCESS_KEY", {"s3": replace(SAFE.s3, secret_key="")}),
        (
            "PORTICO_REFRESH_IDLE",
            {"sessions": replace(SAFE.sessions, refresh_idle=timedelta(days=31))},
        ),
        (
            "PORTICO_REFRESH_IDLE",
            {"sessions": replace(SAFE.sessions, access_lifetime=timedelta(days=8))},
        ),
        (
            "PORTICO_PASSWORD_MAX_LENGTH",
            {"passwords": PasswordSettings(password_min_length=100, password_max_length=64)},
        ),
        (
            "PORTICO_THROTTLE_LONGEST_LOCK",
            {"throttle": ThrottleSettings(longest_lock=timedelta(seconds=1))},
        ),
    ],
)
def test_settings_that_cannot_work_are_refused_everywhere(
    variable: str, change: dict[str, object]
) -> None:
    for environment in Environment:
        settings = replace(SAFE, environment=environment, **change)  # type: ignore[arg-type]
        assert [name.startswith(variable) for name in refused(settings)] == [True]


def test_memory_cannot_be_shared_by_two_processes() -> None:
    assert refused(replace(LOCAL_DEMO, http=HttpSettings(workers=2))) == ["PORTICO_HTTP_WORKERS"]


def test_sites_may_be_named_together_with_credentials() -> None:
    http = HttpSettings(cors=CorsSettings(origins=("https://app.example.org",), credentials=True))
    assert refused(replace(SAFE, http=http)) == []


def test_a_limit_gives_its_attempts_back_evenly() -> None:
    assert Limit(10, 300).interval == timedelta(seconds=30)


def test_the_audience_of_refresh_tokens_is_one_that_no_other_service_has() -> None:
    assert SAFE.sessions.refresh_audience == "https://id.example.org/refresh"
    assert SAFE.sessions.refresh_audience != SAFE.sessions.audience


def test_the_error_is_one_line_per_problem() -> None:
    error = UnsafeSettings((Problem("PORTICO_A", "must be a"), Problem("PORTICO_B", "must be b")))
    assert str(error) == "PORTICO_A must be a\nPORTICO_B must be b"


def test_nothing_that_shows_settings_shows_a_secret() -> None:
    shown = repr(SAFE)
    for secret in ("pem", "'secret'", "postgresql://", "redis://", "mongodb://"):
        assert secret not in shown


def test_the_store_of_files_has_another_origin_than_the_api() -> None:
    """An uploaded page would act for its readers there."""
    for url, is_refused in (
        ("https://id.example.org", True),
        ("https://id.example.org/", True),
        ("https://files.example.org", False),
        ("https://id.example.org:9000", False),
    ):
        settings = replace(SAFE, s3=replace(SAFE.s3, public_url=url))

        assert refused(settings) == ["PORTICO_S3_PUBLIC_URL"] * is_refused


def test_the_public_address_of_the_store_has_no_path() -> None:
    settings = replace(SAFE, s3=replace(SAFE.s3, public_url="https://files.example.org/store"))

    assert refused(settings) == ["PORTICO_S3_PUBLIC_URL"]
