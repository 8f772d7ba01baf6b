"""The MongoDB protocol: SecantusDB from the wheel `secantusdb`."""

import struct
import sys
from collections.abc import Mapping
from typing import ClassVar

from entrypoints.local.children import Spec
from entrypoints.local.servers import HOST, Server, packaged
from entrypoints.local.wire import exchange

# BSON of {"ping": 1, "$db": "admin"}, and of the answer's end: "ok": 1.0, then the end of the document.
_PING = b"\x1e\0\0\0\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0"
_OP_MSG = 2013


class Mongo(Server):
    """A replica set of one member. It has no password; it listens on the loopback interface only."""

    name: ClassVar[str] = "mongo"
    components: ClassVar[tuple[str, ...]] = ("mongo",)
    package: ClassVar[str] = "secantusdb"
    # It waits 2 s for a connection that does not come; its log is on the disk after a tenth of a second.
    stop_within: ClassVar[float] = 0.7

    async def prepare(self) -> None:
        """Write an empty configuration, or the server would take one of the user's own."""
        (self._place.directory / "mongo").mkdir(mode=0o700, exist_ok=True)
        (self._place.directory / "mongo.toml").write_text("")

    def spec(self) -> Spec:
        packaged(self.package, "secantus/__main__.py")
        return Spec(
            name=self.name,
            command=(
                sys.executable,
                *("-I", "-m", "secantus"),
                *("--config", self._place.directory / "mongo.toml"),
                *("--host", HOST),
                *("--port", str(self.port)),
                *("--storage-path", self._place.directory / "mongo"),
                *("--cache-size", "128M"),
            ),
            directory=self._place.directory,
        )

    async def is_ready(self) -> bool:
        body = struct.pack("<IB", 0, 0) + _PING
        message = struct.pack("<iiii", 16 + len(body), 1, 0, _OP_MSG) + body
        answer = await exchange(self.port, message, 16 + 5 + 4 + 1)
        return answer[12:16] == struct.pack("<i", _OP_MSG)

    def variables(self) -> Mapping[str, str]:
        return {"PORTICO_MONGO_URL": f"mongodb://{HOST}:{self.port}/?directConnection=true"}
