"""Asks a server over TCP whether it is ready."""

import asyncio
from contextlib import suppress

from local_stack.servers import HOST


async def probe(
    port: int, message: bytes, size: int, *, host: str = HOST, timeout_s: float = 1
) -> bytes:
    """Send `message` and return the first `size` bytes of the answer, or fewer if it ends or takes too long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(message)
                return await reader.readexactly(size)
            except asyncio.IncompleteReadError as error:
                return error.partial
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    return b""
