"""The keys that are handed out."""

from dataclasses import replace

import pytest

from application.settings import Limit, ThrottleSettings
from domain.log_in_throttle import Throttled
from tests.support.audit_log import everything_in
from tests.support.world import IN_MEMORY, LAPTOP, PHONE, World


async def test_everybody_may_have_the_key_that_passwords_are_encrypted_with(world: World) -> None:
    key = await world.container.get_transport_key()(LAPTOP)

    assert key == world.transport.public_key()


async def test_one_address_asks_for_it_only_so_often() -> None:
    world = World(replace(IN_MEMORY, throttle=ThrottleSettings(public=Limit(2, 60))))
    ask = world.container.get_transport_key()
    for _ in range(2):
        await ask(LAPTOP)

    with pytest.raises(Throttled):
        await ask(LAPTOP)
    await ask(PHONE)
    await world.pass_time(seconds=30)
    await ask(LAPTOP)


async def test_other_services_may_have_the_keys_that_verify_access_tokens(world: World) -> None:
    assert await world.container.get_public_keys()() == world.container.tokens().public_keys()


async def test_a_key_is_recorded_once_however_many_processes_start_with_it(world: World) -> None:
    for _ in range(3):
        await world.container.record_active_keys()()
        await world.deliver()
        await world.container.record_active_keys()()

    another = replace(world.container.record_active_keys(), keys={"access": "of 2027"})
    await another()
    await world.deliver()

    recorded = await everything_in(world.container.audit_log())
    assert sorted((entry.target, entry.details["purpose"]) for entry in recorded) == [
        ("key:of 2025", "transport"),
        ("key:of 2026", "access"),
        ("key:of 2027", "access"),
    ]
    assert {(entry.action, entry.actor) for entry in recorded} == {("keys.in_use", None)}
