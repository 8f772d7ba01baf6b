"""The routes of sessions: keys, log-in, refresh, log-out, devices."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from adapters.security.tokens import JoseTokens
from application.settings import Environment, Limit, Settings, ThrottleSettings
from domain.identity import User, UserStatus
from tests.support.builders import A_MOMENT, a_user
from tests.support.keys import keys_with
from tests.support.web import Web
from tests.support.world import IN_MEMORY, LAPTOP, PASSWORD, PHONE, World

LOG_IN = "/api/v1/auth/login"
REFRESH = "/api/v1/auth/token/refresh"
LOG_OUT = "/api/v1/auth/logout"
SESSIONS = "/api/v1/auth/sessions"
SWAGGER = "/api/v1/auth/login/swagger"
JWKS = "/.well-known/jwks.json"


def shown(response: httpx.Response) -> tuple[object, ...]:
    """Return all that a client can tell two answers apart by, but for when and which one it is."""
    once = {"requestId", "ts"}
    problem = {name: value for name, value in response.json().items() if name not in once}
    headers = {k: v for k, v in response.headers.items() if k != "x-request-id"}
    return response.status_code, str(problem), str(headers)


# --- the key that passwords are encrypted with --------------------------------------------------


async def test_the_public_key_comes_with_all_that_web_crypto_needs_and_may_be_cached(
    web: Web,
) -> None:
    response = await web.client.get("/api/v1/auth/keys/public")

    assert response.status_code == 200
    assert response.headers["cache-control"] == "public, max-age=60"
    assert response.json()["data"] == {
        "kid": "memory",
        "algorithm": "RSA-OAEP-256",
        "publicKey": "",
        "jwk": {"kid": "memory"},
        "serverTime": "2026-03-01T12:00:00Z",
    }


async def test_too_many_requests_for_the_public_key_get_retry_after() -> None:
    often = replace(IN_MEMORY, throttle=ThrottleSettings(public=Limit(1, 60)))
    async with Web(World(often)) as web:
        await web.client.get("/api/v1/auth/keys/public")

        response = await web.client.get("/api/v1/auth/keys/public")

    assert response.status_code == 429
    assert response.json()["error"] == "sessions.throttled"
    assert response.headers["retry-after"] == "60"


async def test_a_neighbour_who_asks_too_often_keeps_no_known_device_from_the_public_key() -> None:
    """Without the key no user logs in."""
    often = replace(IN_MEMORY, throttle=ThrottleSettings(public=Limit(2, 60)))
    async with Web(World(often)) as web:
        token = (await web.log_in(await web.world.given(a_user())))["deviceToken"]
        web.client.cookies.clear()

        async def ask(**headers: str) -> int:
            response = await web.client.get("/api/v1/auth/keys/public", headers=headers)
            return response.status_code

        assert [await ask() for _ in range(3)] == [200, 200, 429]
        assert await ask(Cookie="portico_device=made-up") == 429
        known = {"Cookie": f"portico_device={token}"}
        assert [await ask(**known) for _ in range(3)] == [200, 200, 429]


# --- log-in -------------------------------------------------------------------------------------


async def test_a_log_in_gives_a_pair_of_tokens_and_the_user(web: Web) -> None:
    ada = await web.world.given(a_user(username="ada.lovelace"))

    data = await web.log_in(ada)

    assert data.keys() == {
        "accessToken",
        "refreshToken",
        "tokenType",
        "expiresIn",
        "refreshExpiresIn",
        "user",
        "deviceToken",
    }
    assert data["tokenType"] == "Bearer"
    assert data["expiresIn"] == 600
    assert data["refreshExpiresIn"] == timedelta(days=7).total_seconds()
    assert data["user"]["id"] == str(ada.id)
    assert data["user"]["lastLoginAt"] == "2026-03-01T12:00:00Z"


async def test_the_session_records_the_address_and_the_agent_of_the_request(web: Web) -> None:
    ada = await web.world.given(a_user())

    await web.log_in(ada)

    (session,) = await web.world.sessions(ada)
    assert (session.address, session.agent) == (LAPTOP.address, LAPTOP.agent)


async def test_every_failed_log_in_gets_the_same_response(web: Web) -> None:
    ada = await web.world.given(a_user())
    gone = await web.world.given(a_user())
    await web.world.change(gone, status=UserStatus.DISABLED)
    good = web.sealed(PASSWORD)
    attempts = {
        "wrong password": {"username": ada.username.value, **web.sealed("not the password")},
        "unknown user": {"username": "nobody-at-all", **web.sealed(PASSWORD)},
        "disabled user": {"username": gone.username.value, **web.sealed(PASSWORD)},
        "unknown key": {"username": ada.username.value, **good, "kid": "another"},
        "no base64": {"username": ada.username.value, "password": "%%%"},
        "empty": {"username": ada.username.value, "password": ""},
        "far too long": {"username": ada.username.value, "password": "A" * 12_000},
        "no name": {"username": "", **web.sealed(PASSWORD)},
    }

    answers = [await web.client.post(LOG_IN, json=body) for body in attempts.values()]

    assert {response.status_code for response in answers} == {401}
    assert len({shown(response) for response in answers}) == 1
    assert answers[0].json()["error"] == "sessions.invalid_credentials"
    assert answers[0].headers["www-authenticate"] == 'Bearer realm="portico"'


async def test_too_many_attempts_are_answered_429_whether_the_account_exists_or_not() -> None:
    strict = replace(IN_MEMORY, throttle=ThrottleSettings(account=Limit(1, 300)))
    async with Web(World(strict)) as web:
        ada = await web.world.given(a_user())
        names = (ada.username.value, "nobody-at-all")
        answers = [
            await web.client.post(LOG_IN, json={"username": name, **web.sealed("not the password")})
            for name in names + names
        ]

    assert [response.status_code for response in answers] == [401, 401, 429, 429]
    assert shown(answers[2]) == shown(answers[3])
    assert answers[3].headers["retry-after"] == "300"


# --- known devices ------------------------------------------------------------------------------


def body_of_log_in(web: Web, user: User, **more: str | None) -> dict[str, str | None]:
    return {"username": user.username.value, **web.sealed(PASSWORD), **more}


async def guessed_at(web: Web, user: User) -> None:
    """Lock and exhaust the account for every device that is not known."""
    for _ in range(10):
        await web.client.post(
            LOG_IN, json={"username": user.username.value, **web.sealed("not the password")}
        )


@pytest.mark.parametrize("environment", [Environment.TESTING, Environment.STAGING])
async def test_a_log_in_hands_the_device_a_token_that_scripts_and_other_sites_do_not_get(
    environment: Environment,
) -> None:
    async with Web(World(replace(IN_MEMORY, environment=environment))) as web:
        ada = await web.world.given(a_user())

        response = await web.client.post(LOG_IN, json=body_of_log_in(web, ada))

    token = response.json()["data"]["deviceToken"]
    cookie, *attributes = response.headers["set-cookie"].split("; ")
    assert cookie == f"portico_device={token}"
    expected = {"HttpOnly", "Max-Age=7776000", "Path=/api/v1/auth", "SameSite=strict"}
    assert set(attributes) == expected | ({"Secure"} if environment.deployed else set())


@pytest.mark.parametrize(
    "where", ["cookie", "header", "body", "snake_case", "beside another's cookie"]
)
async def test_a_device_that_shows_its_token_cannot_be_locked_out(web: Web, where: str) -> None:
    ada = await web.world.given(a_user())
    answer = await web.client.post(LOG_IN, json=body_of_log_in(web, ada))
    token = answer.json()["data"]["deviceToken"]
    web.client.cookies.clear()
    await guessed_at(web, ada)
    headers, more = {}, {}
    if where == "cookie":
        headers["Cookie"] = f"portico_device={token}"
    elif where == "header":
        headers["X-Device-Token"] = token
    elif where in {"body", "beside another's cookie"}:
        more["deviceToken"] = token
    elif where == "snake_case":
        more["device_token"] = token
    if where == "beside another's cookie":
        headers["Cookie"] = "portico_device=of-another-account"

    response = await web.client.post(LOG_IN, json=body_of_log_in(web, ada, **more), headers=headers)

    assert response.status_code == 200
    assert response.json()["data"]["deviceToken"] == token


async def test_the_cookie_of_a_device_is_sent_only_under_auth(web: Web) -> None:
    ada = await web.world.given(a_user())
    await web.client.post(LOG_IN, json=body_of_log_in(web, ada))

    sent = [
        "cookie" in web.client.build_request("GET", path).headers
        for path in ("/api/v1/auth/login", "/api/v1/auth/password", "/api/v1/users", "/docs")
    ]

    assert sent == [True, True, False, False]


async def test_a_log_in_that_fails_hands_out_nothing_and_forgets_nothing(web: Web) -> None:
    ada = await web.world.given(a_user())

    response = await web.client.post(
        LOG_IN,
        json={"username": ada.username.value, **web.sealed("not the password")},
        headers={"X-Device-Token": "a guess"},
    )

    assert response.status_code == 401
    assert "set-cookie" not in response.headers


async def test_the_change_of_password_asks_for_the_token_of_the_device_too(web: Web) -> None:
    ada = await web.world.given(a_user())
    data = await web.log_in(ada)
    web.client.cookies.clear()
    await guessed_at(web, ada)
    change = {
        **web.sealed(PASSWORD, field="oldPassword"),
        **web.sealed("another correct horse", field="newPassword"),
    }
    bearer = {"Authorization": f"Bearer {data['accessToken']}"}
    refused = await web.client.post("/api/v1/auth/password", json=change, headers=bearer)
    assert refused.status_code == 429

    changed = await web.client.post(
        "/api/v1/auth/password",
        json=change,
        headers=bearer | {"Cookie": f"portico_device={data['deviceToken']}"},
    )

    assert changed.status_code == 200


# --- refresh ------------------------------------------------------------------------------------


async def test_a_refresh_token_in_the_header_gives_a_new_pair(web: Web) -> None:
    ada = await web.world.given(a_user())
    tokens = await web.log_in(ada)
    await web.world.pass_time(minutes=1)

    response = await web.client.post(REFRESH, headers={"X-Refresh-Token": tokens["refreshToken"]})

    assert response.status_code == 200
    fresh = response.json()["data"]
    assert fresh.keys() == {
        "accessToken",
        "refreshToken",
        "tokenType",
        "expiresIn",
        "refreshExpiresIn",
    }
    assert fresh["refreshToken"] != tokens["refreshToken"]


@pytest.mark.parametrize("name", ["refreshToken", "refresh_token"])
async def test_a_refresh_token_may_be_in_the_body_instead(web: Web, name: str) -> None:
    tokens = await web.log_in(await web.world.given(a_user()))

    response = await web.client.post(REFRESH, json={name: tokens["refreshToken"]})

    assert response.status_code == 200


async def test_the_same_refresh_token_in_header_and_body_is_one_token(web: Web) -> None:
    token = (await web.log_in(await web.world.given(a_user())))["refreshToken"]

    response = await web.client.post(
        REFRESH, json={"refreshToken": token}, headers={"X-Refresh-Token": token}
    )

    assert response.status_code == 200


async def test_two_different_refresh_tokens_in_one_request_are_malformed(web: Web) -> None:
    token = (await web.log_in(await web.world.given(a_user())))["refreshToken"]

    response = await web.client.post(
        REFRESH, json={"refreshToken": "another"}, headers={"X-Refresh-Token": token}
    )

    assert response.status_code == 400
    assert response.json()["error"] == "http.malformed"


async def test_a_refresh_without_a_token_says_where_it_belongs(web: Web) -> None:
    response = await web.client.post(REFRESH)

    assert response.status_code == 401
    assert response.json()["error"] == "sessions.no_refresh_token"
    assert response.headers["www-authenticate"] == 'Bearer realm="portico"'


async def test_the_same_refresh_twice_within_the_grace_period_gives_the_same_successor(
    web: Web,
) -> None:
    tokens = await web.log_in(await web.world.given(a_user()))
    headers = {"X-Refresh-Token": tokens["refreshToken"]}

    first = (await web.client.post(REFRESH, headers=headers)).json()["data"]
    second = (await web.client.post(REFRESH, headers=headers)).json()["data"]

    assert first["refreshToken"] == second["refreshToken"]


async def test_a_used_up_refresh_token_ends_the_session_and_is_answered_401(web: Web) -> None:
    ada = await web.world.given(a_user())
    tokens = await web.log_in(ada)
    headers = {"X-Refresh-Token": tokens["refreshToken"]}
    await web.client.post(REFRESH, headers=headers)
    await web.world.pass_time(minutes=1)

    response = await web.client.post(REFRESH, headers=headers)

    assert response.status_code == 401
    assert response.json()["error"] == "sessions.session_compromised"
    assert response.headers["www-authenticate"] == 'Bearer realm="portico", error="invalid_token"'
    assert not await web.world.sessions(ada)


async def test_a_refresh_from_another_kind_of_device_ends_the_session(web: Web) -> None:
    ada = await web.world.given(a_user())
    tokens = await web.log_in(ada)

    response = await web.client.post(
        REFRESH,
        headers={"X-Refresh-Token": tokens["refreshToken"], "User-Agent": PHONE.agent or ""},
    )

    assert response.status_code == 401
    assert not await web.world.sessions(ada)


async def test_too_many_refreshes_of_a_session_are_answered_429() -> None:
    often = replace(IN_MEMORY, throttle=ThrottleSettings(refresh=Limit(1, 60)))
    async with Web(World(often)) as web:
        tokens = await web.log_in(await web.world.given(a_user()))
        first = await web.client.post(REFRESH, headers={"X-Refresh-Token": tokens["refreshToken"]})

        response = await web.client.post(
            REFRESH, headers={"X-Refresh-Token": first.json()["data"]["refreshToken"]}
        )

    assert response.status_code == 429


# --- log-out ------------------------------------------------------------------------------------


async def test_a_log_out_ends_the_session_at_once(web: Web) -> None:
    bearer = await web.bearer(await web.world.given(a_user()))

    response = await web.client.post(LOG_OUT, headers=bearer)

    assert response.status_code == 200
    assert response.json()["data"] is None
    assert (await web.client.get(SESSIONS, headers=bearer)).status_code == 401


async def test_an_expired_access_token_still_logs_out(web: Web) -> None:
    ada = await web.world.given(a_user())
    bearer = await web.bearer(ada)
    await web.world.pass_time(minutes=11)
    assert (await web.client.get(SESSIONS, headers=bearer)).status_code == 401

    response = await web.client.post(LOG_OUT, headers=bearer)

    assert response.status_code == 200
    assert not await web.world.sessions(ada)


async def test_a_refresh_token_logs_out_too(web: Web) -> None:
    ada = await web.world.given(a_user())
    for where in ("header", "body"):
        token = (await web.log_in(ada))["refreshToken"]
        response = await (
            web.client.post(LOG_OUT, headers={"X-Refresh-Token": token})
            if where == "header"
            else web.client.post(LOG_OUT, json={"refreshToken": token})
        )
        assert response.status_code == 200

    assert not await web.world.sessions(ada)


async def test_a_log_out_without_any_token_is_answered_401(web: Web) -> None:
    response = await web.client.post(LOG_OUT)

    assert response.status_code == 401
    assert response.json()["error"] == "sessions.not_authenticated"


async def test_logging_out_everywhere_ends_every_session(web: Web) -> None:
    ada = await web.world.given(a_user())
    here, there = await web.bearer(ada), await web.bearer(ada, PHONE)

    response = await web.client.post("/api/v1/auth/logout/all", headers=here)

    assert response.status_code == 200
    for bearer in (here, there):
        assert (await web.client.get(SESSIONS, headers=bearer)).status_code == 401


# --- devices ------------------------------------------------------------------------------------


async def test_the_caller_sees_their_devices_and_which_one_this_is(web: Web) -> None:
    ada = await web.world.given(a_user())
    await web.bearer(ada, PHONE)
    await web.world.pass_time(minutes=5)
    bearer = await web.bearer(ada, LAPTOP)

    sessions = (await web.client.get(SESSIONS, headers=bearer)).json()["data"]

    assert [s["current"] for s in sessions] == [True, False]
    assert sessions[1] == {
        "id": sessions[1]["id"],
        "agent": PHONE.agent,
        "address": PHONE.address,
        "createdAt": "2026-03-01T12:00:00Z",
        "lastSeenAt": "2026-03-01T12:00:00Z",
        "endsAt": "2026-03-31T12:00:00Z",
        "current": False,
    }


async def test_the_caller_ends_one_of_their_sessions(web: Web) -> None:
    ada = await web.world.given(a_user())
    phone = await web.bearer(ada, PHONE)
    laptop = await web.bearer(ada, LAPTOP)
    sessions = (await web.client.get(SESSIONS, headers=laptop)).json()["data"]
    phones = next(s["id"] for s in sessions if not s["current"])

    response = await web.client.delete(f"{SESSIONS}/{phones}", headers=laptop)

    assert response.status_code == 200
    assert (await web.client.get(SESSIONS, headers=phone)).status_code == 401
    assert (await web.client.get(SESSIONS, headers=laptop)).status_code == 200


async def test_users_cannot_end_the_session_of_another_user(web: Web) -> None:
    ada, eve = await web.world.given(a_user()), await web.world.given(a_user())
    await web.bearer(ada)
    (session,) = await web.world.sessions(ada)

    response = await web.client.delete(f"{SESSIONS}/{session.id}", headers=await web.bearer(eve))

    assert response.status_code == 404
    assert response.json()["error"] == "sessions.session_not_found"
    assert await web.world.sessions(ada)


async def test_a_session_id_that_is_no_uuid_is_answered_422(web: Web) -> None:
    bearer = await web.bearer(await web.world.given(a_user()))

    response = await web.client.delete(f"{SESSIONS}/first", headers=bearer)

    assert response.status_code == 422
    assert response.json()["errors"] == [
        {
            "loc": ["path", "sessionId"],
            "msg": "Input should be a valid UUID",
            "type": "uuid_parsing",
        }
    ]


# --- the log-in of the docs page ----------------------------------------------------------------


async def test_the_docs_page_logs_in_with_the_oauth2_password_form(web: Web) -> None:
    ada = await web.world.given(a_user())

    response = await web.client.post(
        SWAGGER,
        data={"grant_type": "password", "username": ada.username.value, "password": PASSWORD},
    )

    assert response.status_code == 200
    token = response.json()
    assert token.keys() == {"access_token", "token_type", "expires_in"}
    assert token["token_type"] == "bearer"
    bearer = {"Authorization": f"Bearer {token['access_token']}"}
    assert (await web.client.get(SESSIONS, headers=bearer)).status_code == 200


async def test_the_docs_page_checks_the_password_and_is_throttled_like_any_log_in(web: Web) -> None:
    ada = await web.world.given(a_user())
    statuses = [
        (
            await web.client.post(
                SWAGGER, data={"username": ada.username.value, "password": "not the password"}
            )
        ).status_code
        for _ in range(11)
    ]

    assert statuses == [401] * 10 + [429]


async def test_deployed_environments_have_no_such_log_in() -> None:
    for environment in (Environment.STAGING, Environment.PRODUCTION):
        async with Web(World(replace(IN_MEMORY, environment=environment))) as web:
            response = await web.client.post(SWAGGER, data={"username": "a", "password": "b"})

            assert response.status_code == 404
            assert response.json()["error"] == "http.not_found"


# --- the keys of access tokens ------------------------------------------------------------------


@pytest.fixture
def signing_world() -> World:
    settings: Settings = IN_MEMORY
    keys = keys_with()
    world = World(settings)
    world.container.tokens.override(
        JoseTokens(keys.access, keys.refresh, settings.sessions, world.clock)
    )
    return world


async def test_the_key_set_verifies_the_access_tokens_and_may_be_cached(
    signing_world: World,
) -> None:
    async with Web(signing_world) as web:
        response = await web.client.get(JWKS)

    assert response.status_code == 200
    assert response.headers["cache-control"] == "public, max-age=300"
    (key,) = response.json()["keys"]
    assert key.keys() == {"kty", "alg", "use", "kid", "n", "e"}
    assert key["alg"] == "RS256"


@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', "*"])
async def test_a_key_set_that_the_client_has_is_not_sent_again(
    signing_world: World, known: str
) -> None:
    async with Web(signing_world) as web:
        etag = (await web.client.get(JWKS)).headers["etag"]

        response = await web.client.get(JWKS, headers={"If-None-Match": known.format(etag)})

    assert response.status_code == 304
    assert response.content == b""
    assert response.headers["etag"] == etag
    assert response.headers["cache-control"] == "public, max-age=300"


async def test_a_client_with_another_key_set_gets_this_one(signing_world: World) -> None:
    async with Web(signing_world) as web:
        response = await web.client.get(JWKS, headers={"If-None-Match": '"another"'})

    assert response.status_code == 200


# --- forms --------------------------------------------------------------------------------------


async def test_ids_are_uuids_of_version_7_and_times_are_utc_with_z(web: Web) -> None:
    bearer = await web.bearer(await web.world.given(a_user()))

    (session,) = (await web.client.get(SESSIONS, headers=bearer)).json()["data"]

    assert UUID(session["id"]).version == 7
    assert session["createdAt"] == A_MOMENT.strftime("%Y-%m-%dT%H:%M:%SZ")
