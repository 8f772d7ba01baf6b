"""The profile of the caller."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.ports.system import Clock
from application.ports.unit_of_work import UnitOfWorkFactory
from application.use_cases.access.guard import Authorize
from application.use_cases.audit_log import RecordAudit, difference
from application.use_cases.caller import Caller, lock_caller
from domain.identity import Email, PersonName, User
from domain.roles import Role
from domain.sessions import InvalidToken


@dataclass(frozen=True, slots=True)
class UserWithRoles:
    """A user and their roles, including disabled ones."""

    user: User
    roles: Sequence[Role]


@dataclass(frozen=True, slots=True)
class GetProfile:
    """Get the caller's own user and roles."""

    uow: UnitOfWorkFactory

    async def __call__(self, caller: Caller) -> UserWithRoles:
        async with self.uow() as uow:
            user = await uow.users.find(caller.user_id)
            if user is None:
                raise InvalidToken("the user is gone")
            roles = await uow.roles.of_users([user.id])
        return UserWithRoles(user, roles.get(user.id, ()))


@dataclass(frozen=True, slots=True)
class UpdateProfile:
    """Change the caller's name or email."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    clock: Clock
    audit: RecordAudit

    async def __call__(
        self, caller: Caller, *, name: PersonName | None, email: Email | None
    ) -> UserWithRoles:
        """Return the changed user; raise `EmailTaken`."""
        async with self.uow() as uow:
            await uow.roles.lock_access()
            user = await lock_caller(uow, caller)
            await self.authorize(uow, caller)
            roles = (await uow.roles.of_users([user.id])).get(user.id, ())
            before = _facts(user)
            if name is not None and name != user.name:
                user.rename(name, at=self.clock.now())
            if email is not None and email != user.email:
                user.change_email(email, at=self.clock.now())
            changes = difference(before, _facts(user))
            if changes:
                await uow.users.save(user)
                await self.audit(
                    uow,
                    "users.profile_changed",
                    caller.client,
                    actor=user.id,
                    target=f"user:{user.id}",
                    details=changes,
                )
                await uow.commit()
        return UserWithRoles(user, roles)


def _facts(user: User) -> dict[str, object]:
    return {"name": user.name.value, "email": user.email.value}
