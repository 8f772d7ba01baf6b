"""`portico set-password`."""

import sys
from getpass import getpass
from pathlib import Path

import bootstrap
from application.settings import Stores
from domain.identity import Password
from entrypoints.cli import console
from entrypoints.cli.connection import connected, wait_for
from entrypoints.cli.errors import MemoryNotShared, Refused


def read(file: Path | None) -> Password:
    """Return the password in the file, else from the terminal, else from standard input; raise `Refused`."""
    if file is not None:
        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise Refused(f"{file} cannot be read: {why}") from None
    elif sys.stdin.isatty():
        text = getpass("New password: ")
        if getpass("Repeat the password: ") != text:
            raise Refused("The passwords differ; nothing was changed")
    else:
        text = sys.stdin.read()
    return Password(text.rstrip("\r\n"))


async def store(name: str, password: Password, *, patience: float, json: bool) -> None:
    """Set the password of the user with this username or email, and say so."""
    if bootstrap.load_settings().stores is Stores.MEMORY:
        raise MemoryNotShared
    async with connected(patience=patience) as container:
        await wait_for(container, {"redis"}, patience=patience)
        user = await container.set_password()(name, password)
    username = user.username.value
    if json:
        console.show_json({"username": username, "active": user.is_active})
        return
    console.show(f"{username} has the new password; all their sessions have ended")
    if not user.is_active:
        console.say(
            f"{username} is disabled and cannot log in; an administrator can enable the account"
        )
