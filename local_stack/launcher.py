"""Replaces itself by a program that ends when its parent ends. Run as a script, with the standard library only.

    launcher.py --parent PID [--orphan-signal N] [--user UID --path PATH …] -- PROGRAM ARGUMENT…

It replaces itself with PROGRAM, so its parent has the pid of PROGRAM itself.
"""

import argparse
import ctypes
import os
import pwd
import select
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# linux/capability.h; the narrower one first, but containers often have only the other.
_MAY_SEARCH = {"dac_read_search": 1 << 2, "dac_override": 1 << 1}


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
    command = options.command
    if options.user is not None:
        command = as_user(options.user, options.path, options.orphan_signal, command)
    # After a change of user, which would clear it.
    if sys.platform == "linux":
        die_with_parent(options.orphan_signal)
    else:
        watch_parent(options.parent, options.orphan_signal)
    if os.getppid() != options.parent:
        sys.exit("The parent ended before the child began")
    os.execv(command[0], command)  # noqa: S606 - the very point of a launcher


def die_with_parent(orphan_signal: int) -> None:
    """Ask the kernel to send `orphan_signal` here when the thread that started this process ends (Linux)."""
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, orphan_signal, 0, 0, 0) != 0:
        sys.exit("The kernel does not watch the parent")


def watch_parent(parent: int, orphan_signal: int) -> None:
    """Fork a process that sends `orphan_signal` to this one when `parent` has ended (any Unix)."""
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


def as_user(
    uid: int, paths: Sequence[str], orphan_signal: int, command: Sequence[str]
) -> Sequence[str]:
    """Return the command that runs `command` as the user `uid`. Without setpriv(1), change the user of this process.

    If that user cannot enter a folder above one of the paths (a private home), setpriv keeps the one capability
    that this needs. The permissions of those folders belong to their owner and are not changed.
    """
    user = pwd.getpwuid(uid)
    os.setgroups([])
    os.setegid(user.pw_gid)
    os.seteuid(uid)
    hidden = [path for path in paths if not os.access(path, os.X_OK, effective_ids=True)]
    os.seteuid(0)
    places = (f"{folder}/setpriv" for folder in os.get_exec_path())
    setpriv = next((place for place in places if os.access(place, os.X_OK)), None)
    if setpriv is None:
        os.setgid(user.pw_gid)
        os.setuid(uid)
    capability = _capability_to_search() if hidden and setpriv else None
    if hidden and capability is None:
        sys.exit(
            f"The user {user.pw_name} cannot reach {hidden[0]}; start as another user than root"
        )
    if setpriv is None:
        return command
    kept = f"-all,+{capability}" if capability else "-all"
    return [
        setpriv,
        *(f"--reuid={uid}", f"--regid={user.pw_gid}", "--clear-groups"),
        *(f"--inh-caps={kept}", f"--ambient-caps={kept}"),
        # Otherwise access(2), which PostgreSQL calls for its own files, ignores the capability.
        *(("--securebits=+no_setuid_fixup",) if capability else ()),
        # The change of user clears it.
        f"--pdeathsig={signal.Signals(orphan_signal).name.removeprefix('SIG')}",
        "--",
        *command,
    ]


def _capability_to_search() -> str | None:
    """Return a capability of this process that lets it enter every folder, if it has one."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - pathlib takes long to import
        held = next(int(line.split()[1], 16) for line in status if line.startswith("CapPrm:"))
    return next((name for name, bit in _MAY_SEARCH.items() if held & bit), None)


if __name__ == "__main__":
    main(sys.argv[1:])
