"""The probe of RabbitMQ, asked of a port that listens and of one that does not."""

import asyncio

import pytest

from adapters.celery.health import RabbitMQProbe
from domain.errors import Unavailable


async def test_rabbitmq_is_up_while_its_port_takes_connections() -> None:
    said: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.set_result(await reader.read())
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1")
    probe = RabbitMQProbe(f"amqp://u:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}//")

    await probe.check()
    assert await asyncio.wait_for(said, 5) == b""

    server.close()
    await server.wait_closed()
    with pytest.raises(Unavailable) as down:
        await probe.check()
    assert down.value.reason == "connection refused: nothing listens there"


@pytest.mark.parametrize(("scheme", "port"), [("amqp", 5672), ("amqps", 5671)])
async def test_an_address_without_a_port_means_that_of_its_scheme(
    scheme: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def refuse(*address: object) -> None:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", refuse)
    with pytest.raises(Unavailable):
        await RabbitMQProbe(f"{scheme}://rabbit.test//").check()

    assert asked == [("rabbit.test", port)]
