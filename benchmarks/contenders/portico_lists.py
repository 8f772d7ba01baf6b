"""Ours with many users, runs and audit entries, and an administrator who lists them.

The arguments are how many users and runs, how many audit entries, and a file, which gets the plans of all searches.
Neighbours in a list are not neighbours on the disk.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import asyncpg
import uvloop
from sqlalchemy import Engine, event

import bootstrap
from application.paging import PageRequest
from application.ports.users import UserFilter
from application.settings import Environment
from benchmarks.contenders.http import get, serve
from benchmarks.contenders.portico_http import access_token, settle_access
from domain.audit_log import AuditEntry, AuditId
from domain.identity import Email, PersonName, User, UserId, Username
from entrypoints.api import create_api
from entrypoints.cli.api import options

_AT_ONCE = 250

# Nobody else has a name with `zy`, `lovelace`, a `q` or 龘. An index is built faster than it is kept.
_USERS = """
DROP INDEX ix_users_ngrams, ix_users_search, ix_users_name_key, ix_users_created_at;
INSERT INTO users (id, username, username_key, username_skeleton, email, email_key, name, name_key, password_hash,
                   status, is_admin, must_change_password, created_at, updated_at, password_changed_at)
SELECT md5(n::text)::uuid, username, username, username, email, email, name, lower(name), 'unused',
       CASE n % 50 WHEN 0 THEN 'disabled' ELSE 'active' END, false, false,
       now() - n * interval '1 second', now(), now()
  FROM (
    SELECT n, given || '-' || lpad(n::text, 7, '0') AS username,
           given || '.' || n || CASE hash % 2 WHEN 0 THEN '@example.org' ELSE '@mail.test' END AS email,
           CASE
             WHEN hash < 1000 THEN initcap(given) || ' Garcia'
             WHEN hash < 1060 THEN initcap(given) || ' Lovelace'
             WHEN hash < 1064 THEN initcap(given) || ' Zygmunt'
             WHEN hash < 1068 THEN '龘' || substr('伟芳娜敏静丽强磊', 1 + hash % 8, 1)
             WHEN hash < 1400 THEN '王' || substr('伟芳娜敏静丽强磊', 1 + hash % 8, 1)
             WHEN hash < 2000 THEN substr('李张刘陈杨黄赵吴', 1 + hash % 8, 1)
                                   || substr('伟芳娜敏静丽强磊', 1 + hash / 8 % 8, 1) || '华'
             WHEN hash < 2060 THEN initcap(given) || ' Quinn'
             ELSE initcap(given) || ' ' || (ARRAY['Smith', 'Brown', 'Miller', 'Davis', 'Jones', 'Wilson', 'Moore',
                                                  'Taylor', 'Thomas', 'White', 'Harris', 'Martin'])[1 + hash % 12]
           END AS name
      FROM (SELECT n, abs(hashint4(n) % 10000) AS hash,
                   (ARRAY['olivia', 'noah', 'emma', 'liam', 'ava', 'mason', 'mia', 'lucas', 'ella', 'james', 'sofia',
                          'henry', 'luna', 'jack', 'nora', 'owen', 'ivy', 'leo', 'ruth', 'max']
                   )[1 + abs(hashint4(n + 1) % 20)] AS given
              FROM generate_series(1, {rows}) AS n) AS numbers
  ) AS named
 ORDER BY hashint4(n);
SET maintenance_work_mem = '512MB';
CREATE INDEX ix_users_ngrams ON users USING gin (ngrams(ARRAY[username_key, email_key, name_key]))
  WITH (gin_pending_list_limit = 256);
CREATE INDEX ix_users_search ON users (username_key) INCLUDE (email_key, name_key, id);
CREATE INDEX ix_users_name_key ON users (name_key, id);
CREATE INDEX ix_users_created_at ON users (created_at, id);
VACUUM ANALYZE users;
"""
_RUNS = """
INSERT INTO task_runs (id, task_id, scheduled_for, state, published_at, started_at, finished_at)
SELECT md5(n::text)::uuid, md5((n % 1000)::text)::uuid, at, CASE n % 100 WHEN 0 THEN 'failed' ELSE 'succeeded' END,
       at, at, at
  FROM (SELECT n, now() - n * interval '1 second' AS at FROM generate_series(1, {rows}) AS n) AS slots
 ORDER BY hashint4(n);
VACUUM ANALYZE task_runs;
"""

KEYWORDS = {
    "of nobody": "nobodyhasit",
    "of 0.04 %": "zygmunt",
    "of 0.04 %, one CJK letter": "龘",
    "of 0.04 %, two letters": "zy",
    "of 0.4 %, two CJK letters": "王伟",
    "of 0.6 %": "lovelace",
    "of 0.6 %, one letter": "q",
    "of 3 %, one CJK letter": "王",
    "of 10 %": "garcia",
    "of 30 %, two letters": "ar",
    "of 50 %": "example",
    "of all, one letter": "a",
    "of 5 %, usernames begin with it": "olivia",
}


async def _fill(url: str, rows: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in (_USERS + _RUNS).format(rows=rows).rstrip(";\n").split(";\n"):
            await connection.execute(statement)
    finally:
        await connection.close()


async def _write_audit(container: bootstrap.Container, entries: int) -> None:
    """Fill the audit log."""
    now = datetime.now(UTC)  # noqa: TID251 - no rule depends on it
    log = container.audit_log()
    await log.prepare()
    for first in range(0, entries, _AT_ONCE):
        await log.append(
            [
                AuditEntry(
                    id=AuditId(UUID(int=n + 1)),
                    at=now - timedelta(seconds=n * 7919 % entries),
                    action="session.opened",
                    actor=UserId(UUID(int=n % 1000)),
                    address="127.0.0.1",
                )
                for n in range(first, min(first + _AT_ONCE, entries))
            ]
        )


async def _administrator(container: bootstrap.Container) -> str:
    """Store somebody who may list everything; return their access token."""
    now = datetime.now(UTC)  # noqa: TID251 - no rule depends on it
    user = User(
        id=UserId(UUID(int=1)),
        username=Username("administrator"),
        email=Email("administrator@mail.test"),
        name=PersonName("Somebody"),
        password_hash="unused",  # noqa: S106 - nobody logs in with it
        is_admin=True,
        created_at=now,
        updated_at=now,
        password_changed_at=now,
    )
    async with container.uow() as uow:
        await uow.users.add(user)
        await uow.commit()
    return await access_token(container, user)


async def _plans(container: bootstrap.Container) -> dict[str, str]:
    """Return how PostgreSQL executes the statements of each search: the nodes that read a table or an index."""
    sent: list[tuple[str, Sequence[object]]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:  # noqa: ANN401
        sent.append((statement, parameters))

    plans = {}
    # As the engine's connections are.
    connection = await asyncpg.connect(
        container.settings().postgres.url,
        server_settings={"max_parallel_workers_per_gather": "0"},
    )
    event.listen(Engine, "before_cursor_execute", note)
    try:
        for what, keyword in KEYWORDS.items():
            sent.clear()
            async with container.uow() as uow:
                await uow.users.page(UserFilter(keyword=keyword), PageRequest())
            plans[what] = "; ".join(
                [await _plan(connection, *each) for each in sent if "SELECT" in each[0]]
            )
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        await connection.close()
    return plans


async def _plan(
    connection: asyncpg.Connection, statement: str, parameters: Sequence[object]
) -> str:
    lines = [
        line for (line,) in await connection.fetch(f"EXPLAIN (COSTS OFF) {statement}", *parameters)
    ]
    read = [line.strip().removeprefix("->").strip() for line in lines if " Scan" in line]
    return " + ".join(each for each in read if "pg_class" not in each and "Subquery" not in each)


async def _main() -> None:
    rows, entries = map(int, sys.argv[1:3])
    settings = bootstrap.load_settings()
    bootstrap.configure_logging(replace(settings, environment=Environment.PRODUCTION))
    container = bootstrap.build(settings)
    await container.schema().upgrade()
    assert settings.postgres.url is not None  # noqa: S101 - it was given
    await _fill(settings.postgres.url, rows)
    await _write_audit(container, entries)
    await settle_access(container)
    token = await _administrator(container)
    paths = {
        **{f"users, keyword {what}": f"/users?keyword={quote(k)}" for what, k in KEYWORDS.items()},
        "users": "/users",
        "runs": "/periodic-tasks/runs",
        "failed runs": "/periodic-tasks/runs?state=failed",
        "audit": "/audit",
    }
    plans = json.dumps(await _plans(container))
    Path(sys.argv[3]).write_text(plans)  # noqa: ASYNC240 - nobody is served yet
    api = create_api(container=container)
    api.http.state.owns_process = True
    requests = {
        what: [get(f"/api/v1{path}", Authorization=f"Bearer {token}")]
        for what, path in paths.items()
    }
    await serve(api, requests, options(settings))


if __name__ == "__main__":
    uvloop.run(_main())
