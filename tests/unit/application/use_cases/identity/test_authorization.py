"""Authority counts when something is changed, not when the request arrived, however long it waited between."""

import ast
import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from application.ports.unit_of_work import UnitOfWork
from application.use_cases.access.roles import RoleDraft
from application.use_cases.caller import Caller
from application.use_cases.identity.changes import UserChange
from application.use_cases.identity.users import UserDraft
from application.use_cases.scheduling.changes import TaskChanges
from domain.access import PermissionDenied
from domain.errors import PorticoError
from domain.identity import Email, Password, PersonName, User, Username, UserStatus
from domain.roles import Role, RoleCode, RoleStatus
from domain.scheduling.periodic_tasks import PeriodicTask, UnreadableTask
from domain.sessions import InvalidToken
from tests.support.builders import a_role, a_user
from tests.support.world import LAPTOP, PASSWORD, PHONE, SuspendingHasher, World

USE_CASES = Path(__file__).parents[5] / "application" / "use_cases"
USE = "POST:/use"
HOURLY = {
    "name": "hourly",
    "task": "reports.forget",
    "kind": "crontab",
    "schedule": {"minute": "0"},
}


class QueuedHasher(SuspendingHasher):
    """Hashes for as long as a test wants, as one with a full queue does."""

    def __init__(self) -> None:
        super().__init__()
        self.queued = asyncio.Event()
        self.served = asyncio.Event()
        self.served.set()

    async def hash(self, password: Password) -> str:
        self.queued.set()
        await self.served.wait()
        return await super().hash(password)


@dataclass(frozen=True, slots=True)
class Scene:
    """A manager in a session of theirs, whose role lets them in and covers what they do; and their administrator."""

    world: World
    hasher: QueuedHasher
    manager: User
    role: Role
    caller: Caller
    administrator: Caller
    victim: User
    other_role: Role
    task: PeriodicTask | UnreadableTask

    def use_case(self, name: str) -> Any:
        return getattr(self.world.container, name)()

    def state(self) -> object:
        """Return everything that the manager could have changed."""
        store = self.world.store
        users = {u.id: u for u in store.users.values() if u.id != self.manager.id}
        own = store.users.get(self.manager.id)
        profile = own and (own.name, own.password_hash)
        others = {u: held for u, held in store.user_roles.items() if u != self.manager.id}
        roles = {r.id: r for r in store.roles.values() if r.id != self.role.id}
        return users, profile, others, roles, dict(store.periodic_tasks), dict(store.runs)


@pytest.fixture
async def scene() -> Scene:
    hasher = QueuedHasher()
    world = World(hasher=hasher)
    await world.given_routes(USE)
    role = a_role(USE, code="manager")
    manager = await world.given(a_user(), role)
    _, tokens = await world.log_in_as(manager)
    caller = await world.authenticate(tokens, permission=USE)
    administrator, _ = await world.log_in_as(await world.given(a_user(is_admin=True)))
    victim = await world.given(a_user())
    await world.log_in_as(victim)
    view = await world.container.create_periodic_task()(administrator, HOURLY)
    return Scene(
        world=world,
        hasher=hasher,
        manager=manager,
        role=role,
        caller=caller,
        administrator=administrator,
        victim=victim,
        other_role=await world.given_role(a_role(code="other")),
        task=view.task,
    )


# --- what can be done ---------------------------------------------------------------------------

Action = Callable[[Scene], Awaitable[object]]


def a_draft(**changes: Any) -> UserDraft:
    return UserDraft(
        username=Username("mallory"),
        email=Email("mallory@example.org"),
        name=PersonName("Mallory"),
        **changes,
    )


async def create_user(s: Scene) -> None:
    await s.use_case("create_user")(s.caller, a_draft())


async def create_user_with_password(s: Scene) -> None:
    await s.use_case("create_user")(s.caller, a_draft(password=s.world.seal(PASSWORD)))


async def reset_password(s: Scene) -> None:
    await s.use_case("reset_password")(s.caller, s.victim.id)


async def change_own_password(s: Scene) -> None:
    await s.world.change_password(s.caller, PASSWORD, "a staple for the battery")


async def change_user(s: Scene) -> None:
    await s.use_case("change_user")(s.caller, s.victim.id, UserChange(status=UserStatus.DISABLED))


async def delete_user(s: Scene) -> None:
    await s.use_case("delete_user")(s.caller, s.victim.id)


async def end_sessions(s: Scene) -> None:
    await s.use_case("end_user_sessions")(s.caller, s.victim.id)


async def update_profile(s: Scene) -> None:
    await s.use_case("update_profile")(s.caller, name=PersonName("Mallory"), email=None)


async def create_role(s: Scene) -> None:
    await s.use_case("create_role")(s.caller, RoleDraft(code=RoleCode("new"), name="New"))


async def replace_role(s: Scene) -> None:
    draft = RoleDraft(code=RoleCode("other"), name="Renamed")
    await s.use_case("replace_role")(s.caller, s.other_role.id, draft)


async def delete_role(s: Scene) -> None:
    await s.use_case("delete_roles")(s.caller, [s.other_role.id], force=False)


async def create_task(s: Scene) -> None:
    await s.use_case("create_periodic_task")(s.caller, {**HOURLY, "name": "another"})


async def change_task(s: Scene) -> None:
    await s.use_case("change_periodic_task").change(s.caller, s.task.id, {"enabled": False})


async def replace_task(s: Scene) -> None:
    await s.use_case("change_periodic_task").replace(
        s.caller, s.task.id, {**HOURLY, "name": "other"}
    )


async def reset_task(s: Scene) -> None:
    await s.use_case("reset_periodic_task")(s.caller, s.task.id)


async def delete_task(s: Scene) -> None:
    await s.use_case("delete_periodic_task")(s.caller, s.task.id)


async def run_now(s: Scene) -> None:
    await s.use_case("run_now")(s.caller, s.task.id)


ACTIONS: list[Action] = [
    *(create_user, create_user_with_password, reset_password, change_own_password),
    *(change_user, delete_user, end_sessions, update_profile),
    *(create_role, replace_role, delete_role),
    *(create_task, change_task, replace_task, reset_task, delete_task, run_now),
]
ON_ONESELF = {change_own_password, update_profile}


# --- what takes the right to it -----------------------------------------------------------------

Revocation = Callable[[Scene, UnitOfWork], Awaitable[object]]


async def disable(s: Scene, uow: UnitOfWork) -> None:
    manager = await uow.users.lock(s.manager.id)
    manager.status = UserStatus.DISABLED
    await uow.users.save(manager)


async def delete(s: Scene, uow: UnitOfWork) -> None:
    await uow.users.delete(s.manager.id)


async def end_session(s: Scene, uow: UnitOfWork) -> None:
    await s.world.container.session_store().end(s.manager.id, s.caller.session_id)


async def take_role(s: Scene, uow: UnitOfWork) -> None:
    await uow.roles.assign(s.manager.id, [])


async def empty_role(s: Scene, uow: UnitOfWork) -> None:
    (role,) = await uow.roles.lock([s.role.id])
    role.grants = frozenset()
    await uow.roles.save(role)


async def disable_role(s: Scene, uow: UnitOfWork) -> None:
    (role,) = await uow.roles.lock([s.role.id])
    role.status = RoleStatus.DISABLED
    await uow.roles.save(role)


REVOCATIONS: list[Revocation] = [disable, delete, end_session, take_role, empty_role, disable_role]


@pytest.mark.parametrize("action", ACTIONS)
async def test_an_authorized_caller_succeeds(scene: Scene, action: Action) -> None:
    """Otherwise the tests below would show nothing."""
    before, sessions = scene.state(), await scene.world.sessions(scene.victim)

    await action(scene)

    assert before != scene.state() or sessions != await scene.world.sessions(scene.victim)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("revoke", REVOCATIONS)
async def test_a_permission_that_is_taken_during_a_wait_no_longer_counts_when_it_is_checked(
    scene: Scene, action: Action, revoke: Revocation
) -> None:
    sessions = await scene.world.sessions(scene.victim)
    async with scene.world.changing([scene.manager.id], everyone=True) as uow:
        await uow.roles.lock_access(to_change=True)
        before = scene.state()
        task = asyncio.ensure_future(action(scene))
        for _ in range(100):  # as far as it gets
            await asyncio.sleep(0)
        assert not task.done()
        await revoke(scene, uow)

    if action in ON_ONESELF and revoke in {take_role, empty_role, disable_role}:
        expected: type[PorticoError] = PermissionDenied  # of the route, which this scene says
    elif revoke in {disable, delete, end_session}:
        expected = InvalidToken
    else:
        expected = PermissionDenied
    with pytest.raises(expected):
        await task
    if revoke is not delete:
        assert scene.state() == before
    assert await scene.world.sessions(scene.victim) == sessions
    assert [e.action for e in scene.world.audit_entries() if e.actor == scene.manager.id] == [
        "sessions.logged_in"
    ]


@pytest.mark.parametrize(
    "action", [create_user, create_user_with_password, reset_password, change_own_password]
)
@pytest.mark.parametrize("revoke", REVOCATIONS)
async def test_a_permission_taken_away_while_a_password_is_hashed_does_not_count(
    scene: Scene, action: Action, revoke: Revocation
) -> None:
    scene.hasher.queued.clear()
    scene.hasher.served.clear()
    task = asyncio.ensure_future(action(scene))
    await scene.hasher.queued.wait()
    before = scene.state()
    async with scene.world.changing([scene.manager.id], everyone=True) as uow:
        await revoke(scene, uow)

    scene.hasher.served.set()
    with pytest.raises((InvalidToken, PermissionDenied)):
        await task

    if revoke is not delete:
        assert scene.state() == before


async def test_an_administrator_who_was_disabled_makes_no_administrator_afterwards(
    scene: Scene,
) -> None:
    """The order that was seen in use: asked, disabled while the hash waits, and 201 all the same."""
    world = scene.world
    fallen, _ = await world.log_in_as(await world.given(a_user(is_admin=True)))
    scene.hasher.queued.clear()
    scene.hasher.served.clear()
    task = asyncio.ensure_future(world.container.create_user()(fallen, a_draft(is_admin=True)))
    await scene.hasher.queued.wait()
    await world.container.change_user()(
        scene.administrator, fallen.user_id, UserChange(status=UserStatus.DISABLED)
    )

    scene.hasher.served.set()
    with pytest.raises(InvalidToken):
        await task
    assert "mallory" not in {user.username.value for user in world.store.users.values()}


async def test_a_caller_who_was_demoted_meanwhile_makes_no_administrator(scene: Scene) -> None:
    """They are let in by a role as well, so that the demotion alone is what stops it."""
    world = scene.world
    ada = await world.given(a_user(is_admin=True), scene.role)
    _, tokens = await world.log_in_as(ada)
    caller = await world.authenticate(tokens, permission=USE)
    scene.hasher.queued.clear()
    scene.hasher.served.clear()
    task = asyncio.ensure_future(world.container.create_user()(caller, a_draft(is_admin=True)))
    await scene.hasher.queued.wait()
    await world.container.change_user()(scene.administrator, ada.id, UserChange(is_admin=False))

    scene.hasher.served.set()
    with pytest.raises(PorticoError, match="administration"):
        await task


async def test_a_thief_who_was_logged_out_everywhere_does_not_change_the_password(
    scene: Scene,
) -> None:
    world = scene.world
    ada = await world.given(a_user())
    thief, _ = await world.log_in_as(ada, PHONE)
    owner, _ = await world.log_in_as(ada, LAPTOP)
    before = world.stored(ada).password_hash
    scene.hasher.queued.clear()
    scene.hasher.served.clear()
    task = asyncio.ensure_future(world.change_password(thief, PASSWORD, "now it is mine alone"))
    await scene.hasher.queued.wait()
    await world.container.log_out_everywhere()(owner)

    scene.hasher.served.set()
    with pytest.raises(InvalidToken):
        await task
    assert world.stored(ada).password_hash == before


def test_every_use_case_that_changes_something_for_a_caller_asks_again() -> None:
    """A new one too: what takes a caller and commits has `authorize`, or locks what it changes by `TaskChanges`."""
    changes, forgetful = list[str](), list[str]()
    for path in USE_CASES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                text = ast.unparse(node)
                if "caller: Caller" in text and re.search(r"\b(uow|self)\.commit\(", text):
                    changes.append(node.name)
                    if not re.search(r"self\.(changes\.lock|(changes\.)?authorize)\b", text):
                        forgetful.append(node.name)
    assert len(changes) > 12
    assert forgetful == []
    assert "await self.authorize(uow, caller)" in inspect.getsource(TaskChanges.lock)
