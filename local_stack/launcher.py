"""Become another program that ends when its parent does. Run as a script; it knows only the standard library.

    launcher.py --parent PID [--orphan-signal N] [--user UID --path PATH …] -- PROGRAM ARGUMENT…

It replaces itself with PROGRAM, so whoever started it holds the pid of PROGRAM itself.
"""

import argparse
import ctypes
import os
import pwd
import select
import signal
import sys
from collections.abc import Sequence

# linux/prctl.h, linux/securebits.h, linux/capability.h
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_CAP_SETPCAP = 8


def main(argv: Sequence[str]) -> None:
    """Become the program that the arguments name."""
    parser = argparse.ArgumentParser(prog="launcher")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--orphan-signal", type=int, default=signal.SIGKILL)
    parser.add_argument("--user", type=int)
    parser.add_argument("--path", action="append", default=[])
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(argv)

    os.umask(0o077)
    if options.user is not None:
        drop_privileges(options.user, paths=options.path)
    # After the change of user, which would clear it.
    if sys.platform == "linux":
        die_with_parent(options.orphan_signal)
    else:
        watch_parent(options.parent, options.orphan_signal)
    if os.getppid() != options.parent:
        sys.exit("The parent ended before the child began")
    os.execv(options.command[0], options.command)  # noqa: S606 - the very point of a launcher


def die_with_parent(orphan_signal: int) -> None:
    """Ask the kernel to send `orphan_signal` here when the thread that started this process ends (Linux)."""
    _check(_libc().prctl(_PR_SET_PDEATHSIG, orphan_signal, 0, 0, 0))


def watch_parent(parent: int, orphan_signal: int) -> None:
    """Leave a process behind that sends `orphan_signal` here once `parent` is gone (any Unix)."""
    child = os.getpid()
    if os.fork() != 0:
        return
    while os.getppid() == child:
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os.kill(child, orphan_signal)
            break
        select.select([], [], [], 0.5)
    os._exit(0)


def drop_privileges(uid: int, *, paths: Sequence[str]) -> None:
    """Give up root for good and be `uid`.

    Where that user may not look into a folder above one of the paths (a private home), keep the one
    capability that is needed to pass through. The permissions of those folders are their owner's affair.
    """
    linux = sys.platform == "linux"
    if linux:
        _check(_libc().prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setgroups([])
    os.setgid(pwd.getpwuid(uid).pw_gid)
    os.setuid(uid)
    hidden = [path for path in paths if not os.access(path, os.X_OK)]
    if hidden and linux:
        _keep_search_capability()
    elif hidden:
        name = pwd.getpwuid(uid).pw_name
        sys.exit(f"The user {name} cannot reach {hidden[0]}; start as another user than root")


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _keep_search_capability() -> None:
    libc = _libc()
    permitted = _capabilities(libc)
    # The narrower one first; containers often have only the other.
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        kept = 1 << capability
        if permitted & kept:
            _hold(libc, kept | 1 << _CAP_SETPCAP, inheritable=kept)
            # Or access(2), with which PostgreSQL looks at its own files, would ignore capabilities.
            _check(libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
            _hold(libc, kept, inheritable=kept)
            _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0))
            return
    sys.exit("root may not look into every folder here; start as another user than root")


def _capabilities(libc: ctypes.CDLL) -> int:
    """Return which of the first 32 capabilities this process may use."""
    data = (_Data * 2)()
    _check(libc.capget(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), data))
    return int(data[0].permitted)


def _hold(libc: ctypes.CDLL, capabilities: int, *, inheritable: int) -> None:
    """Give up all other capabilities."""
    data = (_Data * 2)(_Data(capabilities, capabilities, inheritable), _Data(0, 0, 0))
    _check(libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), data))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


if __name__ == "__main__":
    main(sys.argv[1:])
