"""The block that says where everything is, once everything is there."""

from dataclasses import dataclass, field
from pathlib import Path

from application.settings import HttpSettings, Settings
from application.use_cases.identity.registration import NewAdministrator
from bootstrap import Container
from entrypoints.cli import console
from entrypoints.cli.administrator import can_make_administrator, first_administrator
from entrypoints.cli.liveness import reachable_host


@dataclass(frozen=True, slots=True)
class Credentials:
    """How the first administrator logs in, as far as it may be shown."""

    username: str
    password: str | None = field(repr=False)
    hint: str


async def credentials(container: Container) -> Credentials:
    """Make the first administrator if there is none yet and the operator would know the password."""
    settings = container.settings()
    wanted = settings.first_administrator
    if not can_make_administrator(settings):
        return Credentials(wanted.username, None, "set PORTICO_ADMIN_PASSWORD to create this user")
    made: NewAdministrator | None = await first_administrator(container)
    if made is None:
        return Credentials(
            wanted.username, None, "unchanged; it was shown when the user was created"
        )
    if made.one_time_password is None:
        return Credentials(made.user.username.value, None, "as in PORTICO_ADMIN_PASSWORD")
    return Credentials(
        made.user.username.value,
        made.one_time_password,
        "shown only once; works for one log-in within 24 hours, then it must be changed",
    )


def show(settings: Settings, shown: Credentials, *, reload: bool, json: bool) -> None:
    """Print it, in lines of a label and a value or as one line of JSON."""
    address = address_of(settings.http)
    docs = f"{address}/docs" if settings.environment.debug else None
    data = settings.data_dir.resolve()
    if json:
        console.show_json(
            {
                "api": address,
                "docs": docs,
                "username": shown.username,
                "password": shown.password,
                "data_dir": str(data),
            }
        )
        return
    lines = {
        "API": address,
        "Docs": docs,
        "Username": shown.username,
        "Password": f"{shown.password}   ({shown.hint})" if shown.password else f"({shown.hint})",
        "Data": data,
        "Server logs": logs_in(data),
        "Reload": "when Python, Lua or .env files of the project change" if reload else None,
        "Stop": "Ctrl-C",
    }
    text = "\n".join(f"  {label:<12}  {value}" for label, value in lines.items() if value)
    console.show(f"\nPortico is ready\n{text}\n")


def address_of(http: HttpSettings) -> str:
    """Return the address under which this machine reaches the API."""
    host = reachable_host(http.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{http.port}"


def logs_in(data: Path) -> Path | None:
    """Return the folder with the logs of servers started here, if there were any."""
    folder = data / "logs"
    return folder if folder.is_dir() else None
