"""`portico create-admin`, and the administrator that `portico run` makes."""

from collections.abc import Mapping

from application.setting_problems import Problem, UnsafeSettings
from application.settings import Settings, Stores
from application.use_cases.identity.registration import NewAdministrator
from bootstrap import Container
from domain.errors import Invalid
from domain.identity import AdministratorExists
from entrypoints.cli import console
from entrypoints.cli.connection import connected
from entrypoints.cli.errors import MemoryNotKept


async def create(wanted: Mapping[str, str], *, patience: float, json: bool) -> None:
    """Make the first administrator and say so, or raise `MemoryNotKept`; see `first_administrator`."""
    async with connected(patience=patience, **wanted) as container:
        if container.settings().stores is Stores.MEMORY:
            raise MemoryNotKept("`portico run` makes an administrator in its own")
        administrator = await first_administrator(container)
    if json:
        console.show_json(
            {
                "created": administrator is not None,
                "username": administrator.user.username.value if administrator else None,
                "one_time_password": administrator.one_time_password if administrator else None,
            }
        )
    elif administrator is None:
        console.show("There is an active administrator already; nothing was changed")
    else:
        console.show(f"Username        {administrator.user.username.value}")
        if administrator.one_time_password:
            console.show(f"Password        {administrator.one_time_password}")
            console.show(
                "It is shown only once and works for one log-in within 24 hours; then it must be changed"
            )


async def first_administrator(container: Container) -> NewAdministrator | None:
    """Make the administrator that the settings describe, or return None if there is an active one.

    Raise `UnsafeSettings` if the password would be lost, or if a value is refused.
    """
    settings = container.settings()
    if not can_make_administrator(settings):
        raise UnsafeSettings(
            (
                Problem(
                    "PORTICO_ADMIN_PASSWORD",
                    f"must be set in {settings.environment}, where no one-time password is printed",
                ),
            )
        )
    try:
        return await container.create_first_administrator()(settings.first_administrator)
    except AdministratorExists:
        return None
    except Invalid as error:
        variable = f"PORTICO_ADMIN_{error.field.upper()}"
        raise UnsafeSettings((Problem(variable, f"is refused: {error.detail}"),)) from None


def can_make_administrator(settings: Settings) -> bool:
    """Return whether the operator would know the password: deployed environments print none."""
    return settings.environment.debug or settings.first_administrator.password is not None
