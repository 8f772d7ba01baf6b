"""The MongoDB protocol: SecantusDB from the wheel `secantusdb`."""

import struct
import sys
from collections.abc import Mapping
from typing import ClassVar

from local_stack.children import Spec
from local_stack.probe import probe
from local_stack.servers import HOST, Server, packaged

# BSON of {"ping": 1, "$db": "admin"}, and of the answer's end: "ok": 1.0, then the end of the document.
_PING = b"\x1e\0\0\0\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0"
_OP_MSG = 2013

_USER = "portico"
# Written to the files, because a server without users would accept everybody.
_ADD_USER = """
import sys
from secantus import SecantusDBServer
from secantus.auth import SCRAM_SHA_256, derive_credentials

path, user = sys.argv[1:]
credentials = derive_credentials(sys.stdin.read(), mechanism=SCRAM_SHA_256, username=user)
storage = SecantusDBServer(storage_path=path).storage
storage.add_user("admin", user, {
    "_id": f"admin.{user}",
    "user": user,
    "db": "admin",
    "credentials": credentials.to_doc(),
    "roles": [{"role": "root", "db": "admin"}],
    "mechanisms": [SCRAM_SHA_256],
}, replace=True)
storage.close()
"""


class Mongo(Server):
    """A replica set of one member, on the loopback interface, with a password.

    It reads and sorts all that a query matches before it cuts off a page: half a second for 10,000 audit entries.
    """

    name: ClassVar[str] = "mongo"
    components: ClassVar[tuple[str, ...]] = ("mongo",)
    package: ClassVar[str] = "secantusdb"
    # It waits 2 s for another connection, but its log is on disk after 0.1 s.
    stop_within: ClassVar[float] = 0.7

    async def prepare(self) -> None:
        """Create the user, and write an empty configuration: otherwise the server reads that of its OS user."""
        packaged(self.package, "secantus/__main__.py")
        (self._place.directory / "mongo").mkdir(mode=0o700, exist_ok=True)
        (self._place.directory / "mongo.toml").write_text("")
        has_user = self._place.directory / "mongo.user"
        if not has_user.exists():
            await self._place.run(
                Spec(
                    name=self.name,
                    command=(sys.executable, "-I", "-c", _ADD_USER, "mongo", _USER),
                    directory=self._place.directory,
                ),
                self._place.secret.encode(),
            )
            has_user.touch(mode=0o600)

    def spec(self) -> Spec:
        # Relative paths, so that the directory may have any name.
        return Spec(
            name=self.name,
            command=(
                sys.executable,
                *("-I", "-m", "secantus"),
                *("--config", "mongo.toml"),
                "--auth",
                *("--host", HOST),
                *("--port", str(self.port)),
                *("--storage-path", "mongo"),
                *("--cache-size", "128M"),
            ),
            directory=self._place.directory,
        )

    async def is_ready(self) -> bool:
        body = struct.pack("<IB", 0, 0) + _PING
        message = struct.pack("<iiii", 16 + len(body), 1, 0, _OP_MSG) + body
        answer = await probe(self.port, message, 16 + 5 + 4 + 1)
        return answer[12:16] == struct.pack("<i", _OP_MSG)

    def variables(self) -> Mapping[str, str]:
        user = f"{_USER}:{self._place.secret}"
        return {"PORTICO_MONGO_URL": f"mongodb://{user}@{HOST}:{self.port}/?directConnection=true"}
