"""What `UserRepository` and `UnitOfWork` promise, kept by memory and by PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from domain.audit_log import AuditEntry
from domain.errors import Conflict
from domain.identity import (
    Email,
    EmailTaken,
    PersonName,
    User,
    UserId,
    Username,
    UsernameTaken,
    UserNotFound,
    UserStatus,
)
from domain.roles import RoleStatus
from tests.support.builders import A_MOMENT, UserChanges, a_role, a_user, an_audit_entry
from tests.support.given import given
from tests.support.waiting import waits

LATER = A_MOMENT + timedelta(days=1, microseconds=1)
NO_USER = UserId(UUID(int=0))


async def stored(uow: UnitOfWorkFactory, user_id: UserId) -> User | None:
    async with uow() as work:
        return await work.users.find(user_id)


# --- what is stored ---


async def test_a_user_is_found_exactly_as_stored(uow: UnitOfWorkFactory) -> None:
    user = a_user(
        username="Grace.Hopper",
        email="Grace.Hopper@Example.org",
        name="Dr. Grace 🚀 O'Hopper\u200d, “née” Murray; 100 % _x_",
        status=UserStatus.DISABLED,
        is_admin=True,
        must_change_password=True,
        created_at=A_MOMENT,
        updated_at=A_MOMENT + timedelta(microseconds=1),
        password_changed_at=A_MOMENT + timedelta(microseconds=2),
        sessions_ended_at=A_MOMENT + timedelta(microseconds=4),
        one_time_until=A_MOMENT + timedelta(microseconds=5),
        last_login_at=A_MOMENT + timedelta(microseconds=3),
    )
    await given(uow, user)

    assert await stored(uow, user.id) == user


async def test_an_instant_of_any_offset_comes_back_aware(uow: UnitOfWorkFactory) -> None:
    tokyo = datetime(2026, 3, 1, 21, 0, tzinfo=timezone(timedelta(hours=9)))
    user = a_user(created_at=tokyo)
    await given(uow, user)

    found = await stored(uow, user.id)

    assert found is not None
    assert found.created_at == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert found.last_login_at is None


async def test_an_unknown_id_finds_no_user(uow: UnitOfWorkFactory) -> None:
    await given(uow, a_user())

    assert await stored(uow, NO_USER) is None


async def test_saving_stores_every_field(uow: UnitOfWorkFactory) -> None:
    user = a_user()
    await given(uow, user)
    changed = a_user(
        id=user.id,
        status=UserStatus.DISABLED,
        is_admin=True,
        must_change_password=True,
        created_at=LATER,
        updated_at=LATER,
        password_changed_at=LATER,
        sessions_ended_at=LATER,
        last_login_at=LATER,
    )

    async with uow() as work:
        await work.users.lock(user.id)
        await work.users.save(changed)
        await work.commit()

    assert await stored(uow, user.id) == changed


async def test_a_user_who_does_not_exist_can_be_neither_locked_nor_saved(
    uow: UnitOfWorkFactory,
) -> None:
    user = a_user()
    async with uow() as work:
        with pytest.raises(UserNotFound) as unknown:
            await work.users.lock(user.id)
        assert unknown.value.user == user.id
        with pytest.raises(UserNotFound):
            await work.users.save(user)
        await work.commit()

    assert await stored(uow, user.id) is None


async def test_changing_an_object_changes_nothing_in_the_store(uow: UnitOfWorkFactory) -> None:
    """What goes in and what comes out are copies."""
    user = a_user(name="Ada Lovelace")
    as_stored = replace(user)
    async with uow() as work:
        await work.users.add(user)
        user.name = PersonName("Changed after add")
        for read in (work.users.find, work.users.lock):
            found = await read(user.id)
            assert found == as_stored
            found.name = PersonName("Changed after reading")
        await work.users.save(as_stored)
        as_stored.name = PersonName("Changed after save")
        await work.commit()

    found = await stored(uow, user.id)
    assert found is not None
    assert found.name.value == "Ada Lovelace"
    found.name = PersonName("Changed afterwards")
    again = await stored(uow, user.id)
    assert again is not None
    assert again.name.value == "Ada Lovelace"


# --- units of work ---


async def test_uncommitted_changes_are_not_stored(uow: UnitOfWorkFactory) -> None:
    """Leaving the block without `commit` undoes everything."""
    ada, grace = a_user(), a_user(name="Grace")
    await given(uow, grace)
    async with uow() as work:
        await work.users.add(ada)
        renamed = await work.users.lock(grace.id)
        renamed.rename(PersonName("Admiral"), at=LATER)
        await work.users.save(renamed)

    assert await stored(uow, ada.id) is None
    assert await stored(uow, grace.id) == grace


async def test_an_error_undoes_everything_and_is_passed_on(uow: UnitOfWorkFactory) -> None:
    user = a_user()

    async def fail() -> None:
        async with uow() as work:
            await work.users.add(user)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()

    assert await stored(uow, user.id) is None


async def test_uncommitted_changes_are_invisible_to_others(uow: UnitOfWorkFactory) -> None:
    user = a_user(username="lovelace", is_admin=True)
    async with uow() as work, uow() as other:
        await work.users.add(user)

        assert await work.users.find(user.id) == user
        assert await work.users.find_by_login("lovelace") == user
        assert await work.users.has_active_administrator()
        assert await other.users.find(user.id) is None
        assert await other.users.find_by_login("lovelace") is None
        assert not await other.users.has_active_administrator()

        await work.commit()

        assert await other.users.find(user.id) == user
        assert await other.users.find_by_login("lovelace") == user
        assert await other.users.has_active_administrator()


async def test_a_unit_of_work_that_only_reads_may_commit(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        await work.users.find(NO_USER)
        await work.commit()


# --- names that are taken ---

SAME_USERNAME = [
    ("lovelace", "LoveLace"),
    ("straße", "STRASSE"),
    ("ﬁnance", "finance"),
    ("\uff46\uff55\uff4c\uff4c-width", "full-width"),
    ("jose\u0301-m", "JOSÉ-M"),
    ("οδυσσεύς", "ΟΔΥΣΣΕΎΣ"),
    ("admin", "adm\u0131n"),
    ("lovelace", "1ovelace"),
    ("\u0441\u043e\u0440\u0443", "copy"),
]
SAME_EMAIL = [
    ("ada@example.org", "ADA@Example.ORG"),
    ("jose\u0301@example.org", "José@example.org"),
    ("ada@straße.example", "ada@STRASSE.example"),
    ("ada@münchen.example", "ada@xn--mnchen-3ya.example"),
]


@pytest.mark.parametrize(("first", "second"), SAME_USERNAME)
async def test_a_username_is_taken_in_every_way_of_writing_it(
    uow: UnitOfWorkFactory, first: str, second: str
) -> None:
    user, same_name, other = a_user(username=first), a_user(username=second), a_user()
    await given(uow, user, other)

    with pytest.raises(UsernameTaken) as refusal:
        await given(uow, same_name)
    assert refusal.value.username == same_name.username

    other.username = Username(second)
    with pytest.raises(UsernameTaken):
        await change(uow, other)

    assert await stored(uow, same_name.id) is None


@pytest.mark.parametrize(("first", "second"), SAME_EMAIL)
async def test_an_email_is_taken_in_every_way_of_writing_it(
    uow: UnitOfWorkFactory, first: str, second: str
) -> None:
    user, same_email, other = a_user(email=first), a_user(email=second), a_user()
    await given(uow, user, other)

    with pytest.raises(EmailTaken) as refusal:
        await given(uow, same_email)
    assert refusal.value.email == same_email.email

    other.email = Email(second)
    with pytest.raises(EmailTaken):
        await change(uow, other)

    assert await stored(uow, same_email.id) is None


async def change(uow: UnitOfWorkFactory, user: User) -> None:
    async with uow() as work:
        await work.users.lock(user.id)
        await work.users.save(user)
        await work.commit()


async def test_a_user_may_write_their_own_names_another_way(uow: UnitOfWorkFactory) -> None:
    user = a_user(username="lovelace", email="ada@example.org")
    await given(uow, user)
    user.username, user.email = Username("Lovelace"), Email("Ada@example.org")

    await change(uow, user)

    assert await stored(uow, user.id) == user


async def test_a_name_that_is_no_longer_used_can_be_taken(uow: UnitOfWorkFactory) -> None:
    user = a_user(email="ada@example.org")
    await given(uow, user)
    user.change_email(Email("countess@example.org"), at=LATER)
    await change(uow, user)

    await given(uow, a_user(email="ada@example.org"))


async def test_a_unit_of_work_that_met_a_conflict_is_over(uow: UnitOfWorkFactory) -> None:
    """Even if somebody catches the conflict: the next call raises it again, and nothing is stored."""
    taken, welcome = a_user(username="lovelace"), a_user()
    await given(uow, taken)
    async with uow() as work:
        await work.users.add(welcome)
        with pytest.raises(UsernameTaken):
            await work.users.add(a_user(username="lovelace"))
        with pytest.raises(UsernameTaken):
            await work.users.find(taken.id)
        with pytest.raises(UsernameTaken):
            await work.users.lock(taken.id)
        with pytest.raises(UsernameTaken):
            await work.users.add(a_user())
        with pytest.raises(UsernameTaken):
            await work.commit()

    assert await stored(uow, welcome.id) is None


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        *((a_user(username=a), a_user(username=b), UsernameTaken) for a, b in SAME_USERNAME),
        *((a_user(email=a), a_user(email=b), EmailTaken) for a, b in SAME_EMAIL),
    ],
)
async def test_of_two_who_take_a_name_at_the_same_moment_one_gets_it(
    uow: UnitOfWorkFactory, first: User, second: User, error: type[Conflict]
) -> None:

    async def register(user: User) -> None:
        async with uow() as work:
            await work.users.add(user)
            await asyncio.sleep(0)  # gives the other one their chance
            await work.commit()

    results = await asyncio.gather(register(first), register(second), return_exceptions=True)

    assert {type(result) for result in results} == {type(None), error}
    there = [user for user in (first, second) if await stored(uow, user.id)]
    assert [
        user for user, result in zip((first, second), results, strict=True) if not result
    ] == there


async def test_a_name_is_free_again_when_its_transaction_is_rolled_back(
    uow: UnitOfWorkFactory,
) -> None:
    first, second = a_user(username="lovelace"), a_user(username="LOVELACE")
    async with uow() as work:
        await work.users.add(first)
        waiting = asyncio.create_task(given(uow, second))
        await waits(waiting)
    await waiting

    assert await stored(uow, first.id) is None
    assert await stored(uow, second.id) == second


# --- finding the user of a log-in ---


@pytest.mark.parametrize(
    "name",
    [
        "José.Müller",
        "josé.müller",
        "JOSÉ.MÜLLER",
        "jose\u0301.mu\u0308ller",
        "  José.Müller\n",
        "jose@example.org",
        "Jose@EXAMPLE.org",
        "\tjose@example.org ",
    ],
)
async def test_a_user_is_found_by_username_or_email_however_it_is_written(
    uow: UnitOfWorkFactory, name: str
) -> None:
    user = a_user(username="José.Müller", email="jose@example.org")
    await given(uow, user, a_user(), a_user())

    async with uow() as work:
        assert await work.users.find_by_login(name) == user
        found = await work.users.find_account(name)
        assert (found.user_id, found.user()) == (user.id, user)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "lovelac",
        "lovelacee",
        "love lace",
        "%",
        "lovelac%",
        "l_velace",
        "lovelace' OR '1'='1",
        "lovelace\\",
        "ada@example",
        "@example.org",
        "ada@example.org@example.org",
        "lovelace\0",
        "\0\0\0\0\0\0",
        "ada\0@example.org",
        "\ud800lovelace",
        "lovelace\udfff",
        "😀" * 5,
        "👩‍🚀🏳️‍🌈🇺🇳👩‍🚀🏳️‍🌈",
        "a" * 101,
        "a" * 1_000_000,
        "a" * 1_000_000 + "@example.org",
        "\u0301\u0323" * 500_000,
        "\ufdfa" * 100,
    ],
    ids=lambda name: f"{len(name)} characters: {name[:9]!a}",
)
async def test_an_unknown_name_finds_no_user(uow: UnitOfWorkFactory, name: str) -> None:
    """And no text is an error: for any text, the answer is that no user has that name."""
    await given(uow, a_user(username="lovelace", email="ada@example.org"))

    async with uow() as work:
        assert await work.users.find_by_login(name) is None
        found = await work.users.find_account(name)
        assert (found.user_id, found.user()) == (None, None)


async def test_the_longest_names_are_found(uow: UnitOfWorkFactory) -> None:
    """Folding makes some characters many: `㍇` is five."""
    username = "\ufb03" * 33  # `ﬃ`, three letters each
    email = "㍇" * 64 + "@" + "㍇" * 180 + ".example"
    user = a_user(username=username, email=email)
    await given(uow, user)

    async with uow() as work:
        assert await work.users.find_by_login(username.upper()) == user
        assert await work.users.find_by_login(email) == user


# --- locks ---


async def test_of_those_who_lock_a_user_each_sees_what_the_one_before_did(
    uow: UnitOfWorkFactory,
) -> None:
    user = a_user(name="0 changes")
    await given(uow, user)

    async def count() -> None:
        async with uow() as work:
            locked = await work.users.lock(user.id)
            await asyncio.sleep(0)  # gives the others their chance
            number = int(locked.name.value.split()[0])
            locked.rename(PersonName(f"{number + 1} changes"), at=LATER)
            await work.users.save(locked)
            await work.commit()

    await asyncio.gather(*(count() for _ in range(20)))

    changed = await stored(uow, user.id)
    assert changed is not None
    assert changed.name.value == "20 changes"


async def lock(work: UnitOfWork, user: User) -> object:
    return await work.users.lock(user.id)


async def save(work: UnitOfWork, user: User) -> object:
    await work.users.save(user)
    return user


async def record_login(work: UnitOfWork, user: User) -> object:
    return await work.users.record_login(user, rehashed=None, at=LATER, entry=an_audit_entry())


@pytest.mark.parametrize("access", [lock, save, record_login])
@pytest.mark.parametrize("end", ["commit", "undo"])
async def test_a_locked_user_is_not_changed_by_others_until_the_unit_of_work_ends(
    uow: UnitOfWorkFactory, access: Callable[[UnitOfWork, User], Awaitable[object]], end: str
) -> None:
    user = a_user()
    await given(uow, user)

    async def touch() -> None:
        async with uow() as work:
            await access(work, user)
            await work.commit()

    async with uow() as work:
        await work.users.lock(user.id)
        await work.users.lock(user.id)  # one's own lock is no obstacle
        touching = asyncio.create_task(touch())
        assert await waits(touching)
        if end == "commit":
            await work.commit()
    await touching


async def test_a_locked_user_can_be_read_and_others_can_be_locked(uow: UnitOfWorkFactory) -> None:
    user, other = a_user(username="lovelace"), a_user()
    await given(uow, user, other)

    async with uow() as holder, uow() as work:
        await holder.users.lock(user.id)

        assert await work.users.find(user.id) == user
        assert await work.users.find_by_login("lovelace") == user
        assert await work.users.lock(other.id) == other


async def test_a_cancelled_wait_for_a_lock_holds_up_no_other(uow: UnitOfWorkFactory) -> None:
    user = a_user()
    await given(uow, user)

    async def wait_for_lock() -> None:
        async with uow() as work:
            await work.users.lock(user.id)

    async with uow() as holder:
        await holder.users.lock(user.id)
        waiting = [asyncio.create_task(wait_for_lock()) for _ in range(3)]
        assert await waits(waiting[0])
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
    await asyncio.gather(*waiting[1:])
    await wait_for_lock()


async def test_administrators_are_changed_by_one_unit_of_work_at_a_time(
    uow: UnitOfWorkFactory,
) -> None:
    """So that of many who find no administrator one makes the first."""

    async def make_first_administrator() -> bool:
        async with uow() as work:
            await work.roles.lock_access(to_change=True)
            if await work.users.has_active_administrator():
                return False
            await asyncio.sleep(0)  # gives the others their chance
            await work.users.add(a_user(is_admin=True))
            await work.commit()
            return True

    made = await asyncio.gather(*(make_first_administrator() for _ in range(10)))

    assert made.count(True) == 1


# --- log-ins ---


async def test_a_login_is_recorded_and_changes_nothing_else(uow: UnitOfWorkFactory) -> None:
    user, other = a_user(), a_user()
    await given(uow, user, other)

    async with uow() as work:
        assert await record_login(work, user) == []
        await work.commit()

    assert await stored(uow, user.id) == replace(user, last_login_at=LATER)
    assert await stored(uow, other.id) == other


async def test_a_login_returns_the_roles_of_the_user_ordered_by_code(
    uow: UnitOfWorkFactory,
) -> None:
    user, other = a_user(), a_user()
    second, first = (
        a_role("GET:/b", code="second"),
        a_role(code="first", status=RoleStatus.DISABLED),
    )
    await given(uow, user, other)
    async with uow() as work:
        for role in (second, first):
            await work.roles.add(role)
        await work.roles.assign(user.id, [second.id, first.id])
        await work.roles.assign(other.id, [second.id])
        await work.commit()

    async with uow() as work:
        assert await record_login(work, user) == [first, second]
        assert len(await work.outbox.take(10)) == 1


async def test_a_login_may_renew_the_hash(uow: UnitOfWorkFactory) -> None:
    user = a_user()
    await given(uow, user)

    async with uow() as work:
        roles = await work.users.record_login(
            user, rehashed="$argon2id$new", at=LATER, entry=an_audit_entry()
        )
        assert roles == []
        await work.commit()

    assert await stored(uow, user.id) == replace(
        user, last_login_at=LATER, password_hash="$argon2id$new"
    )


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ({}, {"password_hash": "$argon2id$another"}),
        ({}, {"status": UserStatus.DISABLED}),
        ({}, {"sessions_ended_at": A_MOMENT}),
        ({"sessions_ended_at": A_MOMENT}, {"sessions_ended_at": LATER}),
        ({}, {"must_change_password": True}),
        ({}, {"must_change_password": True, "one_time_until": LATER}),
    ],
    ids=[
        "other password",
        "disabled",
        "sessions ended for the first time",
        "sessions ended again",
        "one-time password used",
        "one-time password expired",
    ],
)
async def test_a_login_with_what_is_no_longer_true_changes_nothing(
    uow: UnitOfWorkFactory, before: UserChanges, change: UserChanges
) -> None:
    verified = a_user(**before)
    user = replace(verified, **change)
    await given(uow, user)

    async with uow() as work:
        roles = await work.users.record_login(
            verified, rehashed="$argon2id$new", at=LATER, entry=an_audit_entry()
        )
        assert roles is None
        await work.commit()

    assert await stored(uow, user.id) == user


async def test_a_one_time_password_is_used_up_by_the_first_login(uow: UnitOfWorkFactory) -> None:
    """Of many at once, too, with any clocks on their hosts."""
    user = a_user(must_change_password=True)
    await given(uow, user)

    async def log_in(seconds: int) -> bool:
        async with uow() as work:
            at = A_MOMENT + timedelta(seconds=seconds)
            roles = await work.users.record_login(
                user, rehashed=None, at=at, entry=an_audit_entry()
            )
            await work.commit()
            return roles is not None

    answers = await asyncio.gather(*(log_in(20 * n) for n in range(-4, 4)))

    assert answers.count(True) == 1
    after = await stored(uow, user.id)
    assert after is not None
    assert after.must_change_password
    assert not after.password_logs_in(at=A_MOMENT)


async def entries(uow: UnitOfWorkFactory) -> list[AuditEntry]:
    async with uow() as work:
        return list(await work.outbox.take(10))


async def test_a_login_and_its_audit_entry_are_recorded_together_or_not_at_all(
    uow: UnitOfWorkFactory,
) -> None:
    user, entry = a_user(), an_audit_entry(details={"a": [1, "\u00e9"]}, agent="Firefox")
    await given(uow, user)
    wrong = replace(user, password_hash="$argon2id$other")
    for verified, commits in ((wrong, True), (user, False)):
        async with uow() as work:
            await work.users.record_login(verified, rehashed=None, at=LATER, entry=entry)
            if commits:
                await work.commit()
        assert await entries(uow) == []

    async with uow() as work:
        assert await work.users.record_login(user, rehashed=None, at=LATER, entry=entry) == []
        await work.commit()

    assert await entries(uow) == [entry]


async def test_a_deleted_user_cannot_log_in(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        assert await record_login(work, a_user()) is None


async def test_a_login_that_is_not_committed_is_not_recorded(uow: UnitOfWorkFactory) -> None:
    user = a_user()
    await given(uow, user)
    async with uow() as work:
        await record_login(work, user)

    assert await stored(uow, user.id) == user


async def test_a_login_loses_against_a_change_of_password_in_the_same_moment(
    uow: UnitOfWorkFactory,
) -> None:
    """It waits for the change, and then the hash it verified is not the user's any more."""
    user = a_user()
    await given(uow, user)

    async def log_in() -> bool:
        async with uow() as work:
            roles = await work.users.record_login(
                user, rehashed="$argon2id$rehashed", at=LATER, entry=an_audit_entry()
            )
            await work.commit()
            return roles is not None

    async with uow() as work:
        changing = await work.users.lock(user.id)
        logging_in = asyncio.create_task(log_in())
        assert await waits(logging_in)
        changing.change_password("$argon2id$chosen", at=LATER)
        await work.users.save(changing)
        await work.commit()

    assert await logging_in is False
    assert await stored(uow, user.id) == changing


async def test_of_two_logins_that_renew_the_same_hash_one_does(uow: UnitOfWorkFactory) -> None:
    """The other one learns that its password was verified against a hash that is no longer there."""
    user = a_user()
    await given(uow, user)

    async def log_in(number: int) -> bool:
        async with uow() as work:
            roles = await work.users.record_login(
                user, rehashed=f"$argon2id${number}", at=LATER, entry=an_audit_entry()
            )
            await work.commit()
            return roles is not None

    assert sorted(await asyncio.gather(log_in(1), log_in(2))) == [False, True]


# --- administrators ---


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ([], False),
        ([a_user()], False),
        ([a_user(is_admin=True, status=UserStatus.DISABLED)], False),
        ([a_user(), a_user(is_admin=True)], True),
        ([a_user(is_admin=True, status=UserStatus.DISABLED), a_user(is_admin=True)], True),
    ],
    ids=["nobody", "a user", "a disabled one", "an active one", "both"],
)
async def test_only_an_active_administrator_can_administrate(
    uow: UnitOfWorkFactory, users: list[User], *, expected: bool
) -> None:
    await given(uow, *users)

    async with uow() as work:
        assert await work.users.has_active_administrator() is expected
