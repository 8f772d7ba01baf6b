"""Users as administrators see them, and what keeps an administrator from giving away more than they have."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from application.paging import PageRequest
from application.ports.users import UserFilter
from application.use_cases.caller import Caller
from application.use_cases.identity.changes import UserChange
from application.use_cases.identity.users import UserDraft
from domain.access import BeyondOwnAccess, LastAdministrator, OwnAccessChange
from domain.errors import PorticoError
from domain.identity import (
    Email,
    EmailTaken,
    Password,
    PasswordChangeRequired,
    PasswordRejected,
    PersonName,
    UnreadablePassword,
    User,
    UserId,
    Username,
    UsernameTaken,
    UserNotFound,
    UserStatus,
)
from domain.password_transport import SealedPassword
from domain.roles import Role, RoleCode, RoleStatus, UnknownRoles
from domain.sessions import InvalidCredentials, InvalidToken, SessionId, SessionNotFound
from tests.support.builders import a_role, a_user
from tests.support.world import LAPTOP, PASSWORD, PHONE, World

READ, WRITE = "GET:/notes", "PUT:/notes"
NO_USER = UserId(UUID(int=0))
NO_SESSION = SessionId(UUID(int=0))


async def logged_in(world: World, user: User, *roles: Role) -> Caller:
    await world.given(user, *roles)
    return (await world.log_in_as(user))[0]


async def an_administrator(world: World) -> Caller:
    return await logged_in(world, a_user(is_admin=True))


def a_draft(
    *roles: str, password: SealedPassword | None = None, is_admin: bool = False
) -> UserDraft:
    return UserDraft(
        username=Username("grace.hopper"),
        email=Email("grace@example.org"),
        name=PersonName("Grace Hopper"),
        password=password,
        roles=frozenset(map(RoleCode, roles)),
        is_admin=is_admin,
    )


# --- making users -------------------------------------------------------------------------------


async def test_a_user_who_is_made_without_a_password_gets_a_one_time_password(world: World) -> None:
    await world.given_role(a_role(code="editor"))
    caller = await an_administrator(world)

    made = await world.container.create_user()(caller, a_draft("editor"))

    assert made.one_time_password is not None
    assert world.roles_of(made.user) == {"editor"}
    logged_in = await world.log_in("grace.hopper", made.one_time_password)
    assert [role.code.value for role in logged_in.roles] == ["editor"]
    with pytest.raises(PasswordChangeRequired):
        await world.authenticate(logged_in.tokens)


async def test_a_user_who_is_made_with_a_password_uses_it(world: World) -> None:
    caller = await an_administrator(world)

    made = await world.container.create_user()(caller, a_draft(password=world.seal(PASSWORD)))

    assert made.one_time_password is None
    await world.authenticate((await world.log_in("grace.hopper")).tokens)


async def test_the_creator_of_a_user_is_recorded_and_the_password_is_not(world: World) -> None:
    caller = await an_administrator(world)

    made = await world.container.create_user()(caller, a_draft())

    entry = world.audit_entries()[-1]
    assert (entry.action, entry.actor, entry.target) == (
        "users.created",
        caller.user_id,
        f"user:{made.user.id}",
    )
    assert (entry.address, entry.agent) == (LAPTOP.address, LAPTOP.agent)
    assert str(made.one_time_password) not in repr(entry)


async def test_a_user_is_not_made_with_a_bad_password(world: World) -> None:
    caller = await an_administrator(world)
    create = world.container.create_user()

    with pytest.raises(PasswordRejected):
        await create(caller, a_draft(password=world.seal("grace.hopper1")))
    with pytest.raises(UnreadablePassword):
        await create(caller, a_draft(password=SealedPassword("garbage")))
    assert world.store.users.keys() == {caller.user_id}


async def test_a_user_is_not_made_with_roles_that_do_not_exist(world: World) -> None:
    caller = await an_administrator(world)

    with pytest.raises(UnknownRoles) as error:
        await world.container.create_user()(caller, a_draft("editor", "admin"))

    assert error.value.unknown == ("admin", "editor")
    assert world.store.users.keys() == {caller.user_id}


@pytest.mark.parametrize(
    ("present", "error"),
    [
        (a_user(username="GRACE.hopper"), UsernameTaken),
        (a_user(email="GRACE@example.org"), EmailTaken),
    ],
)
async def test_names_and_addresses_are_taken_in_any_case(
    world: World, present: User, error: type[Exception]
) -> None:
    await world.given(present)
    caller = await an_administrator(world)

    with pytest.raises(error):
        await world.container.create_user()(caller, a_draft())


async def test_users_cannot_create_a_user_who_may_do_more(world: World) -> None:
    await world.given_role(a_role(WRITE, code="editor"))
    await world.given_role(a_role(READ, code="reader"))
    caller = await logged_in(world, a_user(), a_role("GET:**"))
    create = world.container.create_user()

    with pytest.raises(BeyondOwnAccess):
        await create(caller, a_draft("editor"))
    with pytest.raises(BeyondOwnAccess):
        await create(caller, a_draft(is_admin=True))
    made = await create(caller, a_draft("reader"))
    assert world.roles_of(made.user) == {"reader"}


# --- changing users -----------------------------------------------------------------------------


async def test_a_change_changes_the_named_fields_and_records_the_difference(world: World) -> None:
    ada = await world.given(a_user(username="ada.lovelace"))
    caller = await an_administrator(world)
    await world.pass_time(hours=1)

    changed = await world.container.change_user()(
        caller, ada.id, UserChange(name=PersonName("Ada King"), status=UserStatus.DISABLED)
    )

    stored = world.stored(ada)
    assert stored == changed.user
    assert (stored.name, stored.status) == (PersonName("Ada King"), UserStatus.DISABLED)
    assert (stored.username, stored.email) == (ada.username, ada.email)
    assert stored.updated_at == world.clock.now()
    assert world.audit_entries()[-1].details == {
        "name": {"from": ada.name.value, "to": "Ada King"},
        "status": {"from": "active", "to": "disabled"},
    }


async def test_a_change_that_changes_nothing_leaves_no_entry_and_moves_nothing(
    world: World,
) -> None:
    ada = await world.given(a_user(), a_role(READ, code="reader"))
    session = (await world.log_in_as(ada))[0].session_id
    caller = await an_administrator(world)
    versions = world.container.access_versions()
    stored, recorded = world.stored(ada), world.audit_entries()
    before = await versions.fetch(ada.id, session)
    await world.pass_time(seconds=1)

    same = UserChange(
        username=ada.username,
        email=ada.email,
        name=ada.name,
        status=UserStatus.ACTIVE,
        is_admin=False,
        roles=frozenset({RoleCode("reader")}),
    )
    for change in (UserChange(), same):
        changed = await world.container.change_user()(caller, ada.id, change)
        assert changed.user == stored
        assert [role.code.value for role in changed.roles] == ["reader"]

    assert world.stored(ada) == stored
    assert world.audit_entries() == recorded
    assert await versions.fetch(ada.id, session) == before


async def test_a_user_who_is_disabled_loses_every_session_and_cannot_log_in(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada)
    caller = await an_administrator(world)

    await world.container.change_user()(caller, ada.id, UserChange(status=UserStatus.DISABLED))

    assert await world.sessions(ada) == []
    for attempt in (world.authenticate(tokens), world.refresh(tokens)):
        with pytest.raises(InvalidToken):
            await attempt
    with pytest.raises(InvalidCredentials):
        await world.log_in(ada.username.value)

    await world.container.change_user()(caller, ada.id, UserChange(status=UserStatus.ACTIVE))
    await world.log_in(ada.username.value)


async def test_roles_are_given_and_taken(world: World) -> None:
    ada = await world.given(a_user(), a_role(READ, code="reader"))
    await world.given_role(a_role(WRITE, code="editor"))
    _, tokens = await world.log_in_as(ada)
    caller = await an_administrator(world)

    await world.container.change_user()(
        caller, ada.id, UserChange(roles=frozenset({RoleCode("editor")}))
    )

    assert world.roles_of(ada) == {"editor"}
    await world.authenticate(tokens, permission=WRITE)
    assert world.audit_entries()[-1].details == {"roles": {"from": ["reader"], "to": ["editor"]}}


async def test_users_cannot_change_their_own_roles(world: World) -> None:
    await world.given_role(a_role(code="editor"))
    caller = await an_administrator(world)
    change = world.container.change_user()

    with pytest.raises(OwnAccessChange):
        await change(caller, caller.user_id, UserChange(roles=frozenset({RoleCode("editor")})))

    await change(caller, caller.user_id, UserChange(roles=frozenset(), name=PersonName("Ada")))
    assert world.store.users[caller.user_id].name == PersonName("Ada")


async def test_users_cannot_give_a_role_whose_permissions_they_do_not_hold(world: World) -> None:
    ada = await world.given(a_user())
    await world.given_role(a_role(WRITE, code="editor"))
    caller = await logged_in(world, a_user(), a_role(READ))

    with pytest.raises(BeyondOwnAccess) as error:
        await world.container.change_user()(
            caller, ada.id, UserChange(roles=frozenset({RoleCode("editor")}))
        )
    assert error.value.beyond == (WRITE,)
    assert world.roles_of(ada) == set()


async def test_only_administrators_make_administrators(world: World) -> None:
    ada = await world.given(a_user())
    change = world.container.change_user()

    with pytest.raises(BeyondOwnAccess):
        await change(
            await logged_in(world, a_user(), a_role("*:**")), ada.id, UserChange(is_admin=True)
        )
    await change(await an_administrator(world), ada.id, UserChange(is_admin=True))
    assert world.stored(ada).is_admin


async def test_users_cannot_change_a_user_who_may_do_more(world: World) -> None:
    """Who resets a password can log in with it; who changes an email could have it reset."""
    administrator = await world.given(a_user(is_admin=True))
    editor = await world.given(a_user(), a_role(WRITE))
    caller = await logged_in(world, a_user(), a_role(READ, "*:/users/**"))
    container = world.container

    for target in (administrator, editor):
        for attempt in (
            container.change_user()(caller, target.id, UserChange(email=Email("me@evil.example"))),
            container.reset_password()(caller, target.id),
            container.delete_user()(caller, target.id),
            container.end_user_sessions()(caller, target.id),
            container.list_user_sessions()(caller, target.id),
            container.change_user()(caller, target.id, UserChange()),
        ):
            with pytest.raises(BeyondOwnAccess):
                await attempt
        assert world.stored(target) == target


async def test_users_cannot_change_a_user_who_has_another_button_or_router(
    world: World,
) -> None:
    caller = await logged_in(world, a_user(), a_role("*:**", buttons=frozenset("b")))
    for more in (
        a_role(buttons=frozenset("bc")),
        a_role(routers=frozenset({"/users"}), status=RoleStatus.DISABLED),
    ):
        target = await world.given(a_user(), more)
        with pytest.raises(BeyondOwnAccess):
            await world.container.reset_password()(caller, target.id)


async def test_grants_of_a_disabled_role_count_when_its_user_is_managed(
    world: World,
) -> None:
    """Otherwise a password is reset today, and the session has what the role gives once it is enabled again."""
    ada = await world.given(a_user(), a_role(WRITE, status=RoleStatus.DISABLED))
    caller = await logged_in(world, a_user(), a_role(READ))

    for attempt in (
        world.container.change_user()(caller, ada.id, UserChange(name=PersonName("Ada King"))),
        world.container.reset_password()(caller, ada.id),
    ):
        with pytest.raises(BeyondOwnAccess):
            await attempt

    assert world.stored(ada).name == ada.name


async def test_users_cannot_reset_their_own_password(world: World) -> None:
    """A stolen session would become an account: the change of password asks for the old one."""
    caller = await an_administrator(world)

    with pytest.raises(OwnAccessChange):
        await world.container.reset_password()(caller, caller.user_id)


# --- the last administrator ---------------------------------------------------------------------


async def test_the_last_active_administrator_cannot_be_removed_in_any_way(world: World) -> None:
    await world.given(a_user(is_admin=True, status=UserStatus.DISABLED))
    caller = await an_administrator(world)

    for attempt in (
        world.container.change_user()(caller, caller.user_id, UserChange(is_admin=False)),
        world.container.change_user()(
            caller, caller.user_id, UserChange(status=UserStatus.DISABLED)
        ),
        world.container.delete_user()(caller, caller.user_id),
    ):
        with pytest.raises(LastAdministrator):
            await attempt

    assert world.store.users[caller.user_id].is_admin
    assert len(await world.container.session_store().of_user(caller.user_id)) == 1


async def test_two_administrators_who_demote_each_other_at_once_leave_one(world: World) -> None:
    ada, ben = await an_administrator(world), await an_administrator(world)
    change = world.container.change_user()

    answers = await asyncio.gather(
        change(ada, ben.user_id, UserChange(is_admin=False)),
        change(ben, ada.user_id, UserChange(status=UserStatus.DISABLED)),
        return_exceptions=True,
    )

    # The second one is no administrator any more when it is decided.
    assert [isinstance(answer, PorticoError) for answer in answers].count(True) == 1
    left = [user for user in world.store.users.values() if user.is_admin and user.is_active]
    assert len(left) == 1


# --- deleting users -----------------------------------------------------------------------------


async def test_a_user_who_is_deleted_is_gone_with_their_sessions_and_roles_and_what_they_did_stays(
    world: World,
) -> None:
    ada = await world.given(a_user(), a_role(code="reader"))
    _, tokens = await world.log_in_as(ada)
    caller = await an_administrator(world)

    await world.container.delete_user()(caller, ada.id)

    assert ada.id not in world.store.users
    assert await world.sessions(ada) == []
    with pytest.raises(InvalidToken):
        await world.authenticate(tokens)
    logged_in, *_, deleted = [
        e for e in world.audit_entries() if ada.id == e.actor or str(ada.id) in e.target
    ]
    assert (logged_in.action, logged_in.actor) == ("sessions.logged_in", ada.id)
    assert (deleted.action, deleted.details["roles"]) == ("users.deleted", ["reader"])


async def test_of_many_who_delete_a_user_at_once_one_does(world: World) -> None:
    ada = await world.given(a_user())
    caller = await an_administrator(world)

    answers = await asyncio.gather(
        *(world.container.delete_user()(caller, ada.id) for _ in range(4)), return_exceptions=True
    )

    assert Counter(map(type, answers)) == {type(None): 1, UserNotFound: 3}


# --- resetting passwords ------------------------------------------------------------------------


async def test_a_reset_gives_a_one_time_password_and_ends_every_session(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada)
    caller = await an_administrator(world)

    reset = await world.container.reset_password()(caller, ada.id)

    assert reset.one_time_password is not None
    assert world.audit_entries()[-1].action == "users.password_reset"
    assert reset.one_time_password not in repr(world.audit_entries())
    with pytest.raises(InvalidToken):
        await world.authenticate(tokens)
    with pytest.raises(InvalidCredentials):
        await world.log_in(ada.username.value)
    logged_in = await world.log_in(ada.username.value, reset.one_time_password)
    with pytest.raises(PasswordChangeRequired):
        await world.authenticate(logged_in.tokens)


End = Callable[[World, Caller, User], Awaitable[object]]

FORGETTING: dict[str, End] = {
    "reset": lambda world, caller, user: world.container.reset_password()(caller, user.id),
    "disabled": lambda world, caller, user: world.container.change_user()(
        caller, user.id, UserChange(status=UserStatus.DISABLED)
    ),
    "deleted": lambda world, caller, user: world.container.delete_user()(caller, user.id),
    "set by the operator": lambda world, _, user: world.container.set_password()(
        user.username.value, Password("another correct horse battery")
    ),
}


@pytest.mark.parametrize("end", FORGETTING.values(), ids=FORGETTING)
async def test_no_device_is_known_any_more_of_a_user_whose_password_or_account_was_taken(
    world: World, end: End
) -> None:
    """Someone who knew the old password would have guesses of their own at the new one."""
    ada, bob = await world.given(a_user()), await world.given(a_user())
    tokens = {
        user.id: (await world.log_in(user.username.value)).device_token for user in (ada, bob)
    }

    await end(world, await an_administrator(world), ada)

    assert not await world.knows(ada, tokens[ada.id])
    assert await world.knows(bob, tokens[bob.id])


# --- sessions of users --------------------------------------------------------------------------


async def test_an_administrator_sees_and_ends_the_sessions_of_a_user(world: World) -> None:
    ada = await world.given(a_user())
    await world.log_in_as(ada, LAPTOP)
    phone, _ = await world.log_in_as(ada, PHONE)
    caller = await an_administrator(world)
    end = world.container.end_user_sessions()

    assert len(await world.container.list_user_sessions()(caller, ada.id)) == 2
    assert await end(caller, ada.id, phone.session_id) == 1
    assert [session.address for session in await world.sessions(ada)] == [LAPTOP.address]
    entry = world.audit_entries()[-1]
    assert (entry.action, entry.actor) == ("sessions.ended", caller.user_id)
    assert (entry.target, entry.details) == (
        f"user:{ada.id}",
        {"session": str(phone.session_id)},
    )

    assert await end(caller, ada.id) == 1
    assert await world.sessions(ada) == []


async def test_a_session_of_another_user_is_not_found_and_nothing_is_recorded(
    world: World,
) -> None:
    ada = await world.given(a_user())
    caller = await an_administrator(world)
    recorded = world.audit_entries()

    for session_id in (NO_SESSION, caller.session_id):
        with pytest.raises(SessionNotFound):
            await world.container.end_user_sessions()(caller, ada.id, session_id)
    await world.authenticate((await world.log_in_as(ada))[1])
    assert [entry.action for entry in world.audit_entries()] == [
        *(entry.action for entry in recorded),
        "sessions.logged_in",
    ]


async def test_nothing_can_be_done_to_a_user_who_is_not_there(world: World) -> None:
    caller = await an_administrator(world)
    container = world.container

    for attempt in (
        container.get_user()(NO_USER),
        container.change_user()(caller, NO_USER, UserChange()),
        container.delete_user()(caller, NO_USER),
        container.reset_password()(caller, NO_USER),
        container.list_user_sessions()(caller, NO_USER),
        container.end_user_sessions()(caller, NO_USER),
    ):
        with pytest.raises(UserNotFound):
            await attempt


# --- reading ------------------------------------------------------------------------------------


async def test_users_are_listed_by_keyword_status_and_role(world: World) -> None:
    editor = a_role(code="editor")
    await world.given(a_user(username="ada.lovelace", name="Ada 100%"), editor)
    await world.given(a_user(username="ben.turing", status=UserStatus.DISABLED), editor)
    await world.given(a_user(username="cleo.noether", email="cleo_n@example.org"))
    list_users = world.container.list_users()

    async def names(which: UserFilter) -> list[str]:
        found = await list_users(which, PageRequest())
        assert found.total == len(found.records)
        return [each.user.username.value.partition(".")[0] for each in found.records]

    assert await names(UserFilter()) == ["ada", "ben", "cleo"]
    assert await names(UserFilter(keyword="TURING")) == ["ben"]
    assert await names(UserFilter(keyword="%")) == ["ada"]
    assert await names(UserFilter(keyword="_")) == ["cleo"]
    assert await names(UserFilter(keyword="\\")) == []
    assert await names(UserFilter(status=UserStatus.DISABLED)) == ["ben"]
    assert await names(UserFilter(role=RoleCode("editor"))) == ["ada", "ben"]
    assert await names(UserFilter(role=RoleCode("nobodys"))) == []
    (ada,) = (await list_users(UserFilter(keyword="ada"), PageRequest())).records
    assert [role.code.value for role in ada.roles] == ["editor"]
