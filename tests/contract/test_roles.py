"""What `RoleRepository` promises, kept by memory and by PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from application.paging import PageRequest, Sort
from application.ports.roles import RoleFilter
from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from domain.access import Access
from domain.errors import Conflict
from domain.grants import Grant, Grants
from domain.identity import User, UserId, UserStatus
from domain.roles import (
    Amount,
    Role,
    RoleCode,
    RoleCodeTaken,
    RoleId,
    RoleNameTaken,
    RoleNotFound,
    RoleStatus,
)
from tests.support.builders import A_MOMENT, a_role, a_user
from tests.support.given import given
from tests.support.waiting import waits

LATER = A_MOMENT + timedelta(days=1, microseconds=1)
ALL = PageRequest(size=100)
NO_USER = UserId(UUID(int=0))
NOTHING = RoleId(UUID(int=0))


async def assign(uow: UnitOfWorkFactory, user: User, *roles: Role) -> None:
    async with uow() as work:
        await work.users.lock(user.id)
        await work.roles.assign(user.id, [role.id for role in roles])
        await work.commit()


async def stored(uow: UnitOfWorkFactory, role: Role) -> Role | None:
    async with uow() as work:
        return await work.roles.find(role.id)


async def roles_of(uow: UnitOfWorkFactory, user: User) -> list[Role]:
    async with uow() as work:
        return list((await work.roles.of_users([user.id])).get(user.id, ()))


# --- what is stored ---


FULL = a_role(
    "GET:/api/v1/users/{user_id}",
    "*:/api/v1/roles/**",
    "GET:**",
    code="front-desk.2",
    name="Front Desk 🚀 100 % _x_ “née” 王",
    description="First line\nsecond 'line' \\ {a,b}",
    status=RoleStatus.DISABLED,
    buttons=frozenset({"user:add", "a,b", '"quoted"', "{}", "NULL", "\\"}),
    routers=frozenset({"/users", "/π"}),
    created_at=A_MOMENT + timedelta(microseconds=1),
    updated_at=A_MOMENT + timedelta(microseconds=2),
)


async def test_a_role_is_found_exactly_as_stored(uow: UnitOfWorkFactory) -> None:
    bare = a_role()
    await given(uow, FULL, bare)

    assert await stored(uow, FULL) == FULL
    assert await stored(uow, bare) == bare


async def test_no_role_is_found_by_an_id_that_no_role_has(uow: UnitOfWorkFactory) -> None:
    await given(uow, a_role())

    async with uow() as work:
        assert await work.roles.find(NOTHING) is None


async def test_saving_stores_every_field(uow: UnitOfWorkFactory) -> None:
    role = a_role("GET:/a")
    await given(uow, role)
    changed = replace(FULL, id=role.id)

    async with uow() as work:
        await work.roles.lock([role.id])
        await work.roles.save(changed)
        await work.commit()

    assert await stored(uow, role) == changed


async def test_changing_an_object_changes_nothing_in_the_store(uow: UnitOfWorkFactory) -> None:
    """What goes in and what comes out are copies."""
    role, user = a_role("GET:/a"), a_user()
    as_stored = replace(role)
    async with uow() as work:
        await work.roles.add(role)
        await work.users.add(user)
        await work.roles.assign(user.id, [role.id])
        role.status = RoleStatus.DISABLED
        for found in (
            await work.roles.find(role.id),
            *await work.roles.lock([role.id]),
            *(await work.roles.of_users([user.id]))[user.id],
        ):
            assert found == as_stored
            found.grants = frozenset({Grant("GET:**")})
        await work.commit()

    assert await stored(uow, role) == as_stored


async def test_uncommitted_changes_are_not_stored(uow: UnitOfWorkFactory) -> None:
    kept, added, user = a_role(), a_role(), a_user()
    await given(uow, kept, user)
    async with uow() as work, uow() as other:
        await work.roles.add(added)
        await work.roles.lock([kept.id])
        await work.roles.save(replace(kept, status=RoleStatus.DISABLED))
        await work.roles.assign(user.id, [added.id])
        assert await work.roles.find(added.id) == added
        assert (await work.roles.of_users([user.id]))[user.id] == [added]
        assert await other.roles.find(added.id) is None
        assert await other.roles.find(kept.id) == kept
        assert await other.roles.of_users([user.id]) == {}

    assert await stored(uow, added) is None
    assert await stored(uow, kept) == kept
    assert await roles_of(uow, user) == []


# --- names that are taken ---


@pytest.mark.parametrize(
    ("second", "error"),
    [
        (a_role(code="clerk"), RoleCodeTaken),
        (a_role(code="CLERK"), RoleCodeTaken),
        (a_role(name="Front Desk"), RoleNameTaken),
        (a_role(name="FRONT desk"), RoleNameTaken),
        (a_role(name="\uff26ront Desk"), RoleNameTaken),
    ],
    ids=["code", "code in other case", "name", "name in other case", "name in other width"],
)
async def test_a_code_or_a_name_that_is_taken_is_refused(
    uow: UnitOfWorkFactory, second: Role, error: type[Conflict]
) -> None:
    first = a_role(code="clerk", name="Front Desk")
    other = a_role()
    await given(uow, first, other)

    with pytest.raises(error):
        await given(uow, second)

    async with uow() as work:
        await work.roles.lock([other.id])
        with pytest.raises(error):
            await work.roles.save(replace(second, id=other.id))
        with pytest.raises(error):
            await work.commit()

    assert await stored(uow, second) is None
    assert await stored(uow, other) == other


async def test_a_role_may_write_its_own_name_another_way(uow: UnitOfWorkFactory) -> None:
    role = a_role(name="front desk")
    await given(uow, role)
    role.name = "Front Desk"

    async with uow() as work:
        await work.roles.lock([role.id])
        await work.roles.save(role)
        await work.commit()

    assert await stored(uow, role) == role


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        (a_role(code="clerk"), a_role(code="clerk"), RoleCodeTaken),
        (a_role(name="Clerk"), a_role(name="CLERK"), RoleNameTaken),
    ],
)
async def test_of_two_roles_that_take_a_name_at_the_same_moment_one_gets_it(
    uow: UnitOfWorkFactory, first: Role, second: Role, error: type[Conflict]
) -> None:
    async def add(role: Role) -> None:
        async with uow() as work:
            await work.roles.add(role)
            await asyncio.sleep(0)  # gives the other one its chance
            await work.commit()

    results = await asyncio.gather(add(first), add(second), return_exceptions=True)

    assert {type(result) for result in results} == {type(None), error}


# --- locks ---


async def test_locked_roles_come_in_the_order_of_their_codes(uow: UnitOfWorkFactory) -> None:
    roles = [a_role(code=code) for code in ("zoo", "ant", "mid")]
    await given(uow, *roles, a_role())

    async with uow() as work:
        locked = await work.roles.lock({role.id for role in roles})
        assert [role.code.value for role in locked] == ["ant", "mid", "zoo"]
        assert list(await work.roles.lock([])) == []


async def test_an_absent_role_can_be_neither_locked_nor_saved(uow: UnitOfWorkFactory) -> None:
    role, gone = a_role(), a_role()
    await given(uow, role)
    async with uow() as work:
        with pytest.raises(RoleNotFound) as unknown:
            await work.roles.lock([gone.id, role.id])
        assert unknown.value.role_ids == (gone.id,)
        with pytest.raises(RoleNotFound):
            await work.roles.save(gone)
        await work.commit()


async def lock(work: UnitOfWork, role: Role, user: User) -> None:
    await work.roles.lock([role.id])


async def save(work: UnitOfWork, role: Role, user: User) -> None:
    await work.roles.save(role)


async def give_away(work: UnitOfWork, role: Role, user: User) -> None:
    await work.users.lock(user.id)
    await work.roles.assign(user.id, [role.id])


@pytest.mark.parametrize("touch", [lock, save, give_away])
async def test_a_locked_role_is_not_changed_by_others_until_the_unit_of_work_ends(
    uow: UnitOfWorkFactory, touch: Callable[[UnitOfWork, Role, User], Awaitable[None]]
) -> None:
    role, user = a_role(), a_user()
    await given(uow, role, user)

    async def try_to() -> None:
        async with uow() as work:
            await touch(work, role, user)
            await work.commit()

    async with uow() as work:
        await work.roles.lock([role.id])
        await work.roles.lock([role.id])  # one's own lock is no obstacle
        assert await work.roles.count_users([role.id]) == {role.id: 0}
        trying = asyncio.create_task(try_to())
        assert await waits(trying)
        await work.commit()
    await trying


async def test_a_locked_role_still_gives_what_it_gave(uow: UnitOfWorkFactory) -> None:
    role, user = a_role("GET:/a"), a_user()
    await given(uow, role, user)
    await assign(uow, user, role)

    async with uow() as work, uow() as other:
        await work.roles.lock([role.id])
        await work.roles.save(replace(role, grants=frozenset()))

        access = await other.roles.access_of(user.id)
        assert access is not None
        assert access.grants.allow("GET:/a")


async def test_roles_are_locked_in_any_order_without_a_deadlock(uow: UnitOfWorkFactory) -> None:
    roles = [a_role() for _ in range(4)]
    await given(uow, *roles)

    async def lock_all(ids: list[RoleId]) -> None:
        for _ in range(5):
            async with uow() as work:
                await work.roles.lock(ids)
                await asyncio.sleep(0)  # gives the others their chance

    ids = [role.id for role in roles]
    await asyncio.gather(*(lock_all(order) for order in (ids, ids[::-1], ids[2:] + ids[:2])))


# --- who has what ---


async def test_a_user_has_exactly_the_roles_they_were_given_last(uow: UnitOfWorkFactory) -> None:
    a, b, c = (a_role(code=code) for code in ("aa", "bb", "cc"))
    user, other = a_user(), a_user()
    await given(uow, a, b, c, user, other)
    await assign(uow, other, b)

    for given_now, expected in (
        ([c, a], [a, c]),
        ([a, b], [a, b]),
        ([a, b], [a, b]),
        ([b, b], [b]),
        ([], []),
        ([c], [c]),
    ):
        await assign(uow, user, *given_now)
        assert await roles_of(uow, user) == expected

    assert await roles_of(uow, other) == [b]


async def test_roles_of_many_users_are_found_at_once(uow: UnitOfWorkFactory) -> None:
    a, b = a_role(code="aa", status=RoleStatus.DISABLED), a_role(code="bb")
    users = [a_user() for _ in range(4)]
    await given(uow, a, b, *users)
    await assign(uow, users[0], b, a)
    await assign(uow, users[1], b)
    await assign(uow, users[3], a)

    async with uow() as work:
        found = await work.roles.of_users([user.id for user in users[:3]] + [NO_USER])
        assert {user_id: list(roles) for user_id, roles in found.items()} == {
            users[0].id: [a, b],
            users[1].id: [b],
        }
        assert await work.roles.of_users([]) == {}


async def test_a_role_that_is_gone_cannot_be_given(uow: UnitOfWorkFactory) -> None:
    role, gone, user = a_role(), a_role(), a_user()
    await given(uow, role, user)
    await assign(uow, user, role)

    with pytest.raises(RoleNotFound) as unknown:
        await assign(uow, user, role, gone)

    assert unknown.value.role_ids == (gone.id,)
    assert await roles_of(uow, user) == [role]


async def test_holders_are_counted(uow: UnitOfWorkFactory) -> None:
    common, rare, nobodys, disabled = (a_role() for _ in range(4))
    users = [a_user(), a_user(status=UserStatus.DISABLED), a_user()]
    await given(uow, common, rare, nobodys, disabled, *users)
    for user in users:
        await assign(uow, user, common)
    await assign(uow, users[0], common, rare)

    async with uow() as work:
        assert await work.roles.count_users([common.id, rare.id, nobodys.id]) == {
            common.id: 3,
            rare.id: 1,
            nobodys.id: 0,
        }
        assert await work.roles.count_users([]) == {}


async def test_pages_of_users_with_a_role_are_ordered_by_username(uow: UnitOfWorkFactory) -> None:
    role, other = a_role(), a_role()
    users = [a_user(username=f"{letter}-user") for letter in "edCba"]
    await given(uow, role, other, *users)
    for user in users[1:]:
        await assign(uow, user, role, other)
    await assign(uow, users[0], other)

    async with uow() as work:
        pages = [
            await work.roles.users_with(role.id, PageRequest(number=number, size=3))
            for number in (1, 2, 3)
        ]
        assert [[user.username.value[0] for user in page.records] for page in pages] == [
            ["a", "b", "C"],
            ["d"],
            [],
        ]
        assert {page.total for page in pages} == {4}
        assert list((await work.roles.users_with(NOTHING, ALL)).records) == []


# --- deletion ---


async def test_a_deleted_role_is_taken_from_its_users(uow: UnitOfWorkFactory) -> None:
    gone, also_gone, kept = a_role("GET:/a"), a_role("GET:/b"), a_role("GET:/c")
    user = a_user()
    await given(uow, gone, also_gone, kept, user)
    await assign(uow, user, gone, also_gone, kept)

    async with uow() as work:
        await work.roles.lock([gone.id, also_gone.id])
        await work.roles.delete([gone.id, also_gone.id])
        assert await work.roles.of_users([user.id]) == {user.id: [kept]}
        await work.commit()

    assert await stored(uow, gone) is None
    assert await roles_of(uow, user) == [kept]
    async with uow() as work:
        assert list(await work.roles.all()) == [kept.summary()]
        assert await work.roles.access_of(user.id) == Access(
            is_active=True,
            is_admin=False,
            must_change_password=False,
            grants=Grants(exact=frozenset({"GET:/c"})),
        )


async def test_a_deletion_that_is_not_committed_deletes_nothing(uow: UnitOfWorkFactory) -> None:
    role, user = a_role(), a_user()
    await given(uow, role, user)
    await assign(uow, user, role)
    async with uow() as work:
        await work.roles.lock([role.id])
        await work.roles.delete([role.id])

    assert await roles_of(uow, user) == [role]


async def test_a_role_that_is_deleted_meanwhile_is_not_given(uow: UnitOfWorkFactory) -> None:
    """The caller that gives it waits for the end, and learns that it is gone."""
    role, user = a_role(), a_user()
    await given(uow, role, user)
    async with uow() as work:
        await work.roles.lock([role.id])
        await work.roles.delete([role.id])
        giving = asyncio.create_task(assign(uow, user, role))
        assert await waits(giving)
        await work.commit()

    with pytest.raises(RoleNotFound):
        await giving
    assert await roles_of(uow, user) == []


async def test_a_role_is_either_given_or_deleted_but_not_both(uow: UnitOfWorkFactory) -> None:
    """So that a role without holders, which may be deleted, has none when it is."""
    role, user = a_role(), a_user()
    await given(uow, role, user)

    async def delete_unused() -> bool:
        async with uow() as work:
            await work.roles.lock([role.id])
            if (await work.roles.count_users([role.id]))[role.id]:
                return False
            await work.roles.delete([role.id])
            await work.commit()
            return True

    async with uow() as work:
        await work.users.lock(user.id)
        await work.roles.assign(user.id, [role.id])
        deleting = asyncio.create_task(delete_unused())
        await waits(deleting)
        try:
            await work.commit()
            was_given = True
        except RoleNotFound:
            was_given = False

    assert await deleting is not was_given
    assert await roles_of(uow, user) == ([role] if was_given else [])


async def test_the_names_of_a_deleted_role_are_free(uow: UnitOfWorkFactory) -> None:
    role = a_role(code="clerk", name="Clerk")
    await given(uow, role)
    again = a_role(code="clerk", name="Clerk")
    async with uow() as work:
        await work.roles.lock([role.id])
        await work.roles.delete([role.id])
        await work.roles.add(again)
        await work.commit()

    async with uow() as work:
        assert list(await work.roles.all()) == [again.summary()]


# --- lists ---


async def test_all_roles_are_ordered_by_code(uow: UnitOfWorkFactory) -> None:
    codes = ["b", "a.z", "a_z", "a-z", "az", "z9"]
    await given(uow, *(a_role(code=f"{code}x") for code in codes))

    async with uow() as work:
        assert [role.code.value for role in await work.roles.all()] == sorted(
            f"{code}x" for code in codes
        )


async def test_roles_are_found_by_their_codes(uow: UnitOfWorkFactory) -> None:
    clerk, boss = a_role(code="clerk"), a_role(code="boss", status=RoleStatus.DISABLED)
    await given(uow, clerk, boss, a_role())

    async with uow() as work:
        wanted = {RoleCode("clerk"), RoleCode("unknown"), RoleCode("boss")}
        assert list(await work.roles.by_codes(wanted)) == [boss, clerk]
        assert list(await work.roles.by_codes([])) == []


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (RoleFilter(), ["boss", "clerk", "it.support"]),
        (RoleFilter(keyword=""), ["boss", "clerk", "it.support"]),
        (RoleFilter(keyword="CLERK"), ["clerk"]),
        (RoleFilter(keyword="desk"), ["clerk"]),
        (RoleFilter(keyword="t d"), ["clerk"]),
        (RoleFilter(keyword="s"), ["boss", "clerk", "it.support"]),
        (RoleFilter(keyword=".s"), ["it.support"]),
        (RoleFilter(keyword="100%"), ["boss"]),
        (RoleFilter(keyword="%"), ["boss"]),
        (RoleFilter(keyword="_"), []),
        (RoleFilter(keyword="\\"), []),
        (RoleFilter(keyword="\0"), []),
        (RoleFilter(keyword="clerk\0"), []),
        (RoleFilter(keyword="\ud800"), []),
        (RoleFilter(keyword="k" * 10_000), []),
        (RoleFilter(status=RoleStatus.DISABLED), ["boss"]),
        (RoleFilter(status=RoleStatus.ACTIVE), ["clerk", "it.support"]),
        (RoleFilter(status=RoleStatus.ACTIVE, keyword="it"), ["it.support"]),
        (RoleFilter(status=RoleStatus.DISABLED, keyword="it"), []),
    ],
)
async def test_filters_narrow_the_list_of_roles(
    uow: UnitOfWorkFactory, which: RoleFilter, expected: list[str]
) -> None:
    await given(
        uow,
        a_role(code="clerk", name="Front Desk"),
        a_role(code="boss", name="The 100% boss", status=RoleStatus.DISABLED),
        a_role(code="it.support", name="Helpers"),
    )

    async with uow() as work:
        page = await work.roles.page(which, ALL)
        assert [role.code.value for role in page.records] == expected
        assert page.total == len(expected)
        assert (await work.roles.page(which, PageRequest(size=1))).total == len(expected)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (Sort("code", descending=True), "cba"),
        (Sort("name"), "cab"),
        (Sort("created_at"), "bca"),
        (Sort("updated_at", descending=True), "acb"),
    ],
    ids=str,
)
async def test_pages_of_roles_have_the_order_that_is_asked_for(
    uow: UnitOfWorkFactory, sort: Sort, expected: str
) -> None:
    roles = []
    for letter, name, day in (("a", "Beta", 2), ("b", "gamma", 0), ("c", "ALPHA", 1)):
        role = a_role(code=f"role.{letter}", name=name)
        role.created_at = role.updated_at = A_MOMENT + timedelta(days=day)
        roles.append(role)
    await given(uow, *roles)

    async with uow() as work:
        pages = [
            await work.roles.page(RoleFilter(), PageRequest(number, 2, sort)) for number in (1, 2)
        ]
    assert "".join(r.code.value[-1] for page in pages for r in page.records) == expected


async def test_pages_of_roles_are_complete(uow: UnitOfWorkFactory) -> None:
    await given(uow, *(a_role(code=f"role.{letter}") for letter in "gfedcba"))

    async with uow() as work:
        pages = [
            await work.roles.page(RoleFilter(), PageRequest(number=number, size=3))
            for number in (1, 2, 3, 4)
        ]
    assert ["".join(r.code.value[-1] for r in page.records) for page in pages] == [
        "abc",
        "def",
        "g",
        "",
    ]


# --- what a user may do ---


async def test_access_is_what_the_active_roles_of_a_user_give_together(
    uow: UnitOfWorkFactory,
) -> None:
    user = a_user(is_admin=True, must_change_password=True)
    roles = [
        a_role("GET:/a", "GET:/b"),
        a_role("GET:/b", "*:/c/**"),
        a_role(),
        a_role("GET:/disabled", status=RoleStatus.DISABLED),
    ]
    await given(uow, user, *roles, a_role("GET:/not-theirs"))
    await assign(uow, user, *roles)

    async with uow() as work:
        assert await work.roles.access_of(user.id) == Access(
            is_active=True,
            is_admin=True,
            must_change_password=True,
            grants=Grants(exact=frozenset({"GET:/a", "GET:/b"}), patterns=(Grant("*:/c/**"),)),
        )


@pytest.mark.parametrize("roles", [[], [a_role("GET:/a", status=RoleStatus.DISABLED)]])
async def test_a_user_without_an_active_role_may_do_nothing(
    uow: UnitOfWorkFactory, roles: list[Role]
) -> None:
    user = a_user(status=UserStatus.DISABLED)
    await given(uow, user, *roles)
    await assign(uow, user, *roles)

    async with uow() as work:
        assert await work.roles.access_of(user.id) == Access(
            is_active=False, is_admin=False, must_change_password=False, grants=Grants()
        )


async def test_a_user_who_does_not_exist_has_no_access(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        assert await work.roles.access_of(NO_USER) is None


# --- when it is decided by ---


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True)])
async def test_locked_access_does_not_change(
    uow: UnitOfWorkFactory, *, first: bool, second: bool
) -> None:
    async def decide() -> None:
        async with uow() as work:
            await work.roles.lock_access(to_change=second)

    async with uow() as work:
        await work.roles.lock_access(to_change=first)
        deciding = asyncio.create_task(decide())
        assert await waits(deciding)
    await deciding


async def test_after_locking_access_earlier_changes_are_visible(uow: UnitOfWorkFactory) -> None:
    user = a_user(is_admin=True)
    await given(uow, user)

    async def decide() -> Access | None:
        async with uow() as work:
            await work.roles.lock_access()
            return await work.roles.access_of(user.id)

    async with uow() as work:
        await work.roles.lock_access(to_change=True)
        deciding = asyncio.create_task(decide())
        assert await waits(deciding)
        changed = await work.users.lock(user.id)
        changed.status = UserStatus.DISABLED
        await work.users.save(changed)
        await work.commit()

    access = await deciding
    assert access is not None
    assert not access.is_active


# --- how much ---


async def test_the_grants_of_several_roles_are_counted(uow: UnitOfWorkFactory) -> None:
    some = a_role("GET:/a", "GET:/b", "*:/c/**", code="some", buttons=frozenset("xyz"))
    more = a_role("GET:/a", "GET:/d/*", "*:**", code="more", routers=frozenset({"/r"}))
    await given(uow, some, more, a_role("GET:/e"))

    async with uow() as work:
        assert await work.roles.amount_of([]) == Amount()
        assert await work.roles.amount_of([some.code]) == some.amount
        assert await work.roles.amount_of([some.code, more.code, RoleCode("nobodys")]) == Amount(
            patterns=3, codes=3, buttons=3, routers=1
        )


async def test_the_largest_amount_that_a_user_of_a_role_holds_is_found(
    uow: UnitOfWorkFactory,
) -> None:
    role = a_role("GET:/a", "GET:/b/*")
    patterns = a_role(*(f"GET:/{n}/*" for n in range(3)))
    buttons = a_role(buttons=frozenset("xyz"))
    disabled = a_role("GET:/c", status=RoleStatus.DISABLED)
    unrelated = a_role(*(f"GET:/{n}/**" for n in range(9)))
    ada, ben, eve = a_user(), a_user(), a_user()
    await given(uow, role, patterns, buttons, disabled, unrelated, ada, ben, eve)
    async with uow() as work:
        assert await work.roles.largest_amount_with(role.id) == Amount()
    await assign(uow, ada, role, patterns)
    await assign(uow, ben, role, buttons, disabled)
    await assign(uow, eve, unrelated)

    async with uow() as work:
        largest = await work.roles.largest_amount_with(role.id)
    assert largest == Amount(patterns=4, codes=2, buttons=3)


async def test_lists_show_roles_without_what_they_give(uow: UnitOfWorkFactory) -> None:
    role = a_role("GET:/a", "*:/b/**", buttons=frozenset("x"), description="Writes.")
    ada, ben = a_user(), a_user()
    await given(uow, role, ada, ben)
    await assign(uow, ada, role)

    async with uow() as work:
        assert (await work.roles.page(RoleFilter(), ALL)).records == [role.summary()]
        assert list(await work.roles.all()) == [role.summary()]
        assert await work.roles.summaries_of([ada.id, ben.id]) == {ada.id: [role.summary()]}
