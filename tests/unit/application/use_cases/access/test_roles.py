"""Roles: who may do what, who may say so, and when it is in force. How the guard works: `test_guard`."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from application.paging import PageRequest
from application.ports.roles import RoleFilter
from application.use_cases.access.roles import RoleDraft
from application.use_cases.caller import Caller
from application.use_cases.identity.changes import UserChange
from application.use_cases.identity.users import UserDraft
from application.use_cases.sessions.tokens import TokenPair
from domain.access import BeyondOwnAccess, OwnAccessChange, PermissionDenied, UnknownPermissions
from domain.grants import Grant
from domain.identity import Email, PersonName, User, Username, UserStatus
from domain.roles import (
    Role,
    RoleCode,
    RoleCodeTaken,
    RoleId,
    RoleInUse,
    RoleNameTaken,
    RoleNotFound,
    RoleStatus,
    TooMuchAccess,
)
from domain.sessions import InvalidToken
from tests.support.builders import a_role, a_user
from tests.support.world import World

READ, WRITE, DELETE = "GET:/notes/{note_id}", "PUT:/notes/{note_id}", "DELETE:/notes/{note_id}"
NOBODYS = RoleId(UUID(int=0))


@pytest.fixture
async def world(world: World) -> World:
    await world.given_routes(READ, WRITE, DELETE)
    return world


async def may(world: World, tokens: TokenPair, permission: str) -> bool:
    """Tell whether the guard lets somebody use a route."""
    try:
        await world.authenticate(tokens, permission=permission)
    except PermissionDenied:
        return False
    return True


async def logged_in(world: World, user: User, *roles: Role) -> Caller:
    await world.given(user, *roles)
    return (await world.log_in_as(user))[0]


async def change_role(world: World, role: Role, **changes: object) -> None:
    """Change what is stored of a role, as another process would."""
    async with world.changing(everyone=True) as uow:
        (stored,) = await uow.roles.lock([role.id])
        for name, value in changes.items():
            setattr(stored, name, value)
        await uow.roles.save(stored)


async def assign(world: World, user: User, *roles: Role) -> None:
    """Give a user exactly these roles, as another process would."""
    async with world.changing([user.id]) as uow:
        await uow.users.lock(user.id)
        await uow.roles.assign(user.id, [role.id for role in roles])


# --- who may ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grants", "allowed"),
    [
        ([], []),
        ([READ], [READ]),
        ([READ, DELETE], [READ, DELETE]),
        (["GET:/notes"], []),
        (["GET:/**"], [READ]),
        (["*:/notes/*"], [READ, WRITE, DELETE]),
        (["*:/notes/*/pages"], []),
        (["PUT:**"], [WRITE]),
        (["*:**"], [READ, WRITE, DELETE]),
    ],
    ids=str,
)
async def test_a_user_may_what_a_role_of_theirs_gives(
    world: World, grants: list[str], allowed: list[str]
) -> None:
    ada = await world.given(a_user(), a_role(*grants))
    _, tokens = await world.log_in_as(ada)

    assert [code for code in (READ, WRITE, DELETE) if await may(world, tokens, code)] == allowed


async def test_roles_add_up(world: World) -> None:
    ada = await world.given(a_user(), a_role(READ), a_role("DELETE:**"))
    _, tokens = await world.log_in_as(ada)

    assert [await may(world, tokens, code) for code in (READ, WRITE, DELETE)] == [True, False, True]


async def test_a_disabled_role_gives_nothing(world: World) -> None:
    ada = await world.given(a_user(), a_role(READ, status=RoleStatus.DISABLED))
    _, tokens = await world.log_in_as(ada)

    assert not await may(world, tokens, READ)


async def test_an_administrator_may_everything_without_a_role(world: World) -> None:
    ada = await world.given(a_user(is_admin=True))
    _, tokens = await world.log_in_as(ada)

    assert await may(world, tokens, DELETE)


# --- in force at the next request ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Situation:
    """A user with a role that gives `READ`, who has just used it."""

    world: World
    user: User
    role: Role
    tokens: TokenPair

    async def may_read(self) -> bool:
        return await may(self.world, self.tokens, READ)


@pytest.fixture
async def warm(world: World) -> Situation:
    user, role = a_user(), a_role(READ)
    await world.given(user, role)
    _, tokens = await world.log_in_as(user)
    situation = Situation(world, user, role, tokens)
    for _ in range(2):
        assert await situation.may_read()
    return situation


async def test_a_grant_that_is_taken_back_is_gone_at_the_next_request(warm: Situation) -> None:
    await change_role(warm.world, warm.role, grants=frozenset())
    assert not await warm.may_read()

    await change_role(warm.world, warm.role, grants=frozenset({Grant("GET:**")}))
    assert await warm.may_read()


async def test_a_role_that_is_disabled_gives_nothing_from_the_next_request_on(
    warm: Situation,
) -> None:
    await change_role(warm.world, warm.role, status=RoleStatus.DISABLED)
    assert not await warm.may_read()

    await change_role(warm.world, warm.role, status=RoleStatus.ACTIVE)
    assert await warm.may_read()


async def test_a_role_that_is_taken_away_gives_nothing_from_the_next_request_on(
    warm: Situation,
) -> None:
    await assign(warm.world, warm.user)
    assert not await warm.may_read()

    await assign(warm.world, warm.user, warm.role)
    assert await warm.may_read()


async def test_a_user_who_is_disabled_is_cut_off_at_the_next_request(warm: Situation) -> None:
    await warm.world.change(warm.user, status=UserStatus.DISABLED)

    with pytest.raises(InvalidToken):
        await warm.may_read()


async def test_a_user_who_is_deleted_is_cut_off_at_the_next_request(warm: Situation) -> None:
    await warm.world.remove(warm.user)

    with pytest.raises(InvalidToken):
        await warm.may_read()


async def test_an_administrator_who_is_demoted_loses_everything_at_the_next_request(
    world: World,
) -> None:
    ada = await world.given(a_user(is_admin=True))
    _, tokens = await world.log_in_as(ada)
    assert await may(world, tokens, DELETE)

    await world.change(ada, is_admin=False)

    assert not await may(world, tokens, DELETE)


async def test_a_session_that_is_ended_is_over_at_the_next_request(warm: Situation) -> None:
    await warm.world.container.session_store().end_all(warm.user.id)

    with pytest.raises(InvalidToken):
        await warm.may_read()


# --- making roles -------------------------------------------------------------------------------


def a_draft(*grants: str, code: str = "editor", name: str = "Editor") -> RoleDraft:
    return RoleDraft(code=RoleCode(code), name=name, grants=frozenset(map(Grant, grants)))


async def test_an_administrator_makes_a_role_and_it_is_recorded(world: World) -> None:
    caller = await logged_in(world, a_user(is_admin=True))

    role = await world.container.create_role()(caller, a_draft(READ, "*:/notes/**"))

    assert world.store.roles[role.id] == role
    assert role.created_at == role.updated_at == world.clock.now()
    entry = world.audit_entries()[-1]
    assert (entry.action, entry.actor, entry.target) == (
        "roles.created",
        caller.user_id,
        f"role:{role.id}",
    )
    assert entry.details["permissions"] == ["*:/notes/**", READ]


async def test_codes_that_no_route_has_are_listed(world: World) -> None:
    caller = await logged_in(world, a_user(is_admin=True))

    with pytest.raises(UnknownPermissions) as error:
        await world.container.create_role()(
            caller, a_draft(READ, "GET:/notes", "POST:/nowhere", "POST:/nowhere/**")
        )

    assert error.value.unknown == ("GET:/notes", "POST:/nowhere")
    assert world.store.roles == {}


async def test_a_code_whose_route_has_vanished_is_unknown(world: World) -> None:
    caller = await logged_in(world, a_user(is_admin=True))
    await world.given_routes(WRITE)

    with pytest.raises(UnknownPermissions):
        await world.container.create_role()(caller, a_draft(READ))


@pytest.mark.parametrize(
    ("draft", "error"),
    [
        (a_draft(code="writer", name="Editor"), RoleNameTaken),
        (a_draft(code="writer", name="  EDITOR "), RoleNameTaken),
        (a_draft(code="editor", name="Writer"), RoleCodeTaken),
    ],
)
async def test_no_two_roles_have_the_same_name_or_code(
    world: World, draft: RoleDraft, error: type[Exception]
) -> None:
    await world.given_role(a_role(code="editor", name="Editor"))
    caller = await logged_in(world, a_user(is_admin=True))

    with pytest.raises(error):
        await world.container.create_role()(caller, draft)
    assert len(world.store.roles) == 1


@pytest.mark.parametrize(
    ("held", "wanted", "beyond"),
    [
        ([READ], [READ], ()),
        ([READ], [READ, WRITE], (WRITE,)),
        (["*:/notes/*"], [READ, WRITE, "GET:/notes/*"], ()),
        (["GET:**"], [READ, "GET:/notes/**"], ()),
        (["GET:**"], ["*:/notes/**"], ("*:/notes/**",)),
        (["*:/notes/*"], ["*:/notes/**"], ("*:/notes/**",)),
        ([], ["*:**"], ("*:**",)),
    ],
    ids=str,
)
async def test_users_cannot_give_permissions_that_they_do_not_hold(
    world: World, held: list[str], wanted: list[str], beyond: tuple[str, ...]
) -> None:
    caller = await logged_in(world, a_user(), a_role(*held))
    create = world.container.create_role()

    if not beyond:
        await create(caller, a_draft(*wanted))
        return
    with pytest.raises(BeyondOwnAccess) as error:
        await create(caller, a_draft(*wanted))
    assert error.value.beyond == beyond


async def test_users_cannot_give_a_button_or_a_router_that_they_do_not_hold(world: World) -> None:
    caller = await logged_in(
        world, a_user(), a_role(buttons=frozenset({"save"}), routers=frozenset({"/notes"}))
    )
    create = world.container.create_role()
    held = replace(a_draft(), buttons=frozenset({"save"}), routers=frozenset({"/notes"}))

    for beyond in (
        replace(held, buttons=frozenset({"save", "delete"})),
        replace(held, routers=frozenset({"/users"})),
    ):
        with pytest.raises(BeyondOwnAccess):
            await create(caller, beyond)
    await create(caller, held)


# --- replacing roles ----------------------------------------------------------------------------


async def test_a_role_becomes_what_the_draft_says_and_the_difference_is_recorded(
    world: World,
) -> None:
    role = await world.given_role(
        a_role(READ, code="editor", name="Editor", buttons=frozenset("b"))
    )
    caller = await logged_in(world, a_user(is_admin=True))
    await world.pass_time(hours=1)

    replaced = await world.container.replace_role()(caller, role.id, a_draft(READ, WRITE))

    assert world.store.roles[role.id] == replaced
    assert (replaced.created_at, replaced.updated_at) == (role.created_at, world.clock.now())
    entry = world.audit_entries()[-1]
    assert entry.action == "roles.replaced"
    assert entry.details == {
        "permissions": {"added": [WRITE], "removed": []},
        "buttonPermissions": {"added": [], "removed": ["b"]},
    }


async def test_a_role_that_is_replaced_by_itself_is_not_changed_and_nothing_is_recorded(
    world: World,
) -> None:
    role = await world.given_role(
        a_role(READ, code="editor", name="Editor", buttons=frozenset("b"))
    )
    ada = await world.given(a_user(), role)
    session = (await world.log_in_as(ada))[0].session_id
    caller = await logged_in(world, a_user(is_admin=True))
    versions = world.container.access_versions()
    before, recorded = await versions.fetch(ada.id, session), world.audit_entries()
    await world.pass_time(seconds=1)

    same = replace(a_draft(READ, code="editor", name=" Editor "), buttons=role.buttons)
    assert await world.container.replace_role()(caller, role.id, same) == role

    assert world.store.roles[role.id] == role
    assert world.audit_entries() == recorded
    assert await versions.fetch(ada.id, session) == before


async def test_users_cannot_edit_or_delete_a_role_that_they_have(world: World) -> None:
    own, other = a_role("*:**"), await world.given_role(a_role())
    caller = await logged_in(world, a_user(is_admin=True), own)

    with pytest.raises(OwnAccessChange):
        await world.container.replace_role()(caller, own.id, a_draft())
    with pytest.raises(OwnAccessChange):
        await world.container.delete_roles()(caller, [other.id, own.id], force=True)
    assert world.store.roles.keys() == {own.id, other.id}


@pytest.mark.parametrize("status", list(RoleStatus))
async def test_a_role_that_gives_more_than_the_caller_holds_cannot_be_managed(
    world: World, status: RoleStatus
) -> None:
    """Otherwise a user who may do less empties it first, then takes over the accounts that it protected."""
    role = await world.given_role(a_role(DELETE, status=status))
    caller = await logged_in(world, a_user(), a_role(READ))

    for attempt in (
        world.container.replace_role()(caller, role.id, a_draft(DELETE)),
        world.container.replace_role()(caller, role.id, a_draft(DELETE, READ)),
        world.container.replace_role()(caller, role.id, a_draft()),
        world.container.delete_roles()(caller, [role.id], force=True),
    ):
        with pytest.raises(BeyondOwnAccess):
            await attempt

    assert {grant.value for grant in world.store.roles[role.id].grants} == {DELETE}


async def test_a_disabled_role_is_enabled_only_by_those_who_hold_what_it_gives(
    world: World,
) -> None:
    role = await world.given_role(a_role(DELETE, status=RoleStatus.DISABLED))
    caller = await logged_in(world, a_user(), a_role(READ))

    with pytest.raises(BeyondOwnAccess):
        await world.container.replace_role()(caller, role.id, a_draft(DELETE))

    assert world.store.roles[role.id].status is RoleStatus.DISABLED


async def test_a_code_whose_route_has_vanished_may_stay_in_a_role(world: World) -> None:
    role = await world.given_role(a_role("GET:/gone"))
    caller = await logged_in(world, a_user(is_admin=True))

    await world.container.replace_role()(caller, role.id, a_draft("GET:/gone", READ))

    assert len(world.store.roles[role.id].grants) == 2


async def test_a_role_that_is_gone_cannot_be_replaced(world: World) -> None:
    caller = await logged_in(world, a_user(is_admin=True))

    with pytest.raises(RoleNotFound):
        await world.container.replace_role()(caller, NOBODYS, a_draft())


# --- deleting roles -----------------------------------------------------------------------------


async def test_a_role_in_use_is_deleted_only_by_force_which_takes_it_from_everybody(
    world: World,
) -> None:
    role = a_role(READ)
    ada = await world.given(a_user(), role)
    _, tokens = await world.log_in_as(ada)
    assert await may(world, tokens, READ)
    caller = await logged_in(world, a_user(is_admin=True))
    delete = world.container.delete_roles()

    with pytest.raises(RoleInUse) as error:
        await delete(caller, [role.id], force=False)
    assert error.value.users == 1
    assert await may(world, tokens, READ)

    assert await delete(caller, [role.id], force=True) == 1
    assert world.store.roles == {}
    assert not await may(world, tokens, READ)
    assert world.audit_entries()[-1].details["holders"] == 1


async def test_roles_are_deleted_all_together_or_not_at_all(world: World) -> None:
    spare, used = await world.given_role(a_role()), a_role()
    await world.given(a_user(), used)
    caller = await logged_in(world, a_user(is_admin=True))
    delete = world.container.delete_roles()

    with pytest.raises(RoleInUse):
        await delete(caller, [spare.id, used.id], force=False)
    with pytest.raises(RoleNotFound) as error:
        await delete(caller, [spare.id, NOBODYS], force=True)

    assert error.value.role_ids == (NOBODYS,)
    assert world.store.roles.keys() == {spare.id, used.id}


async def test_a_role_that_is_made_again_under_its_old_code_has_no_users(world: World) -> None:
    role = a_role(READ, code="editor")
    ada = await world.given(a_user(), role)
    _, tokens = await world.log_in_as(ada)
    caller = await logged_in(world, a_user(is_admin=True))
    await world.container.delete_roles()(caller, [role.id], force=True)

    await world.container.create_role()(caller, a_draft(READ))

    assert not await may(world, tokens, READ)


async def test_of_many_who_delete_a_role_at_once_one_does(world: World) -> None:
    role = await world.given_role(a_role())
    caller = await logged_in(world, a_user(is_admin=True))

    answers = await asyncio.gather(
        *(world.container.delete_roles()(caller, [role.id], force=False) for _ in range(5)),
        return_exceptions=True,
    )

    assert Counter(map(type, answers)) == {int: 1, RoleNotFound: 4}
    assert [entry.action for entry in world.audit_entries()].count("roles.deleted") == 1


# --- reading ------------------------------------------------------------------------------------


async def test_roles_are_listed_by_keyword_and_status(world: World) -> None:
    for code, name, status in (
        ("editor", "Writes 100%", RoleStatus.ACTIVE),
        ("reader", "Reads", RoleStatus.DISABLED),
    ):
        await world.given_role(a_role(code=code, name=name, status=status))
    list_roles = world.container.list_roles()

    async def codes(which: RoleFilter) -> list[str]:
        return [role.code.value for role in (await list_roles(which, PageRequest())).records]

    assert await codes(RoleFilter()) == ["editor", "reader"]
    assert await codes(RoleFilter(keyword="READ")) == ["reader"]
    assert await codes(RoleFilter(keyword="%")) == ["editor"]
    assert await codes(RoleFilter(keyword="_")) == []
    assert await codes(RoleFilter(status=RoleStatus.DISABLED)) == ["reader"]


async def test_a_user_sees_their_own_roles_disabled_ones_too(world: World) -> None:
    caller = await logged_in(
        world, a_user(), a_role(code="b-role"), a_role(code="a-role", status=RoleStatus.DISABLED)
    )
    await world.given_role(a_role())

    roles = await world.container.list_own_roles()(caller)

    assert [role.code.value for role in roles] == ["a-role", "b-role"]


async def test_the_users_of_a_role_are_listed_with_all_their_roles(world: World) -> None:
    role, another = a_role(), a_role()
    ada = await world.given(a_user(username="ada.lovelace"), role, another)
    ben = await world.given(a_user(username="ben.turing"), role)
    await world.given(a_user())

    users, roles = await world.container.list_role_users()(role.id, PageRequest())

    assert [user.id for user in users.records] == [ada.id, ben.id]
    assert {user_id: len(held) for user_id, held in roles.items()} == {ada.id: 2, ben.id: 1}
    with pytest.raises(RoleNotFound):
        await world.container.list_role_users()(NOBODYS, PageRequest())


# --- how much -----------------------------------------------------------------------------------


def patterns(prefix: str, count: int) -> list[str]:
    return [f"GET:/{prefix}/{n}/*" for n in range(count)]


@pytest.mark.parametrize(
    "draft",
    [
        a_draft(*patterns("a", 51)),
        replace(a_draft(), buttons=frozenset(map(str, range(1001)))),
        replace(a_draft(), routers=frozenset(map(str, range(1001)))),
    ],
)
async def test_a_role_that_gives_too_much_is_refused(world: World, draft: RoleDraft) -> None:
    role = await world.given_role(a_role())
    caller = await logged_in(world, a_user(is_admin=True))

    with pytest.raises(TooMuchAccess, match="is the most"):
        await world.container.create_role()(caller, draft)
    with pytest.raises(TooMuchAccess):
        await world.container.replace_role()(caller, role.id, draft)

    assert world.store.roles.keys() == {role.id}


async def test_no_user_is_given_roles_that_give_too_much_together(world: World) -> None:
    many = [a_role(*patterns(f"r{n}", 50), code=f"many-{n}") for n in range(4)]
    one_more = a_role("GET:/x/**", code="one-more")
    ada = await world.given(a_user(), *many)
    await world.given_role(one_more)
    caller = await logged_in(world, a_user(is_admin=True))
    all_codes = frozenset(role.code for role in [*many, one_more])

    with pytest.raises(TooMuchAccess) as refusal:
        await world.container.change_user()(caller, ada.id, UserChange(roles=all_codes))
    assert refusal.value.field == "roles"
    assert refusal.value.detail == "These roles would give 201 patterns, and 200 is the most"
    draft = UserDraft(
        username=Username("grace.hopper"),
        email=Email("grace@example.org"),
        name=PersonName("Grace"),
        roles=all_codes,
    )
    with pytest.raises(TooMuchAccess):
        await world.container.create_user()(caller, draft)

    assert world.roles_of(ada) == {role.code.value for role in many}


async def test_a_user_with_more_than_is_allowed_today_can_be_given_less(world: World) -> None:
    many = [a_role(*patterns(f"r{n}", 50), code=f"many-{n}") for n in range(6)]
    ada = await world.given(a_user(), *many)
    caller = await logged_in(world, a_user(is_admin=True))
    left = frozenset(role.code for role in many[:5])

    await world.container.change_user()(caller, ada.id, UserChange(roles=left))

    assert len(world.roles_of(ada)) == 5


async def test_a_role_does_not_grow_beyond_what_those_may_have_who_have_it(world: World) -> None:
    many = [a_role(*patterns(f"r{n}", 50)) for n in range(3)]
    role = a_role(*patterns("x", 49), code="growing")
    await world.given(a_user(), *many, role)
    caller = await logged_in(world, a_user(is_admin=True))
    replace_role = world.container.replace_role()

    await replace_role(caller, role.id, a_draft(*patterns("x", 50)))
    again = await world.given_role(a_role("GET:/y/*"))
    await world.given(a_user(), *many, role, again)
    with pytest.raises(TooMuchAccess) as refusal:
        await replace_role(
            caller, again.id, a_draft("GET:/y/*", "GET:/z/*", code="again", name="Again")
        )
    assert refusal.value.field == "permissions"
    await replace_role(caller, again.id, a_draft(code="again", name="Again"))

    assert world.store.roles[again.id].grants == frozenset()


async def test_two_administrators_at_once_do_not_give_too_much_together(world: World) -> None:
    """One gives a user a role, the other makes another role of theirs larger: either alone would be allowed."""
    many = [a_role(*patterns(f"r{n}", 50)) for n in range(3)]
    role, spare = a_role(code="growing"), a_role(*patterns("s", 30), code="spare")
    ada = await world.given(a_user(), *many, role)
    await world.given_role(spare)
    admins = [await logged_in(world, a_user(is_admin=True)) for _ in range(2)]
    wanted = frozenset(held.code for held in [*many, role, spare])

    answers = await asyncio.gather(
        world.container.change_user()(admins[0], ada.id, UserChange(roles=wanted)),
        world.container.replace_role()(
            admins[1], role.id, a_draft(*patterns("x", 30), code="growing")
        ),
        return_exceptions=True,
    )

    assert [type(answer) for answer in answers].count(TooMuchAccess) == 1


async def test_two_roles_of_one_user_do_not_grow_at_once(world: World) -> None:
    many = [a_role(*patterns(f"r{n}", 50)) for n in range(3)]
    growing = [a_role(code="growing-1"), a_role(code="growing-2")]
    await world.given(a_user(), *many, *growing)
    admins = [await logged_in(world, a_user(is_admin=True)) for _ in range(2)]

    answers = await asyncio.gather(
        *(
            world.container.replace_role()(
                admin,
                role.id,
                replace(
                    a_draft(*patterns(role.code.value, 30), code=role.code.value), name=role.name
                ),
            )
            for admin, role in zip(admins, growing, strict=True)
        ),
        return_exceptions=True,
    )

    assert [type(answer) for answer in answers].count(TooMuchAccess) == 1


# --- what the audit log says of it --------------------------------------------------------------


async def test_no_filler_hides_what_was_given_or_taken(world: World) -> None:
    """However much a role gives: every word of it is in the entries."""
    hidden = "PUT:/users/*/password"
    filler = frozenset("\N{SNOWMAN}" * 195 + f"{n:04}" for n in range(1000))
    draft = replace(
        a_draft(*(f"GET:/a/*/{'a' * 270}{n:03}" for n in range(49)), hidden),
        buttons=filler,
        routers=filler,
    )
    caller = await logged_in(world, a_user(is_admin=True))
    before = len(world.audit_entries())

    role = await world.container.create_role()(caller, draft)
    await world.container.replace_role()(caller, role.id, a_draft())
    await world.container.replace_role()(caller, role.id, draft)
    await world.container.delete_roles()(caller, [role.id], force=False)

    entries = world.audit_entries()[before:]
    given = {grant.value for grant in draft.grants}
    for action, ways, count in (
        ("roles.created", [()], 1),
        ("roles.replaced", [("removed",), ("added",)], 2),
        ("roles.deleted", [()], 1),
    ):
        parts: list[Mapping[str, Any]] = [e.details for e in entries if e.action == action]
        assert all("excerpt" not in part for part in parts)
        assert [part["part"] for part in parts] == count * list(range(1, parts[0]["parts"] + 1))
        for way in ways:
            assert values_at(parts, "permissions", *way) == given
            assert values_at(parts, "buttonPermissions", *way) == filler
            assert values_at(parts, "routerPermissions", *way) == filler


def values_at(parts: Sequence[Mapping[str, Any]], *path: str) -> set[str]:
    """Return what parts of details list, all together."""
    found = set[str]()
    for part in parts:
        inner: Any = part
        for name in path:
            inner = inner.get(name, {})
        found.update(inner)
    return found
