"""Registration, a user's own data, and the first administrator."""

import asyncio
from dataclasses import replace

import pytest

from application.settings import (
    FirstAdministrator,
    Limit,
    PasswordSettings,
    Registration,
    Settings,
    ThrottleSettings,
)
from application.use_cases.caller import ClientInfo
from domain.identity import (
    AdministratorExists,
    Email,
    EmailTaken,
    InvalidUsername,
    Password,
    PasswordRejected,
    PersonName,
    RegistrationClosed,
    UnreadablePassword,
    User,
    Username,
    UsernameTaken,
    UserNotFound,
    UserStatus,
)
from domain.log_in_throttle import Throttled
from domain.password_transport import SealedPassword
from domain.sessions import InvalidToken
from tests.support.builders import a_user
from tests.support.world import IN_MEMORY, LAPTOP, PASSWORD, PHONE, World

OPEN = replace(IN_MEMORY, registration=Registration.OPEN)


async def register(
    world: World,
    *,
    username: str = "ada.lovelace",
    email: str = "ada@example.org",
    password: str | SealedPassword = PASSWORD,
    client: ClientInfo = LAPTOP,
) -> User:
    """Register Ada, or somebody a little like her."""
    return await world.container.register()(
        Username(username),
        Email(email),
        PersonName("Ada Lovelace"),
        world.seal(password) if isinstance(password, str) else password,
        client,
    )


# --- registration -------------------------------------------------------------------------------


async def test_a_person_who_registers_is_an_active_user_without_privileges() -> None:
    world = World(OPEN)

    ada = await register(world)

    stored = world.stored(ada)
    assert (stored.username, stored.email) == (Username("ada.lovelace"), Email("ada@example.org"))
    assert stored.is_active
    assert not stored.is_admin
    assert not stored.must_change_password
    assert stored.created_at == stored.password_changed_at == world.clock.now()
    assert (await world.log_in("ada.lovelace")).user.id == ada.id


async def test_registration_is_closed_unless_it_is_opened(world: World) -> None:
    with pytest.raises(RegistrationClosed):
        await register(world)
    assert world.store.users == {}


async def test_names_and_addresses_are_taken_in_any_case() -> None:
    world = World(OPEN)
    await register(world)

    with pytest.raises(UsernameTaken):
        await register(world, username="ADA.Lovelace", email="other@example.org")
    with pytest.raises(EmailTaken):
        await register(world, username="other", email="ADA@example.org")
    assert len(world.store.users) == 1


async def test_of_many_who_want_one_name_at_once_one_gets_it() -> None:
    world = World(OPEN)

    answers = await asyncio.gather(
        *(register(world, email=f"ada-{number}@example.org") for number in range(5)),
        return_exceptions=True,
    )

    assert [type(answer) for answer in answers].count(User) == 1
    assert len(world.store.users) == 1


async def test_a_password_that_does_not_open_is_said_to_be_unreadable() -> None:
    world = World(OPEN)
    with pytest.raises(UnreadablePassword) as error:
        await register(world, password=SealedPassword("garbage"))
    assert error.value.field == "password"


@pytest.mark.parametrize(
    ("password", "rule"),
    [("short", "too_short"), ("password1234", "too_common"), ("ada@example.org", "too_similar")],
)
async def test_a_bad_password_makes_no_account(password: str, rule: str) -> None:
    world = World(OPEN)
    with pytest.raises(PasswordRejected) as error:
        await register(world, password=password)

    assert error.value.rule == rule
    assert world.store.users == {}


async def test_one_address_registers_only_so_often() -> None:
    world = World(replace(OPEN, throttle=ThrottleSettings(public=Limit(2, 60))))
    for number in range(2):
        await register(world, username=f"ada-{number}", email=f"ada-{number}@example.org")

    with pytest.raises(Throttled):
        await register(world, username="ada-3", email="ada-3@example.org")
    await register(world, client=PHONE)


# --- a user's own data --------------------------------------------------------------------------


async def test_a_user_changes_their_name_and_their_email(world: World) -> None:
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)
    await world.pass_time(hours=1)
    update = world.container.update_profile()

    await update(caller, name=PersonName("Ada King"), email=None)
    await world.pass_time(hours=1)
    changed = await update(caller, name=None, email=Email("king@example.org"))

    assert world.stored(ada) == changed.user
    assert (changed.user.name, changed.user.email) == (
        PersonName("Ada King"),
        Email("king@example.org"),
    )
    assert changed.user.updated_at == world.clock.now()


async def test_a_user_cannot_take_the_email_of_another(world: World) -> None:
    await world.given(a_user(email="bob@example.org"))
    ada = await world.given(a_user(email="ada@example.org"))
    caller, _ = await world.log_in_as(ada)

    with pytest.raises(EmailTaken):
        await world.container.update_profile()(
            caller, name=PersonName("Ada King"), email=Email("BOB@example.org")
        )

    assert world.stored(ada).email == Email("ada@example.org")
    assert world.stored(ada).name == ada.name


async def test_a_user_may_write_their_own_address_differently(world: World) -> None:
    ada = await world.given(a_user(email="ada@example.org"))
    caller, _ = await world.log_in_as(ada)

    await world.container.update_profile()(caller, name=None, email=Email("Ada@Example.org"))

    assert world.stored(ada).email.value == "Ada@Example.org"


async def test_a_caller_who_is_deleted_meanwhile_is_refused(world: World) -> None:
    caller, _ = await world.log_in_as(await world.given(a_user()))
    world.store.users.clear()

    for attempt in (
        world.container.get_profile()(caller),
        world.container.update_profile()(caller, name=PersonName("Ada King"), email=None),
        world.change_password(caller, PASSWORD, PASSWORD),
    ):
        with pytest.raises(InvalidToken):
            await attempt


# --- the first administrator --------------------------------------------------------------------


async def test_the_first_administrator_gets_a_one_time_password(world: World) -> None:
    made = await world.container.create_first_administrator()(FirstAdministrator())

    assert made.one_time_password is not None
    assert made.user.is_admin
    logged_in = await world.log_in("admin", made.one_time_password)
    assert logged_in.user.must_change_password


async def test_an_operator_may_choose_the_password_of_the_first_administrator(
    world: World,
) -> None:
    wanted = FirstAdministrator(username="operator", password=PASSWORD)

    made = await world.container.create_first_administrator()(wanted)

    assert made.one_time_password is None
    assert not (await world.log_in("operator")).user.must_change_password


async def test_a_one_time_password_is_not_measured_by_the_policy() -> None:
    """The policy is for what people think up; a random one is strong at any length."""
    long = PasswordSettings(password_min_length=64)
    world = World(replace(IN_MEMORY, passwords=long))

    made = await world.container.create_first_administrator()(FirstAdministrator())

    assert made.one_time_password is not None


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (FirstAdministrator(password="changeme"), PasswordRejected),
        (FirstAdministrator(password=""), PasswordRejected),
        (FirstAdministrator(username="r"), InvalidUsername),
    ],
)
async def test_the_password_that_an_operator_chooses_must_be_strong(
    world: World, wanted: FirstAdministrator, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await world.container.create_first_administrator()(wanted)
    assert world.store.users == {}


async def test_there_is_one_first_administrator(world: World) -> None:
    create = world.container.create_first_administrator()
    await create(FirstAdministrator())

    with pytest.raises(AdministratorExists):
        await create(FirstAdministrator(username="another", email="another@example.org"))


async def test_of_two_processes_that_start_at_once_one_makes_the_administrator(
    world: World,
) -> None:
    create = world.container.create_first_administrator()

    answers = await asyncio.gather(
        *(
            create(FirstAdministrator(username=f"admin-{n}", email=f"admin-{n}@example.org"))
            for n in range(3)
        ),
        return_exceptions=True,
    )

    assert sum(isinstance(answer, AdministratorExists) for answer in answers) == 2
    assert len(world.store.users) == 1


async def test_a_disabled_administrator_is_no_administrator(world: World) -> None:
    await world.given(a_user(is_admin=True, status=UserStatus.DISABLED))

    made = await world.container.create_first_administrator()(FirstAdministrator())

    assert made.user.is_admin


async def test_the_name_of_the_first_administrator_may_be_taken_by_another_user(
    world: World,
) -> None:
    await world.given(a_user(username="admin"))

    with pytest.raises(UsernameTaken):
        await world.container.create_first_administrator()(FirstAdministrator())


def test_the_password_of_the_first_administrator_is_shown_by_nothing() -> None:
    settings = Settings(first_administrator=FirstAdministrator(password="hunter2"))
    assert "hunter2" not in repr(settings)


# --- the operator sets a password -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["grace.hopper", "GRACE@example.org"])
async def test_the_operator_sets_the_password_of_who_has_lost_theirs(
    world: World, name: str
) -> None:
    grace = await world.given(
        a_user(
            username="grace.hopper",
            email="grace@example.org",
            is_admin=True,
            must_change_password=True,
        )
    )
    await world.log_in("grace.hopper")

    await world.container.set_password()(name, Password("purple elephants at noon"))

    assert await world.sessions(grace) == []
    assert (await world.log_in("grace.hopper", "purple elephants at noon")).user.id == grace.id
    assert not world.stored(grace).must_change_password
    assert "users.password_set" in {
        entry.action for entry in world.audit_entries() if entry.target == f"user:{grace.id}"
    }


async def test_a_password_that_is_set_must_be_good(world: World) -> None:
    grace = await world.given(a_user(username="grace.hopper"))

    with pytest.raises(PasswordRejected):
        await world.container.set_password()("grace.hopper", Password("grace.hopper1"))

    assert (await world.log_in("grace.hopper")).user.id == grace.id


async def test_an_unknown_name_gets_no_password(world: World) -> None:
    with pytest.raises(UserNotFound, match="no user grace"):
        await world.container.set_password()("grace.hopper", Password("purple elephants at noon"))
