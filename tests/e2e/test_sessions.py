"""A person logs in: everything around sessions against a running Portico, as a client does it."""

import asyncio
import itertools
import json
import secrets
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.key_files import read_key_dir
from adapters.security.keys import Keys, load_keys
from application.settings import Environment
from entrypoints.http.protocol import TimeoutProtocol
from tests.e2e.client import FIREFOX, Client, log_in_in_javascript, sealed_by_openssl
from tests.e2e.command import Started, running
from tests.support.forgery import Forger, decoded

pytestmark = pytest.mark.server

PASSWORD = "correct horse battery staple"
NEW_PASSWORD = "purple elephants dance at noon"
GRACE = timedelta(seconds=5)


@dataclass(frozen=True)
class Portico:
    """A running Portico and its administrator, whose password no test may leave changed."""

    started: Started
    devices: ExitStack

    @property
    def api(self) -> str:
        """The address of version 1 of the API."""
        return f"{self.started.block['API']}/api/v1"

    def client(self) -> Client:
        """Return a device, until the end of the test."""
        client = Client(self.api)
        self.devices.callback(client.http.close)
        return client

    def caller(self) -> Client:
        """Return a device that has logged in."""
        client = self.client()
        client.log_in("admin", PASSWORD)
        return client

    def keys(self) -> Keys:
        """Return the keys of the installation, the private ones too."""
        settings = read_key_dir(self.started.directory / "data" / "keys")
        keys, problems = load_keys(settings, Environment.TESTING)
        assert keys is not None, problems
        return keys


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with running(
        tmp_path_factory.mktemp("sessions"),
        PORTICO_ADMIN_PASSWORD=PASSWORD,
        PORTICO_REFRESH_GRACE=f"{GRACE.total_seconds()}s",
        PORTICO_REGISTRATION="open",
        PORTICO_LOG_LEVEL="WARNING",
        **{
            f"PORTICO_THROTTLE_{name}": "1000000/60"
            for name in ("ACCOUNT", "ADDRESS", "GLOBAL", "REFRESH", "PUBLIC")
        },
    ) as started:
        yield started


@pytest.fixture
def portico(started: Started) -> Iterator[Portico]:
    with ExitStack() as devices:
        yield Portico(started, devices)


# --- a person -------------------------------------------------------------------------------------


def test_a_person_logs_in_with_openssl_and_lives_a_whole_session(
    portico: Portico, tmp_path: Path
) -> None:
    client = portico.client()
    client.log_in("admin", PASSWORD, seal=lambda p: sealed_by_openssl(p, client.key, tmp_path))
    assert client.data(client.http.get("/auth/user/info"))["username"] == "admin"

    used = client.tokens["refreshToken"]
    client.take(client.data(client.refresh()))
    assert client.data(client.http.get("/auth/user/info"))["username"] == "admin"
    time.sleep(GRACE.total_seconds() + 0.1)
    assert client.refresh(used).status_code == 401
    # Somebody has a copy, so the whole session is over, for both.
    assert client.refresh().status_code == 401
    assert client.http.get("/auth/user/info").status_code == 401

    client.log_in("ADMIN@portico.local", PASSWORD)
    elsewhere = portico.caller()
    sessions = client.data(client.http.get("/auth/sessions"))
    assert sum(session["current"] for session in sessions) == 1

    change = {
        "oldPassword": client.sealed(PASSWORD),
        "newPassword": client.sealed(NEW_PASSWORD),
        "kid": client.key["kid"],
    }
    client.data(client.http.post("/auth/password", json=change))
    assert elsewhere.http.get("/auth/user/info").status_code == 401
    assert client.try_to_log_in("admin", PASSWORD).status_code == 401
    assert len(client.data(client.http.get("/auth/sessions"))) == 1
    back = {
        "oldPassword": client.sealed(NEW_PASSWORD),
        "newPassword": client.sealed(PASSWORD),
    }
    client.data(client.http.post("/auth/password", json=back))

    client.data(client.http.post("/auth/logout"))
    assert client.http.get("/auth/user/info").status_code == 401
    assert client.refresh().status_code == 401


def test_a_browser_logs_in_with_web_crypto(portico: Portico) -> None:
    answer = json.loads(log_in_in_javascript(portico.api, "admin", PASSWORD))

    assert answer["status"] == 200
    assert answer["body"]["data"]["user"]["username"] == "admin"


def test_a_sealed_password_that_was_copied_opens_nothing(portico: Portico) -> None:
    client = portico.client()
    copied: list[str] = []

    def seal(password: str) -> str:
        copied.append(client.sealed(json.dumps({"p": password, "t": int(time.time() * 1000)})))
        return copied[-1]

    client.log_in("admin", PASSWORD, seal=seal)

    assert client.try_to_log_in("admin", "", seal=lambda _: copied[-1]).status_code == 401


# --- storms ---------------------------------------------------------------------------------------


async def test_in_storms_of_50_refreshes_each_token_has_one_successor(portico: Portico) -> None:
    """Fifty tabs wake up at once and none of them is logged out; 200 times in `test_refresh_rotation`."""
    token: str = portico.caller().tokens["refreshToken"]
    agent = {"User-Agent": FIREFOX}
    limits = httpx.Limits(max_connections=50)
    async with httpx.AsyncClient(timeout=60, limits=limits, headers=agent) as http:
        for _ in range(20):
            answers = await asyncio.gather(
                *(
                    http.post(
                        f"{portico.api}/auth/token/refresh", headers={"X-Refresh-Token": token}
                    )
                    for _ in range(50)
                )
            )
            assert {answer.status_code for answer in answers} == {200}
            (token,) = {answer.json()["data"]["refreshToken"] for answer in answers}


async def test_a_process_answers_others_while_100_clients_log_in(portico: Portico) -> None:
    """How soon is what `make bench` measures; that hashing leaves the event loop alone, `test_passwords` shows."""
    body = {"username": "admin", "password": portico.client().sealed(PASSWORD)}
    limits = httpx.Limits(max_connections=100)
    async with (
        httpx.AsyncClient(timeout=60, limits=limits) as crowd,
        httpx.AsyncClient(base_url=portico.started.block["API"]) as other,
    ):
        log_ins = [
            asyncio.create_task(crowd.post(f"{portico.api}/auth/login", json=body))
            for _ in range(100)
        ]
        while not all(log_in.done() for log_in in log_ins):
            assert (await other.get("/livez")).status_code == 200
        statuses = Counter([(await log_in).status_code for log_in in log_ins])

    assert statuses.keys() <= {200, 503}  # on a busy machine some have to come again
    assert statuses[200] >= 50


# --- forgers --------------------------------------------------------------------------------------


def test_no_forged_token_is_answered_anything_but_401(portico: Portico) -> None:
    """Unsigned, confused, expired, foreign, misspelt, nested 5,000 deep: see `tests.support.forgery`."""
    client, keys = portico.caller(), portico.keys()
    header, payload, _ = client.tokens["accessToken"].split(".")
    claims: dict[str, Any] = json.loads(decoded(payload))
    forger = Forger(
        header=json.loads(decoded(header)),
        payload=claims,
        key=keys.access.active,
        other_key=keys.refresh.active,
        other_audience=f"{claims['iss']}/refresh",
        now=claims["iat"],
        lifetime=timedelta(seconds=claims["exp"] - claims["iat"]),
    )
    assert _status_with(client, forger.token()) == 200

    now = claims["iat"]
    forgeries = [
        *forger.algorithms(),
        *forger.headers(),
        *forger.keys(),
        *forger.signatures(),
        *forger.spellings(),
        *forger.documents(),
        *forger.claims(),
        # What is a matter of seconds is tested in `test_tokens`, where time stands still.
        (
            "expired",
            forger.token(payload=claims | {"iat": now - 601, "nbf": now - 601, "exp": now - 1}),
        ),
        (
            "of tomorrow",
            forger.token(
                payload=claims | {"iat": now + 9**5, "nbf": now + 9**5, "exp": now + 9**5 + 1}
            ),
        ),
    ]

    believed = {
        what: status
        for what, token in forgeries
        if token and token.isascii() and token.isprintable() and token.strip() == token
        if len(token) < TimeoutProtocol.max_head  # larger ones never become a request
        if (status := _status_with(client, token)) != 401
    }

    assert len(forgeries) > 200
    assert believed == {}


def _status_with(client: Client, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return client.http.get("/auth/user/info", headers=headers).status_code


# --- guessers -------------------------------------------------------------------------------------

ATTEMPTS_BEFORE_A_LOCK = 4
"""A user who fails once more in a row is locked, and would no longer be wrong, unknown or disabled."""


class Guesser:
    """Guesses the passwords of accounts that have something the matter with them, each a few times."""

    def __init__(self, portico: Portico) -> None:
        self._administrator = portico.caller()
        self._client = portico.client()
        self._numbers = itertools.count()
        self._attempts = itertools.count()
        self._suffix = secrets.token_hex(4)
        self._locked = self._name("locked")
        self._make(self._locked)
        for _ in range(ATTEMPTS_BEFORE_A_LOCK + 2):
            self._client.try_to_log_in(self._locked, "not the password")
        self._names: dict[str, str] = {}

    def cases(self) -> Iterator[tuple[str, httpx.Response]]:
        """Try each case once; yield its name and the answer."""
        if next(self._attempts) % ATTEMPTS_BEFORE_A_LOCK == 0:
            self._names = {case: self._name(case) for case in ("unknown", "wrong", "disabled")}
            self._make(self._names["wrong"])
            self._make(self._names["disabled"], status="disabled")
        yield "unknown", self._client.try_to_log_in(self._names["unknown"], PASSWORD)
        yield "wrong", self._client.try_to_log_in(self._names["wrong"], "not the password")
        yield "disabled", self._client.try_to_log_in(self._names["disabled"], PASSWORD)
        # A wrong password locks it again should the lock have passed meanwhile.
        yield "locked", self._client.try_to_log_in(self._locked, "not the password")

    def right_but_locked(self) -> httpx.Response:
        """Try the right password of the account that is locked, within half a minute from the start."""
        return self._client.try_to_log_in(self._locked, PASSWORD)

    def _name(self, case: str) -> str:
        return f"{case}.{next(self._numbers)}.{self._suffix}"

    def _make(self, name: str, *, status: str = "active") -> None:
        http = self._administrator.http
        body = {
            "username": name,
            "email": f"{name}@example.org",
            "name": name,
            "password": self._administrator.sealed(PASSWORD),
        }
        made = self._administrator.data(http.post("/users", json=body), 201)
        if status != "active":
            user_id = made["id"]
            self._administrator.data(http.patch(f"/users/{user_id}", json={"status": status}))


def test_a_guesser_cannot_tell_the_cases_apart(portico: Portico) -> None:
    """Unknown, wrong, disabled and locked differ in nothing but the instant and the id of the request."""
    guesser = Guesser(portico)
    answers = {**dict(guesser.cases()), "right but locked": guesser.right_but_locked()}

    assert {answer.status_code for answer in answers.values()} == {401}
    shown = {
        case: _without(answer.text, answer.json()["requestId"], answer.json()["ts"])
        for case, answer in answers.items()
    }
    assert len(set(shown.values())) == 1, shown
    headers = [
        [(k, v) for k, v in answer.headers.raw if k.lower() not in {b"date", b"x-request-id"}]
        for answer in answers.values()
    ]
    assert headers.count(headers[0]) == len(headers)


def _without(text: str, *parts: object) -> str:
    for part in parts:
        text = text.replace(str(part), "…")
    return text


def test_a_browser_that_has_logged_in_is_not_locked_out_by_others(portico: Portico) -> None:
    """It does nothing for that but keep the cookie; a program sends what the answer said."""
    owner = portico.client()
    body = {"username": "grace.hopper", "email": "grace@example.org", "name": "Grace Hopper"}
    sealed = {"password": owner.sealed(NEW_PASSWORD), "kid": owner.key["kid"]}
    owner.data(owner.http.post("/auth/register", json=body | sealed), 201)
    answer = owner.data(owner.try_to_log_in("grace.hopper", NEW_PASSWORD))
    stranger = portico.client()
    for _ in range(5):
        assert stranger.try_to_log_in("grace.hopper", "a guess").status_code == 401
    assert portico.client().try_to_log_in("grace.hopper", NEW_PASSWORD).status_code == 401

    assert owner.try_to_log_in("grace.hopper", NEW_PASSWORD).status_code == 200
    program = portico.client()
    program.http.headers["X-Device-Token"] = answer["deviceToken"]
    assert program.try_to_log_in("grace.hopper", NEW_PASSWORD).status_code == 200


def test_a_guesser_cannot_tell_the_cases_apart_by_their_time(portico: Portico) -> None:
    """The medians of 100 log-ins each are within 10 %, in one of three rounds: other programs run here too."""
    spreads = []
    for _ in range(3):
        guesser = Guesser(portico)
        seconds = defaultdict[str, list[float]](list)
        for _ in range(100):
            for case, answer in guesser.cases():  # in turn, so that a busy moment is everybody's
                assert answer.status_code == 401, case
                seconds[case].append(answer.elapsed.total_seconds())
        medians = [statistics.median(times) for times in seconds.values()]
        spreads.append(max(medians) / min(medians) - 1)
        if spreads[-1] <= 0.10:
            return
    pytest.fail(f"medians differ by {[f'{spread:.0%}' for spread in spreads]}")
