"""Any request gets a response that OpenAPI describes, and never 500."""

import json
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.settings import Limit, Registration, ThrottleSettings
from tests.support.builders import a_periodic_task, a_role, a_user
from tests.support.web import Web, description
from tests.support.world import IN_MEMORY, World

UNTHROTTLED = Limit(1_000_000, 1)
UNLIMITED = replace(
    IN_MEMORY,
    registration=Registration.OPEN,
    throttle=ThrottleSettings(
        account=UNTHROTTLED, address=UNTHROTTLED, global_=UNTHROTTLED, public=UNTHROTTLED
    ),
)
ROUTES = [
    (method, path)
    for path, methods in description()["paths"].items()
    for method, operation in methods.items()
    if "requestBody" in operation
]
FIELDS = (
    *("username", "email", "name", "password", "kid", "oldPassword", "new_password"),
    *("refreshToken", "refresh_token", "grant_type", "code", "description", "status", "isAdmin"),
    *("roles", "permissions", "button_permissions", "routerPermissions", "ids", "force"),
    *("kind", "schedule", "task", "args", "kwargs", "options", "startAt", "end_at", "oneOff"),
    *("maxRuns", "jitter", "misfire", "misfireGrace", "enabled", "catchUp", "after", "count"),
)
ODD_TEXT = st.text(st.characters(), max_size=30) | st.sampled_from(
    ["", "\0", "\ud800", "\u202e", "a" * 300, "%%%", "AAAA", "ada@example.org", "ﬀ" * 200]
)
ODD_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner, max_size=3),
    max_leaves=8,
)
NEARLY_RIGHT = st.dictionaries(st.sampled_from(FIELDS), ODD_TEXT | ODD_JSON)
BODIES = st.binary(max_size=100) | (ODD_JSON | NEARLY_RIGHT | NEARLY_RIGHT).map(
    lambda value: json.dumps(value).encode()
)
CONTENT_TYPES = st.sampled_from(
    ["application/json"] * 5
    + ["application/json; charset=latin-1", "application/x-www-form-urlencoded"]
    + ["multipart/form-data; boundary=x", "text/plain", "\t;;=", ""]
)


@pytest.mark.parametrize(("method", "path"), ROUTES)
@settings(max_examples=5)
@given(requests=st.lists(st.tuples(BODIES, CONTENT_TYPES), min_size=10, max_size=10))
async def test_no_body_makes_a_route_fail(
    method: str, path: str, requests: list[tuple[bytes, str]]
) -> None:
    async with Web(World(UNLIMITED)) as web:
        bearer = await web.bearer(await web.world.given(a_user(is_admin=True)))
        target = await web.world.given(a_user())
        role = await web.world.given_role(a_role())
        task = await web.world.given_task(a_periodic_task())
        ids = defaultdict(
            lambda: task.id, user_id=target.id, role_id=role.id, task_id=task.id, name="orders"
        )
        for body, content_type in requests:
            response = await web.client.request(
                method,
                path.format_map(ids),
                content=body,
                headers={**bearer, "Content-Type": content_type},
            )

            assert response.status_code < 500
