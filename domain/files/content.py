"""Media types: which there are, how their content begins, and how a browser may get them."""

import codecs
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from domain.files.errors import InvalidFile

LOOKED_AT = 4096
"""How many bytes of the beginning are compared with the type."""

_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")


@dataclass(frozen=True, slots=True)
class MediaType:
    """A type and a subtype without parameters, in lower case (RFC 6838 §4.2), for example `image/png`."""

    LENGTH: ClassVar = (3, 129)

    value: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", self.value.lower())
        if not _TYPE.fullmatch(self.value):
            raise InvalidFile("must be a media type such as image/png", field="content_type")

    @property
    def may_be_shown(self) -> bool:
        """Whether a browser may show it in a page. What it might execute is downloaded instead."""
        return self.value in _SHOWN

    def begins_like(self, head: bytes) -> bool:
        """Return whether content of this type may begin with `head`, its first `LOOKED_AT` bytes.

        Of types that have no signature anything is accepted.
        """
        if self.value in _SIGNATURES:
            return _SIGNATURES[self.value](head)
        if self.value.startswith("text/") or self.value.endswith(("+xml", "+json")):
            return _is_text(head)
        return True


_SHOWN = frozenset(
    {
        *("image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "application/pdf"),
        *("audio/mpeg", "audio/ogg", "audio/wav", "video/mp4", "video/webm"),
    }
)


def _starts(*signatures: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(signatures, at)


def _riff(kind: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(b"RIFF") and head.startswith(kind, 8)


def _brand(*brands: bytes) -> Callable[[bytes], bool]:
    """Return the check of an ISO base media file (ISO/IEC 14496-12): the major brand, or a compatible one."""

    def check(head: bytes) -> bool:
        size = int.from_bytes(head[:4], "big")
        named = {head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))}
        return head.startswith(b"ftyp", 4) and not named.isdisjoint(brands)

    return check


def _is_text(head: bytes) -> bool:
    """Return whether this is UTF-8 without NUL; the last character may be cut off."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return "\0" not in text


_ZIP = _starts(b"PK\x03\x04", b"PK\x05\x06")
_OOXML = "application/vnd.openxmlformats-officedocument"

# The beginnings of files, after the WHATWG's MIME Sniffing Standard and the specifications of the formats.
_SIGNATURES: Mapping[str, Callable[[bytes], bool]] = {
    "image/jpeg": _starts(b"\xff\xd8\xff"),
    "image/png": _starts(b"\x89PNG\r\n\x1a\n"),
    "image/gif": _starts(b"GIF87a", b"GIF89a"),
    "image/webp": _riff(b"WEBPVP8"),
    "image/avif": _brand(b"avif", b"avis"),
    "application/pdf": _starts(b"%PDF-"),
    "application/zip": _ZIP,
    "application/gzip": _starts(b"\x1f\x8b"),
    f"{_OOXML}.wordprocessingml.document": _ZIP,
    f"{_OOXML}.spreadsheetml.sheet": _ZIP,
    f"{_OOXML}.presentationml.presentation": _ZIP,
    "audio/mpeg": _starts(b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"),
    "audio/ogg": _starts(b"OggS"),
    "audio/wav": _riff(b"WAVE"),
    "video/mp4": _brand(
        *(b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"dash", b"M4V ")
    ),
    "video/webm": _starts(b"\x1a\x45\xdf\xa3"),
    "application/json": _is_text,
    "application/xml": _is_text,
}
