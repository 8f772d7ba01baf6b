"""Why a server cannot be used, in words for operators: without secrets, and no text of which that is not known."""

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator

_NUMBER = re.compile(r"\[Errno (-?\d+)\]|\bError (-?\d+)\b")
_TLS = re.compile(r"\[SSL: (\w+)\]|\bSSL: (\w+)|(CERTIFICATE_VERIFY_FAILED)")
_NO_HOST = {getattr(socket, name) for name in dir(socket) if name.startswith("EAI_")}
_SAID_OTHERWISE = {
    errno.ECONNREFUSED: "connection refused: nothing listens there",
    errno.ENOENT: "its Unix socket or a file that the address names does not exist",
    errno.ETIMEDOUT: "no answer in time",
    errno.ECONNRESET: "it closes the connection; does one side speak TLS and the other not?",
    errno.EPIPE: "it closes the connection; does one side speak TLS and the other not?",
}
NO_ANSWER = "no answer in time"
MAYBE_NO_TLS = f"{NO_ANSWER}; does it speak TLS on this port, as the address demands?"
NO_TLS = "it does not speak TLS on this port, as the address demands"
UNKNOWN_HOST = "its host name is not known to DNS"


def network_reason(error: BaseException) -> str | None:
    """Return the error of the network, of TLS or the time-out inside an error of a driver; None if there is none."""
    for read in (_of, _in):
        for each in chain(error):
            if reason := read(each):
                return reason
    return None


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those that it came from, the last one first."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _of(error: BaseException) -> str | None:
    match error:
        case ssl.SSLError():  # some that pretend to be one have no attributes of it
            what = getattr(error, "reason", None)
            return _tls(what, getattr(error, "verify_message", "")) if what else None
        case socket.gaierror():
            return UNKNOWN_HOST
        case TimeoutError():
            return NO_ANSWER
        case ConnectionResetError() | BrokenPipeError() | ConnectionAbortedError() | EOFError():
            return _SAID_OTHERWISE[errno.ECONNRESET]
        case OSError(errno=int(number)):
            return _system(number)
        case _:
            return None


def _in(error: BaseException) -> str | None:
    """Return what the text of an error says: some drivers keep nothing else of the system's error."""
    text = str(error)
    if found := _TLS.search(text):
        tls = next(part for part in found.groups() if part)
        return _tls(tls)
    if found := _NUMBER.search(text):
        return _system(int(found[1] or found[2]))
    return None


def _system(number: int) -> str:
    if number in _NO_HOST:
        return UNKNOWN_HOST
    return _SAID_OTHERWISE.get(number) or os.strerror(number).lower()


def _tls(what: str, why: str = "") -> str:
    if what == "CERTIFICATE_VERIFY_FAILED":
        return f"its certificate is not accepted{f': {why}' if why else ''}"
    if what in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING"}:
        return NO_TLS
    return f"TLS fails: {what.lower().replace('_', ' ')}"
