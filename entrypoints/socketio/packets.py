"""Packets as the protocol has them (Socket.IO 5), and nothing else: any other raises `ValueError`."""

import json
from typing import Any

from socketio import packet

MAX_ATTACHMENTS = 10
"""As in socket.io-parser, which has it since 4.2.6."""


class BinaryData(list[Any]):
    """The data of a packet that came with attachments."""


def has_binary(value: Any) -> bool:
    """Return whether a value has bytes in it, however deep."""
    if isinstance(value, dict):
        return any(map(has_binary, value.values()))
    if isinstance(value, list):
        return any(map(has_binary, value))
    return isinstance(value, bytes | bytearray)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


class StrictJson:
    """JSON without NaN and Infinity, which Python reads and writes, and at which JavaScript clients disconnect."""

    _decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    _encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

    @classmethod
    def loads(cls, text: str) -> Any:
        return cls._decoder.decode(text)

    @classmethod
    def dumps(cls, value: Any, **_: Any) -> str:
        return cls._encoder.encode(value)


class StrictPacket(packet.Packet):  # type: ignore[misc]  # python-socketio has no types
    """A packet whose parts are what its type says."""

    json = StrictJson
    data_is_binary = staticmethod(has_binary)

    def decode(self, encoded_packet: str | bytes) -> int:
        if not isinstance(encoded_packet, str):
            raise ValueError("an attachment without a packet")  # noqa: TRY004  all faults are of one kind
        try:
            count: int = super().decode(encoded_packet)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if self.packet_type in (packet.BINARY_EVENT, packet.BINARY_ACK):
            if count > MAX_ATTACHMENTS:
                raise ValueError("too many attachments")
            if count == 0:
                self.packet_type -= packet.BINARY_EVENT - packet.EVENT
        elif count:
            raise ValueError("attachments of a packet that has none")
        self._check_data()
        return count

    def _check_data(self) -> None:
        data = self.data
        match self.packet_type:
            case packet.CONNECT:
                is_valid = data is None or isinstance(data, dict)
            case packet.DISCONNECT:
                is_valid = data is None
            case packet.EVENT | packet.BINARY_EVENT:
                is_valid = isinstance(data, list) and bool(data) and isinstance(data[0], str)
            case packet.ACK | packet.BINARY_ACK:
                is_valid = isinstance(data, list) and self.id is not None
            case packet.CONNECT_ERROR:
                is_valid = isinstance(data, str | dict)
            case _:
                is_valid = False
        if not is_valid:
            raise ValueError("the data does not fit the type of the packet")

    def add_attachment(self, attachment: str | bytes) -> bool:
        if not isinstance(attachment, bytes):
            raise ValueError("text where an attachment is due")  # noqa: TRY004
        try:
            is_complete: bool = super().add_attachment(attachment)
        except (LookupError, TypeError) as error:
            raise ValueError("a placeholder of no attachment") from error
        return is_complete

    @classmethod
    def reconstruct_binary(cls, data: Any, attachments: list[bytes]) -> BinaryData:
        return BinaryData(super().reconstruct_binary(data, attachments))
