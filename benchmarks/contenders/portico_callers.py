"""Ours with many users, sessions and roles.

The arguments are how many users, sessions, roles and callers, and a directory, which gets two files with a line
of JSON for each caller: `guarded` has requests, `refresh` tokens.
"""

import asyncio
import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import uvloop

import bootstrap
from application.settings import Environment, Settings
from benchmarks.contenders.http import get, serve
from benchmarks.contenders.portico_http import router, settle_access
from domain.identity import UserId
from domain.sessions import NewSession, Session, SessionId, TokenId, fingerprint
from entrypoints.api import create_api
from entrypoints.cli.api import options

_AGENT = "bench/1"
_AT_ONCE = 32

# Without the indexes that only lists need: to fill them takes longer than all the rest.
_FILL = """
DROP INDEX ix_users_ngrams, ix_users_search, ix_users_name_key, ix_users_created_at;
INSERT INTO roles (id, code, name, name_key, description, status, grants, buttons, routers,
                   created_at, updated_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'role-' || n, 'Role ' || n, 'role ' || n, '', 'active',
       ARRAY['GET:/api/v1/**', 'GET:/things/' || n], '{{}}', '{{}}', now(), now()
  FROM generate_series(1, {roles}) AS n;
INSERT INTO users (id, username, username_key, email, email_key, name, name_key, password_hash, status, is_admin,
                   must_change_password, created_at, updated_at, password_changed_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'user-' || n, 'user-' || n, n || '@example.org', n || '@example.org',
       'User ' || n, 'user ' || n, 'unused', 'active', false, false, now(), now(), now() - interval '1 day'
  FROM generate_series(1, {users}) AS n;
INSERT INTO user_roles (user_id, role_id)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(1 + n % {roles}), 32, '0')::uuid
  FROM generate_series(1, {users}) AS n;
ANALYZE;
"""


async def _fill(url: str, users: int, roles: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_FILL.format(users=users, roles=roles))
    finally:
        await connection.close()


async def _open(container: bootstrap.Container, number: int, began: datetime) -> Session:
    """Log a user in."""
    settings = container.settings().sessions
    opened = await container.session_store().open(
        NewSession(
            id=SessionId(UUID(int=number)),
            user_id=UserId(UUID(int=number)),
            token_id=TokenId(UUID(int=number)),
            valid_from=began,
            fingerprint=fingerprint(_AGENT, settings.agent_binding),
            agent=_AGENT,
            address="127.0.0.1",
        ),
        idle=settings.refresh_idle,
        absolute=settings.refresh_absolute,
        cap=settings.sessions_per_user,
    )
    session: Session = opened.session
    return session


async def _write_requests(
    container: bootstrap.Container, sessions: int, callers: int, directory: Path
) -> None:
    """Open the sessions; write a guarded request of each caller, and a refresh."""
    began = datetime.now(UTC)  # noqa: TID251 - no rule depends on it
    issue = container.issue_tokens()
    with (directory / "guarded").open("w") as guarded, (directory / "refresh").open("w") as refresh:
        for first in range(1, sessions + 1, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, sessions + 1))
            opened = await asyncio.gather(*(_open(container, number, began) for number in numbers))
            for number, session in zip(numbers, opened, strict=True):
                if number > callers:
                    continue
                tokens = issue(session)
                head = get("/api/v1/bench/page", Authorization=f"Bearer {tokens.access_token}")
                guarded.write(json.dumps(head) + "\n")
                refresh.write(json.dumps(tokens.refresh_token) + "\n")


async def _write() -> None:
    users, sessions, roles, callers = map(int, sys.argv[1:5])
    container, settings = _container()
    await container.schema().upgrade()
    assert settings.postgres.url is not None  # noqa: S101 - it was given
    await _fill(settings.postgres.url, users, roles)
    await settle_access(container)
    await _write_requests(container, sessions, callers, Path(sys.argv[5]))


async def _serve() -> None:
    container, settings = _container()
    api = create_api(container=container, routers=[router])
    api.http.state.owns_process = True
    await serve(api, {}, options(settings))


def _container() -> tuple[bootstrap.Container, Settings]:
    settings = bootstrap.load_settings()
    bootstrap.configure_logging(replace(settings, environment=Environment.PRODUCTION))
    return bootstrap.build(settings), settings


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        uvloop.run(_serve())
    else:
        uvloop.run(_write())
        # What it has written leaves holes in its memory, over which each request would be spread. No server has those.
        command = [sys.executable, "-m", "benchmarks.contenders.portico_callers", "serve"]
        os.execv(sys.executable, command)  # noqa: S606 - ours
