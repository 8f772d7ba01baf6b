"""How variables, `.env` files and secret files become settings, and that the documentation of them is true.

`python -m tests.unit.adapters.test_environment` writes the documentation anew.
"""

import ast
import inspect
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ByteSize

from adapters.environment.load import load_settings
from adapters.environment.readable_secrets import readable_secrets
from adapters.environment.variables import FALLBACKS, VARIABLES, KeyVariables, Variable, variable_of
from application.setting_problems import UnsafeSettings, problems_of
from application.settings import (
    CorsSettings,
    Environment,
    HttpSettings,
    KeySettings,
    Limit,
    PasswordSettings,
    RetiredKey,
    S3Settings,
    SessionSettings,
    Settings,
    Stores,
    ThrottleSettings,
)
from domain.sessions import AgentBinding
from tests.support.keys import a_pem

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / ".env.example"
TABLE = ROOT / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Work in an empty directory, without the variables of the developer who runs the tests."""
    for name in [*os.environ]:  # noqa: TID251 - only to forget it
        if name.upper().startswith("PORTICO_") or name.upper() in {"ENVIRONMENT", *FALLBACKS}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(**overrides: object) -> dict[str, str]:
    """Return what is wrong, by variable."""
    with pytest.raises(UnsafeSettings) as refused:
        load_settings(**overrides)
    return {problem.variable: problem.message for problem in refused.value.problems}


# --- where values come from ---------------------------------------------------------------------


def test_without_any_variable_the_settings_are_the_defaults_of_production() -> None:
    defaults = Settings()
    assert load_settings() == replace(
        defaults,
        http=replace(defaults.http, drain=timedelta(seconds=5)),
        sessions=replace(defaults.sessions, require_fresh_ciphertext=True),
    )


def test_the_process_environment_beats_the_file_of_the_environment_beats_the_general_file(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "STAGING")
    (here / ".env").write_text("PORTICO_HTTP_PORT=1\nPORTICO_HTTP_WORKERS=1\nPORTICO_AUDIENCE=a\n")
    (here / ".env.staging").write_text("PORTICO_HTTP_PORT=2\nPORTICO_HTTP_WORKERS=2\n")
    (here / ".env.local").write_text("PORTICO_HTTP_PORT=9\n")
    monkeypatch.setenv("PORTICO_HTTP_PORT", "3")

    settings = load_settings()

    assert settings.environment is Environment.STAGING
    assert (settings.http.port, settings.http.workers) == (3, 2)
    assert settings.sessions.audience == "a"
    assert load_settings(http_port=4).http.port == 4


def test_the_general_file_may_name_the_environment(here: Path) -> None:
    (here / ".env").write_text("ENVIRONMENT=local\n")
    (here / ".env.local").write_text("PORTICO_HTTP_PORT=2\n")

    settings = load_settings()

    assert (settings.environment, settings.http.port) == (Environment.LOCAL, 2)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTICO_POSTGRES_URL", "")
    monkeypatch.setenv("PORTICO_HTTP_PORT", "")

    assert load_settings() == load_settings(http_port=8000)


def test_a_secret_may_be_in_a_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "password").write_text("correct horse\n")
    monkeypatch.setenv("PORTICO_ADMIN_PASSWORD_FILE", str(here / "password"))

    assert load_settings().first_administrator.password == "correct horse"


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        ("horse", "horse"),
        ("horse\r\n", "horse"),
        ("horse\n\n", "horse\n"),
        (" horse \n", " horse "),
    ],
)
def test_one_end_of_line_at_the_end_of_a_secret_file_is_not_part_of_the_secret(
    content: str, secret: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "password").write_bytes(content.encode())
    monkeypatch.setenv("PORTICO_ADMIN_PASSWORD_FILE", str(here / "password"))

    assert load_settings().first_administrator.password == secret


def test_files_of_secrets_that_every_user_of_the_host_can_read_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither what only others could read who cannot enter its directory, nor what is mounted into a container."""
    everybodys = Path("/etc/passwd")
    monkeypatch.setenv("PORTICO_ADMIN_PASSWORD_FILE", str(everybodys))
    monkeypatch.setenv("PORTICO_TRANSPORT_KEY", str(everybodys))
    monkeypatch.setenv("PORTICO_KEYS_DIR", str(everybodys.parent))

    found = readable_secrets()

    assert {problem.variable for problem in found} == {
        *("PORTICO_ADMIN_PASSWORD_FILE", "PORTICO_TRANSPORT_KEY", "PORTICO_KEYS_DIR")
    }
    assert str(found[0]).endswith(f"names {everybodys}, which every user of this host can read")


def test_files_of_secrets_that_others_cannot_reach_are_not_found(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "closed").mkdir(mode=0o700)
    (here / "closed" / "password").write_text("horse")
    (here / "closed" / "password").chmod(0o444)
    (here / "key").write_text("horse")
    (here / "key").chmod(0o600)
    monkeypatch.setenv("PORTICO_ADMIN_PASSWORD_FILE", str(here / "closed" / "password"))
    monkeypatch.setenv("PORTICO_S3_SECRET_KEY_FILE", str(here / "key"))
    monkeypatch.setenv("PORTICO_REDIS_URL_FILE", "/run/secrets/redis_url")
    monkeypatch.setenv("PORTICO_S3_ACCESS_KEY", "/not/a/path")

    assert readable_secrets() == ()


def test_a_secret_of_the_process_beats_the_secret_file_of_a_file(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / ".env").write_text(f"PORTICO_S3_SECRET_KEY_FILE={here / 'missing'}\n")
    monkeypatch.setenv("PORTICO_S3_SECRET_KEY", "given")

    assert load_settings().s3.secret_key == "given"


def test_a_key_is_pem_text_or_a_line_of_it_or_a_file_with_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access, refresh, transport = a_pem("access"), a_pem("refresh"), a_pem("transport")
    (here / "key.pem").write_text(transport)
    (here / "secret").write_text(access)
    monkeypatch.setenv("PORTICO_ACCESS_KEY_FILE", str(here / "secret"))
    monkeypatch.setenv("PORTICO_REFRESH_KEY", refresh.replace("\n", "\\n"))
    monkeypatch.setenv("PORTICO_TRANSPORT_KEY", str(here / "key.pem"))

    keys = load_settings().keys

    assert keys.access.active is not None
    assert keys.access.active.strip() == access.strip()
    assert (keys.refresh.active, keys.transport.active) == (refresh, transport)


def test_a_key_in_a_dotenv_file_may_span_lines(here: Path) -> None:
    (here / ".env").write_text(f'PORTICO_ACCESS_KEY="{a_pem("access")}"\n')

    assert load_settings().keys.access.active == a_pem("access")


def test_retired_keys_follow_one_another() -> None:
    first, second = a_pem("access"), a_pem("refresh")

    retired = load_settings(access_key_retired=first + second).keys.access.retired

    assert retired == (RetiredKey(pem=first.strip()), RetiredKey(pem=second.strip()))


def test_a_directory_of_keys_is_read_and_a_variable_replaces_a_key_in_it(here: Path) -> None:
    (here / "access.active.pem").write_text(a_pem("access"))
    (here / "refresh.active.pem").write_text(a_pem("refresh"))

    keys = load_settings(keys_dir=str(here), refresh_key=a_pem("other")).keys

    assert (keys.access.active, keys.refresh.active) == (a_pem("access"), a_pem("other"))
    assert keys.transport.active is None


def test_the_secret_for_names_comes_from_the_directory_or_a_variable(here: Path) -> None:
    (here / "names.key").write_text("n" * 43 + "\n")
    (here / "secret").write_text("m" * 43 + "\n")

    assert load_settings(keys_dir=str(here)).keys.names == "n" * 43
    assert load_settings(keys_dir=str(here), name_key="o" * 32).keys.names == "o" * 32
    for unfit in ("changeme", "s" * 31, a_pem("refresh")):
        with pytest.raises(UnsafeSettings, match="PORTICO_NAME_KEY") as refusal:
            load_settings(name_key=unfit)
        assert unfit not in str(refusal.value)


@pytest.mark.parametrize("environment", Environment)
def test_keys_are_made_in_debug_environments_alone(environment: Environment) -> None:
    generate_in = load_settings(environment=environment, data_dir="data").keys.generate_in

    assert generate_in == (Path("data/keys") if environment.debug else None)


@pytest.mark.parametrize("environment", Environment)
def test_encrypted_passwords_must_be_fresh_where_the_service_is_deployed(
    environment: Environment,
) -> None:
    sessions = load_settings(environment=environment).sessions
    assert sessions.require_fresh_ciphertext is environment.deployed

    sessions = load_settings(environment=environment, require_fresh_ciphertext="on").sessions
    assert sessions.require_fresh_ciphertext


@pytest.mark.parametrize("environment", Environment)
def test_an_api_drains_where_the_service_is_deployed(environment: Environment) -> None:
    drain = load_settings(environment=environment).http.drain
    assert drain == timedelta(seconds=5 if environment.deployed else 0)

    assert load_settings(environment=environment, http_drain="1s").http.drain == timedelta(
        seconds=1
    )


@pytest.mark.parametrize(
    ("headers", "is_taken"),
    [
        ("authorization=Bearer%20abc", True),
        ("a=b,x-c=d==", True),
        ("only-a-name", False),
        ("a=b,", False),
        ("a=b%0d%0ac: d", False),
        ("a=100%", False),
        ("a=é", False),
    ],
)
def test_headers_of_traces_are_a_secret_that_is_checked_before_it_is_used(
    here: Path, monkeypatch: pytest.MonkeyPatch, headers: str, *, is_taken: bool
) -> None:
    (here / "headers").write_text(f"{headers}\n")
    monkeypatch.setenv("ENVIRONMENT", "testing")
    monkeypatch.setenv("PORTICO_STORES", "memory")
    monkeypatch.setenv("PORTICO_TRACES_HEADERS_FILE", str(here / "headers"))
    if is_taken:
        settings = load_settings()
        assert settings.traces.headers == headers
        assert headers not in repr(settings)
        return

    with pytest.raises(UnsafeSettings, match="PORTICO_TRACES_HEADERS") as refused:
        load_settings()
    assert headers not in str(refused.value)


# --- what values mean ---------------------------------------------------------------------------


def test_every_variable_reaches_the_setting_it_is_named_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in {
        "ENVIRONMENT": "testing",
        "PORTICO_STORES": "memory",
        "PORTICO_LOG_LEVEL": "debug",
        "PORTICO_HTTP_HOST": "::",
        "PORTICO_HTTP_TRUSTED_PROXIES": "10.0.0.0/8, ::1",
        "PORTICO_HTTP_HSTS": "yes",
        "PORTICO_HTTP_BODY_LIMIT": "2MiB",
        "PORTICO_HTTP_STOP_TIMEOUT": "1.5s",
        "PORTICO_CORS_ORIGINS": "https://a.example.org,http://localhost:5173",
        "PORTICO_POSTGRES_URL": "postgresql://user@/db?host=/run/postgres",
        "PORTICO_REDIS_URL": "rediss://:p%40ss@[::1]:6380/1",
        "PORTICO_MONGO_URL": "mongodb://u:p@one:27017,two:27018/?replicaSet=rs",
        "PORTICO_S3_URL": "http://127.0.0.1:8333",
        "PORTICO_ISSUER": "https://id.example.org/",
        "PORTICO_ACCESS_LIFETIME": "5m",
        "PORTICO_REFRESH_IDLE": "12h",
        "PORTICO_REFRESH_ABSOLUTE": "7d",
        "PORTICO_REFRESH_GRACE": "0",
        "PORTICO_AGENT_BINDING": "strict",
        "PORTICO_PASSWORD_MIN_LENGTH": "8",
        "PORTICO_THROTTLE_GLOBAL": "5000/60",
        "PORTICO_THROTTLE_LOCK_AFTER": "3",
    }.items():
        monkeypatch.setenv(name, text)

    settings = load_settings()

    assert (settings.environment, settings.stores) == (Environment.TESTING, Stores.MEMORY)
    assert settings.log_level == "DEBUG"
    assert settings.http.host == "::"
    assert settings.http.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert settings.http.hsts
    assert settings.http.body_limit == 2 * 1024 * 1024
    assert settings.http.stop_timeout == timedelta(seconds=1.5)
    assert settings.http.cors.origins == ("https://a.example.org", "http://localhost:5173")
    assert settings.postgres.url == "postgresql://user@/db?host=/run/postgres"
    assert settings.redis.url == "rediss://:p%40ss@[::1]:6380/1"
    assert settings.mongo.url == "mongodb://u:p@one:27017,two:27018/?replicaSet=rs"
    assert settings.s3.url == "http://127.0.0.1:8333"
    assert settings.sessions.issuer == "https://id.example.org"
    assert settings.sessions.access_lifetime == timedelta(minutes=5)
    assert settings.sessions.refresh_idle == timedelta(hours=12)
    assert settings.sessions.refresh_absolute == timedelta(days=7)
    assert settings.sessions.refresh_grace == timedelta(0)
    assert settings.sessions.agent_binding is AgentBinding.STRICT
    assert settings.passwords.policy.shortest == 8
    assert settings.throttle.global_ == Limit(5000, 60)
    assert settings.throttle.lock_after == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("environment", "DEV"),
        ("stores", "disk"),
        ("log_level", "LOUD"),
        ("http_host", "a b"),
        ("http_port", "eighty"),
        ("http_port", "65536"),
        ("http_workers", "0"),
        ("http_trusted_proxies", "10.0.0.1/8"),
        ("http_trusted_proxies", "proxy.example.org"),
        ("http_hsts", "perhaps"),
        ("http_body_limit", "much"),
        ("http_stop_timeout", "soon"),
        ("http_stop_timeout", "-1"),
        ("cors_origins", "app.example.org"),
        ("cors_origins", "https://app.example.org/path"),
        ("postgres_url", "mysql://db/portico"),
        ("postgres_url", "postgresql:///portico"),
        ("postgres_url", "postgresql://db:port/portico"),
        ("redis_url", "redis:///0"),
        ("redis_url", "http://[::1"),
        ("redis_url", "redis+sentry://one,two"),
        ("broker_url", "redis+cluster://one,two"),
        ("result_url", "redis+sentinel://one,two/portico"),
        ("mongo_url", "documents:27017"),
        ("mongo_database", "a/b"),
        ("s3_url", "s3.example.org"),
        ("s3_bucket", "Bucket_"),
        ("keys_dir", "nowhere"),
        ("access_key", "changeme"),
        ("access_key_retired", "nowhere.pem"),
        ("issuer", "portico"),
        ("access_lifetime", "0"),
        ("refresh_absolute", "10y"),
        ("refresh_grace", "61"),
        ("agent_binding", "loose"),
        ("require_fresh_ciphertext", "2"),
        ("argon2_memory_kib", "1"),
        ("argon2_parallelism", "65"),
        ("password_min_length", "7"),
        ("password_max_length", "63"),
        ("throttle_account", "10"),
        ("throttle_account", "0/300"),
        ("throttle_account", "10/0"),
        ("throttle_account", "-1/300"),
        ("registration", "sometimes"),
        ("admin_username", "r"),
        ("admin_email", "nobody"),
        ("admin_name", "A"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be_and_never_shown(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable_of(name), text)

    variable = VARIABLES[variable_of(name)]
    assert problems() == {variable.name: f"must be {variable.kind.expects}"}


def test_all_that_is_wrong_is_said_at_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / ".env").write_text("PORTICO_HTP_PORT=80\nPORTICO_HTTP_WORKERS=many\n")
    monkeypatch.setenv("PORTICO_REDIS_URL", "http://:hunter2@cache")
    monkeypatch.setenv("PORTICO_ADMIN_PASSWORD_FILE", str(here / "missing"))

    with pytest.raises(UnsafeSettings) as refused:
        load_settings(http_port="eighty")

    assert {problem.variable for problem in refused.value.problems} == {
        "PORTICO_HTP_PORT",
        "PORTICO_HTTP_WORKERS",
        "PORTICO_REDIS_URL",
        "PORTICO_ADMIN_PASSWORD_FILE",
        "PORTICO_HTTP_PORT",
    }
    assert "hunter2" not in str(refused.value)
    assert "eighty" not in str(refused.value)


def test_a_misspelt_variable_is_found_and_the_right_one_suggested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORTICO_POSTGRESS_URL", "postgresql://db")
    monkeypatch.setenv("PORTICO_XYZZY", "1")

    assert problems() == {
        "PORTICO_POSTGRESS_URL": "is not known; is PORTICO_POSTGRES_URL meant?",
    }


def test_variables_that_kubernetes_makes_up_are_no_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in {
        "PORTICO_SERVICE_HOST": "10.0.0.1",
        "PORTICO_SERVICE_PORT": "8000",
        "PORTICO_SERVICE_PORT_WEB": "8000",
        "PORTICO_PORT": "tcp://10.0.0.1:8000",
        "PORTICO_API_PORT_8000_TCP_ADDR": "10.0.0.1",
        "PORTICO_API_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    }.items():
        monkeypatch.setenv(name, text)

    assert load_settings() == load_settings(http_port=8000)


def test_variables_of_the_test_run_are_not_for_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORTICO_TEST_POSTGRES_URL", "postgresql://db")

    assert load_settings().postgres.url is None


def test_a_secret_is_given_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "url").write_text("redis://one")
    monkeypatch.setenv("PORTICO_REDIS_URL", "redis://two")
    monkeypatch.setenv("PORTICO_REDIS_URL_FILE", str(here / "url"))

    assert problems() == {
        "PORTICO_REDIS_URL_FILE": "must not be set together with PORTICO_REDIS_URL"
    }


def test_only_secrets_are_read_from_files_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTICO_HTTP_PORT_FILE", "/dev/null")

    assert "is not known" in problems()["PORTICO_HTTP_PORT_FILE"]


def test_a_dotenv_file_that_is_no_text_is_named(here: Path) -> None:
    (here / ".env").write_bytes(b"PORTICO_HTTP_HOST=\xff\xfe")

    assert problems() == {".env": "must be a readable file of UTF-8 text"}


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg"]
)
def test_an_address_of_postgres_may_name_a_driver(scheme: str) -> None:
    """As SQLAlchemy's do, and Heroku's, which leave letters out: it is the same address."""
    settings = load_settings(postgres_url=f"{scheme}://ada:p%40ss@db:5432/portico")

    assert settings.postgres.url == "postgresql://ada:p%40ss@db:5432/portico"


def test_the_variables_of_platforms_count_if_ours_are_not_set(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several the process environment, then `.env.<environment>`, then `.env`; ours win wherever they are."""
    (here / ".env").write_text("DATABASE_URL=postgres://general/a\nREDIS_URL=redis://general\n")
    assert load_settings().postgres.url == "postgresql://general/a"
    assert load_settings().redis.url == "redis://general"

    (here / ".env.local").write_text("DATABASE_URL=postgres://special/a\n")
    assert load_settings(environment="LOCAL").postgres.url == "postgresql://special/a"

    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://process/a")
    assert load_settings(environment="LOCAL").postgres.url == "postgresql://process/a"

    (here / ".env").write_text("PORTICO_POSTGRES_URL=postgresql://ours/a\n")
    assert load_settings(environment="LOCAL").postgres.url == "postgresql://ours/a"

    (here / "secret").write_text("postgresql://secret/a")
    (here / ".env").write_text(f"PORTICO_POSTGRES_URL_FILE={here / 'secret'}\n")
    assert load_settings(environment="LOCAL").postgres.url == "postgresql://secret/a"
    assert load_settings(postgres_url="postgres://given/a").postgres.url == "postgresql://given/a"


def test_the_address_of_another_kind_of_database_is_not_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It belongs to a neighbour; that none is set is reported where one is needed."""
    monkeypatch.setenv("DATABASE_URL", "mysql://db/shop")
    monkeypatch.setenv("REDIS_URL", "memcached://cache")

    assert load_settings().postgres.url is None
    assert load_settings().redis.url is None


def test_an_override_may_have_the_type_of_its_setting(here: Path) -> None:
    settings = load_settings(
        environment=Environment.LOCAL,
        data_dir=here,
        keys_dir=KeySettings(),
        cors_origins=("https://app.example.org",),
        throttle_account=Limit(1, 2),
        refresh_grace=timedelta(seconds=3),
        postgres_url=None,
    )

    assert settings.data_dir == here
    assert settings.http.cors.origins == ("https://app.example.org",)
    assert settings.throttle.account == Limit(1, 2)
    assert settings.sessions.refresh_grace == timedelta(seconds=3)


def test_a_file_that_holds_no_key_is_no_key(here: Path) -> None:
    (here / "key.pem").write_text("changeme")

    assert problems(access_key=str(here / "key.pem")).keys() == {"PORTICO_ACCESS_KEY"}


def test_an_override_that_names_nothing_is_refused() -> None:
    with pytest.raises(TypeError, match="htp_port"):
        load_settings(htp_port=80)


def test_nothing_that_shows_the_variables_shows_a_secret() -> None:
    settings = load_settings(admin_password="hunter2", s3_secret_key="hunter2", s3_access_key="a")
    for shown in (settings, KeyVariables(access_key="hunter2", name_key="hunter2")):
        assert "hunter2" not in repr(shown)
        assert "hunter2" not in str(shown)


# --- the documentation --------------------------------------------------------------------------

_SECTIONS = {
    "ENVIRONMENT": "The process",
    "PORTICO_HTTP_HOST": "HTTP",
    "PORTICO_POSTGRES_URL": "Servers",
    "PORTICO_FILES_TYPES": "Files",
    "PORTICO_BROKER_URL": "Jobs",
    "PORTICO_MESSAGE_LENGTH": "Real time",
    "PORTICO_ISSUER": "Sessions",
    "PORTICO_ARGON2_MEMORY_KIB": "Passwords",
    "PORTICO_THROTTLE_ACCOUNT": "Throttling",
    "PORTICO_REGISTRATION": "Accounts",
    "PORTICO_KEYS_DIR": "Keys",
}
"""The headings, and the first variable below each."""


def test_the_example_lists_every_variable_with_its_default() -> None:
    assert EXAMPLE.read_text() == example(), f"run: python -m {__spec__.name}"


def test_the_table_lists_every_variable_with_its_default() -> None:
    assert TABLE.read_text() == table(), f"run: python -m {__spec__.name}"


def test_the_defaults_in_the_example_are_the_defaults(here: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    assignments = [line[1:] for line in lines if line.startswith("#") and not line.startswith("# ")]
    (here / ".env").write_text("\n".join(assignments))
    with_the_example = load_settings()
    (here / ".env").unlink()

    assert len(assignments) == len(VARIABLES)
    assert with_the_example == load_settings()


def test_every_variable_that_a_problem_names_exists() -> None:
    wrong = Settings(
        http=HttpSettings(cors=CorsSettings(origins=("*",), credentials=True)),
        s3=S3Settings(access_key="id"),
        sessions=SessionSettings(refresh_idle=timedelta(days=99)),
        passwords=PasswordSettings(
            argon2_memory_kib=8, password_min_length=100, password_max_length=64
        ),
        throttle=ThrottleSettings(longest_lock=timedelta(0)),
    )
    in_memory = Settings(stores=Stores.MEMORY, http=HttpSettings(workers=2))
    named = {
        name
        for problem in (*problems_of(wrong), *problems_of(in_memory))
        for name in problem.variable.split(", ")
    }
    assert len(named) == 19
    assert named <= VARIABLES.keys()


def example() -> str:
    """Return what `.env.example` must be."""
    lines = [
        "# Every variable of Portico and its default; docs/configuration.md has the same as a table.",
        "# Copy this file to .env, or to .env.local, .env.testing, .env.staging or .env.production,",
        "# and remove the # before what you change. The process environment beats these files.",
        "# A variable marked (secret) may name a file instead: PORTICO_ADMIN_PASSWORD_FILE=/run/secrets/admin",
    ]
    for name, variable in VARIABLES.items():
        if name in _SECTIONS:
            lines += ["", "", f"# --- {_SECTIONS[name]} ---"]
        lines += ["", f"# {sentence(variable)}", f"# Must be {must_be(variable)}."]
        lines += [f"# Required{where}." for where in required(name)]
        lines += [f"#{name}={spelt(variable)}"]
    return "\n".join(lines) + "\n"


def table() -> str:
    """Return what `docs/configuration.md` must be: its own introduction, and the tables."""
    return "\n".join(_table()) + "\n"


def _table() -> Iterator[str]:
    yield TABLE.read_text().partition("\n## The process")[0].rstrip()
    for name, variable in VARIABLES.items():
        if name in _SECTIONS:
            yield f"\n## {_SECTIONS[name]}\n"
            yield "| variable | default | must be | what it does |"
            yield "|---|---|---|---|"
        default = [f"`{text}`" for text in [spelt(variable)] if text]
        default += [f"required{where}" for where in required(name)]
        yield f"| `{name}` | {'; '.join(default)} | {must_be(variable)} | {sentence(variable)} |"


def sentence(variable: Variable) -> str:
    """Return the docstring of the field that declares a variable."""
    (declared,) = ast.parse(inspect.getsource(variable.section)).body
    assert isinstance(declared, ast.ClassDef)
    for field, docstring in pairwise(declared.body):
        if (
            isinstance(field, ast.AnnAssign)
            and ast.unparse(field.target) == variable.field
            and isinstance(docstring, ast.Expr)
        ):
            return str(ast.literal_eval(docstring.value))
    raise AssertionError(f"{variable.name} has no sentence")


def must_be(variable: Variable) -> str:
    return variable.kind.expects + (" (secret)" if variable.kind.secret else "")


def required(name: str) -> list[str]:
    """Return where the service refuses to start without a variable: nowhere, everywhere, or in some environments."""
    where = [
        environment.value
        for environment in Environment
        if name in {problem.variable for problem in problems_of(Settings(environment=environment))}
    ]
    if len(where) == len(Environment):
        return [""]
    return [f" in {' and '.join(where)}"] if where else []


def spelt(variable: Variable) -> str:
    """Return how the default is written in the environment."""
    match variable.default:
        case None | KeySettings() | tuple():
            text = ""
        case bool(value):
            text = "on" if value else "off"
        case timedelta() as value:
            text = spelt_duration(value)
        case Limit(attempts, seconds):
            text = f"{attempts}/{seconds}"
        case int(value) if variable.kind.in_bytes:
            text = ByteSize(value).human_readable(separator="").replace(".0", "")
        case value:
            text = str(value)
    return text


def spelt_duration(value: timedelta) -> str:
    """Return `value` in the largest unit that divides it."""
    for unit, length in {"d": 86400, "h": 3600, "m": 60}.items():
        if value and value % timedelta(seconds=length) == timedelta(0):
            return f"{value // timedelta(seconds=length)}{unit}"
    return f"{value.total_seconds():g}s"


if __name__ == "__main__":
    EXAMPLE.write_text(example())
    TABLE.write_text(table())
