"""What `UserRepository` promises about lists, deletion and the last administrator, kept by memory and by PostgreSQL."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from application.paging import PageRequest, Sort
from application.ports.unit_of_work import UnitOfWorkFactory
from application.ports.users import UserFilter
from domain.identity import User, UserNotFound, UserStatus
from domain.roles import RoleCode
from tests.support.builders import a_role, a_user
from tests.support.given import given
from tests.support.waiting import waits

EVERYBODY = UserFilter()
ALL = PageRequest(size=100)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("by", ["username", "email", "name", "created_at"])
async def test_pages_have_the_order_that_is_asked_for(
    uow: UnitOfWorkFactory, by: str, *, descending: bool
) -> None:
    """Those that are equal in the field have an order too, or pages would overlap."""
    users = [
        a_user(username=f"user{i}", email=f"{(i * 3) % 7}@example.org", name=f"Name {i % 3}")
        for i in range(7)
    ]
    for i, user in enumerate(users):
        user.created_at += timedelta(days=(i * 5) % 4)
    await given(uow, *users)
    keys: Mapping[str, Callable[[User], Any]] = {
        "username": lambda user: user.username.key,
        "email": lambda user: user.email.key,
        "name": lambda user: (user.name.key, user.id),
        "created_at": lambda user: (user.created_at, user.id),
    }
    expected = [u.username.value for u in sorted(users, key=keys[by], reverse=descending)]

    for which in (EVERYBODY, UserFilter(keyword="user")):
        pages = [
            await found(uow, which, PageRequest(number, 3, Sort(by, descending)))
            for number in (1, 2, 3)
        ]
        assert [name for page in pages for name in page] == expected


async def found(uow: UnitOfWorkFactory, which: UserFilter, page: PageRequest = ALL) -> list[str]:
    """Return the usernames of one page."""
    async with uow() as work:
        return [user.username.value for user in (await work.users.page(which, page)).records]


# --- pages ---


async def test_pages_go_through_the_users_by_username(uow: UnitOfWorkFactory) -> None:
    """In the order of the characters that people see as the same, in any locale of the server."""
    names = [
        "Ähnlich",
        "aaaaa",
        "Zebra",
        "zebra.2",
        "Österreich",
        "b_bbb",
        "B-bbb",
        "B.bbb",
        "王伟王伟王",
    ]
    users = [a_user(username=name) for name in names]
    await given(uow, *users)
    by_key = sorted(users, key=lambda user: user.username.key)

    async with uow() as work:
        for size in (1, 2, 4, 9, 100):
            pages = [
                await work.users.page(EVERYBODY, PageRequest(number=number, size=size))
                for number in range(1, 9 // size + 2)
            ]
            assert [user for page in pages for user in page.records] == by_key
            assert {page.total for page in pages} == {9}


async def test_without_users_there_is_one_empty_page(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        for which in (EVERYBODY, UserFilter(keyword="ada"), UserFilter(role=RoleCode("clerk"))):
            page = await work.users.page(which, PageRequest())
            assert (list(page.records), page.total) == ([], 0)


@pytest.mark.parametrize("keyword", [None, "user-"])
async def test_after_the_last_page_there_is_nothing(
    uow: UnitOfWorkFactory, keyword: str | None
) -> None:
    await given(uow, a_user(), a_user())

    async with uow() as work:
        for number in (2, 3, 1_000_000_000):
            page = await work.users.page(
                UserFilter(keyword=keyword), PageRequest(number=number, size=2)
            )
            assert (list(page.records), page.total) == ([], 2)


async def test_records_of_a_page_are_copies(uow: UnitOfWorkFactory) -> None:
    user = a_user()
    await given(uow, user)
    async with uow() as work:
        (record,) = (await work.users.page(EVERYBODY, ALL)).records
        record.is_admin = True

        assert list((await work.users.page(EVERYBODY, ALL)).records) == [user]


async def test_a_page_shows_what_the_unit_of_work_has_done(uow: UnitOfWorkFactory) -> None:
    ada, grace = a_user(username="ada.l"), a_user(username="grace")
    await given(uow, ada)
    async with uow() as work:
        await work.users.lock(ada.id)
        await work.users.delete(ada.id)
        await work.users.add(grace)

        assert list((await work.users.page(EVERYBODY, ALL)).records) == [grace]
        assert await found(uow, EVERYBODY) == ["ada.l"]


# --- keywords ---


def strangers(number: int) -> list[User]:
    """Return users in whom there is no letter."""
    return [
        a_user(username=f"{n:05}", email=f"{n:05}@{n:05}", name=f"{n:05}") for n in range(number)
    ]


@pytest.mark.parametrize("others", [0, 40], ids=["among few", "among many"])
@pytest.mark.parametrize(
    "keyword",
    [
        "a",
        "da",
        "ada.lovelace",
        "ADA.LOVELACE",
        "lace@engine",
        "Engine.Example",
        "Ada Augusta",
        "a AUGUSTA k",
        "von",
        " ",
        "straße",
        "STRASSE",
        "\uff41\uff44\uff41",
        "100%",
        "_x_",
        "\\n",
        "'; --",
        "王",
        "王伟",
        "é",
        "e\u0301",
    ],
)
async def test_a_keyword_is_any_part_of_a_username_an_email_or_a_name(
    uow: UnitOfWorkFactory, keyword: str, others: int
) -> None:
    ada = a_user(
        username="Ada.Lovelace",
        email="ada.lovelace@engine.example",
        name="Ada Augusta King von Straße 100% _x_ \\n '; -- 王伟 é",
    )
    await given(uow, ada, *strangers(others))

    async with uow() as work:
        page = await work.users.page(UserFilter(keyword=keyword), ALL)
    assert (list(page.records), page.total) == ([ada], 1)


@pytest.mark.parametrize("others", [0, 40], ids=["among few", "among many"])
@pytest.mark.parametrize(
    "keyword",
    [
        "%",
        "_",
        "\\",
        "ada%lace",
        "ada_love",
        ".*",
        "adalove",
        "lovelaceada",
        "lovelace ada",
        "velovel",
        "lovelovelace",
        "\n",
        "\t",
        "\0",
        "a\0",
        "ada\0",
        "\ud800",
        "ada\udfff",
        "\u202eada",
        "a" * 255,
        "a" * 10_000,
        "王" * 10_000,
        "\u0301\u0323" * 5_000,
        "ﷺ" * 254,
    ],
    ids=lambda keyword: f"{len(keyword)} characters: {keyword[:9]!a}",
)
async def test_a_keyword_without_a_match_finds_no_user(
    uow: UnitOfWorkFactory, keyword: str, others: int
) -> None:
    """No character means anything but itself, and no text is an error."""
    await given(uow, a_user(username="ada.lovelace", name="Ada Lovelace"), *strangers(others))

    async with uow() as work:
        page = await work.users.page(UserFilter(keyword=keyword), ALL)
    assert (list(page.records), page.total) == ([], 0)


async def test_an_empty_keyword_finds_everybody(uow: UnitOfWorkFactory) -> None:
    await given(uow, a_user(username="first"), a_user(username="second"))

    assert await found(uow, UserFilter(keyword="")) == ["first", "second"]


async def test_the_longest_texts_are_found_by_any_part(uow: UnitOfWorkFactory) -> None:
    """Folding makes some characters many: `ﷺ` is eighteen."""
    email = "㍇" * 64 + "@" + "㍇" * 180 + ".example"
    await given(uow, a_user(username="somebody", email=email, name="ﷺ" * 100), *strangers(40))

    for keyword in (email, email[1:], "ﷺ" * 64, "㍇" * 100, "㍇.ex"):
        assert await found(uow, UserFilter(keyword=keyword)) == ["somebody"]


async def test_a_keyword_finds_what_people_are_called_now(uow: UnitOfWorkFactory) -> None:
    user = a_user(username="ada.byron", email="ada@byron.example", name="Ada Byron")
    await given(uow, user, *strangers(40))
    changed = a_user(
        id=user.id, username="lovelace", email="ada@king.example", name="Countess of L."
    )
    async with uow() as work:
        await work.users.lock(user.id)
        await work.users.save(changed)
        await work.commit()

    assert await found(uow, UserFilter(keyword="byron")) == []
    for keyword in ("lovelace", "king.ex", "countess"):
        assert await found(uow, UserFilter(keyword=keyword)) == ["lovelace"]


@pytest.mark.parametrize("others", [0, 60], ids=["most", "few"])
async def test_pages_of_what_a_keyword_finds_are_in_order_and_complete(
    uow: UnitOfWorkFactory, others: int
) -> None:
    names = [f"ada.{letter}" for letter in "gfedcba"]
    await given(uow, *(a_user(username=name) for name in names), *strangers(others))
    which = UserFilter(keyword="ada")

    pages = [await found(uow, which, PageRequest(number=n, size=3)) for n in range(1, 5)]

    assert pages == [["ada.a", "ada.b", "ada.c"], ["ada.d", "ada.e", "ada.f"], ["ada.g"], []]


# --- filters ---


async def test_each_filter_narrows(uow: UnitOfWorkFactory) -> None:
    clerk, boss = a_role(code="clerk"), a_role(code="boss")
    nobodys = a_role(code="nobodys")
    users = {
        name: a_user(username=name, status=status)
        for name, status in (
            ("ada.1", UserStatus.ACTIVE),
            ("ada.2", UserStatus.ACTIVE),
            ("ada.3", UserStatus.DISABLED),
            ("bob.1", UserStatus.ACTIVE),
            ("bob.2", UserStatus.DISABLED),
        )
    }
    await given(uow, *users.values())
    async with uow() as work:
        for role in (clerk, boss, nobodys):
            await work.roles.add(role)
        await work.roles.assign(users["ada.1"].id, [clerk.id, boss.id])
        await work.roles.assign(users["ada.3"].id, [clerk.id])
        await work.roles.assign(users["bob.1"].id, [boss.id])
        await work.roles.assign(users["bob.2"].id, [clerk.id])
        await work.commit()

    active, disabled = UserStatus.ACTIVE, UserStatus.DISABLED
    for which, expected in (
        (UserFilter(status=active), ["ada.1", "ada.2", "bob.1"]),
        (UserFilter(status=disabled), ["ada.3", "bob.2"]),
        (UserFilter(role=clerk.code), ["ada.1", "ada.3", "bob.2"]),
        (UserFilter(role=boss.code), ["ada.1", "bob.1"]),
        (UserFilter(role=nobodys.code), []),
        (UserFilter(role=RoleCode("no-such-role")), []),
        (UserFilter(keyword="ada", status=active), ["ada.1", "ada.2"]),
        (UserFilter(keyword="ada", role=clerk.code), ["ada.1", "ada.3"]),
        (UserFilter(role=clerk.code, status=disabled), ["ada.3", "bob.2"]),
        (UserFilter(keyword="ada", role=clerk.code, status=disabled), ["ada.3"]),
        (UserFilter(keyword="zoe", role=clerk.code, status=disabled), []),
    ):
        assert await found(uow, which) == expected
        async with uow() as work:
            assert (await work.users.page(which, PageRequest(size=1))).total == len(expected)


# --- deletion ---


async def test_a_deleted_user_is_gone_and_holds_no_role(uow: UnitOfWorkFactory) -> None:
    user, other, role = a_user(), a_user(), a_role()
    await given(uow, user, other)
    async with uow() as work:
        await work.roles.add(role)
        for holder in (user, other):
            await work.roles.assign(holder.id, [role.id])
        await work.commit()

    async with uow() as work:
        await work.users.lock(user.id)
        await work.users.delete(user.id)
        assert await work.users.find(user.id) is None
        assert await work.roles.count_users([role.id]) == {role.id: 1}
        await work.commit()

    async with uow() as work:
        assert await work.users.find(user.id) is None
        assert await work.users.find_by_login(user.username.value) is None
        assert await work.roles.count_users([role.id]) == {role.id: 1}
        assert await work.roles.of_users([user.id, other.id]) == {other.id: [role]}
        with pytest.raises(UserNotFound):
            await work.users.lock(user.id)


async def test_a_user_who_does_not_exist_cannot_be_deleted(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        with pytest.raises(UserNotFound):
            await work.users.delete(a_user().id)


async def test_the_names_of_a_deleted_user_are_free(uow: UnitOfWorkFactory) -> None:
    user = a_user(username="lovelace", email="ada@example.org")
    await given(uow, user)
    again = a_user(username="Lovelace", email="Ada@example.org")
    async with uow() as work:
        await work.users.lock(user.id)
        await work.users.delete(user.id)
        await work.users.add(again)
        await work.commit()

    assert await found(uow, EVERYBODY) == ["Lovelace"]


async def test_a_deletion_that_is_not_committed_deletes_nothing(uow: UnitOfWorkFactory) -> None:
    user, role = a_user(), a_role()
    await given(uow, user)
    async with uow() as work:
        await work.roles.add(role)
        await work.roles.assign(user.id, [role.id])
        await work.commit()
    async with uow() as work:
        await work.users.lock(user.id)
        await work.users.delete(user.id)

    async with uow() as work:
        assert await work.users.find(user.id) == user
        assert await work.roles.of_users([user.id]) == {user.id: [role]}


async def test_waiting_for_a_user_who_is_deleted_ends_with_not_found(
    uow: UnitOfWorkFactory,
) -> None:
    user = a_user()
    await given(uow, user)

    async def lock() -> None:
        async with uow() as work:
            await work.users.lock(user.id)

    async with uow() as work:
        await work.users.lock(user.id)
        await work.users.delete(user.id)
        locking = asyncio.create_task(lock())
        assert await waits(locking)
        await work.commit()

    with pytest.raises(UserNotFound):
        await locking


# --- the last administrator ---


async def test_an_administrator_is_the_last_one_if_no_other_is_active(
    uow: UnitOfWorkFactory,
) -> None:
    only = a_user(is_admin=True)
    disabled = a_user(is_admin=True, status=UserStatus.DISABLED)
    await given(uow, only, disabled, a_user())
    async with uow() as work:
        assert not await work.users.has_active_administrator(other_than=only.id)
        assert await work.users.has_active_administrator(other_than=disabled.id)

        await work.users.add(a_user(is_admin=True))
        assert await work.users.has_active_administrator(other_than=only.id)


async def test_of_two_administrators_who_leave_at_once_one_stays(uow: UnitOfWorkFactory) -> None:
    administrators = [a_user(is_admin=True), a_user(is_admin=True)]
    await given(uow, *administrators)

    async def leave(user: User) -> bool:
        async with uow() as work:
            await work.roles.lock_access(to_change=True)
            if not await work.users.has_active_administrator(other_than=user.id):
                return False
            await asyncio.sleep(0)  # gives the other one their chance
            await work.users.lock(user.id)
            await work.users.delete(user.id)
            await work.commit()
            return True

    assert sorted(await asyncio.gather(*map(leave, administrators))) == [False, True]
