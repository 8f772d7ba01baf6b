"""The whole application in memory: users are given, one use case runs, the state is looked at."""

import asyncio
import json
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any

from dependency_injector import providers

from adapters.memory.common_passwords import MemoryCommonPasswords
from adapters.memory.device_cookies import MemoryDeviceCookies
from adapters.memory.password_hasher import MemoryPasswordHasher
from adapters.memory.password_transport import MemoryPasswordTransport
from adapters.memory.store import MemoryStore
from adapters.memory.tokens import MemoryTokens
from application.ports.log_in_throttle import LogInAttempt, LogInThrottle
from application.ports.sessions import SessionStore
from application.ports.unit_of_work import UnitOfWork
from application.settings import Environment, Settings, Stores
from application.use_cases.caller import Caller, ClientInfo
from application.use_cases.sessions.log_in import LoggedIn
from application.use_cases.sessions.tokens import TokenPair
from bootstrap import Container
from domain.audit_log import AuditEntry
from domain.identity import Password, User, UserId
from domain.password_transport import SealedPassword
from domain.permissions import Route
from domain.roles import Role
from domain.rooms import Room
from domain.scheduling.periodic_tasks import PeriodicTask
from domain.sessions import Session
from tests.support.access_changes import changing
from tests.support.clock import MovableClock

PASSWORD = "correct horse battery staple"

LAPTOP = ClientInfo(
    address="192.0.2.1",
    agent="Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
)
PHONE = ClientInfo(
    address="198.51.100.2",
    agent=(
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/141.0.0.0 Mobile Safari/537.36"
    ),
)

IN_MEMORY = Settings(environment=Environment.TESTING, stores=Stores.MEMORY)


class SuspendingHasher(MemoryPasswordHasher):
    """Lets others run while it works, as every hasher off the event loop does."""

    async def hash(self, password: Password) -> str:
        await asyncio.sleep(0)
        return await super().hash(password)

    async def verify(self, password: Password, stored: str | None) -> bool:
        await asyncio.sleep(0)
        return await super().verify(password, stored)


# Making a container, and looking for its singletons, takes longer than most tests.
_idle_containers: list[tuple[Container, Sequence[providers.BaseSingleton[Any]]]] = []


def _a_container() -> tuple[Container, Sequence[providers.BaseSingleton[Any]]]:
    container = Container()
    return container, [*container.traverse(types=[providers.BaseSingleton])]


class World:
    """The container of `bootstrap`, with a clock that stands still and without cryptography.

    `replaced` names further providers of the container and what stands in for them.
    """

    def __init__(self, settings: Settings = IN_MEMORY, **replaced: object) -> None:
        self.clock = MovableClock()
        self.transport = MemoryPasswordTransport()
        self.container, self._singletons = (
            _idle_containers.pop() if _idle_containers else _a_container()
        )
        self.container.settings.override(providers.Object(settings))
        stand_ins: dict[str, object] = {
            "clock": self.clock,
            "transport": self.transport,
            "hasher": SuspendingHasher(),
            "device_cookies": MemoryDeviceCookies(),
            "common_passwords": MemoryCommonPasswords(),
            "tokens": MemoryTokens(settings.sessions, self.clock),
            "keys_in_use": {"access": "of 2026", "transport": "of 2025"},
        }
        for name, stand_in in (stand_ins | replaced).items():
            self.container.providers[name].override(providers.Object(stand_in))
        self.store: MemoryStore = self.container.memory_store()

    def end(self) -> None:
        """Leave the container, as good as new, to a later world; this one may not be used any more."""
        for singleton in self._singletons:
            singleton.reset()
        self.container.reset_override()
        _idle_containers.append((self.container, self._singletons))

    # --- what there is ---

    async def given(self, user: User, *roles: Role, password: str = PASSWORD) -> User:
        """Store `user` with `password`, and with `roles`, which are stored too unless they are already."""
        user.password_hash = await MemoryPasswordHasher().hash(Password(password))
        async with self.container.uow() as uow:
            await uow.users.add(user)
            for role in roles:
                if role.id not in self.store.roles:
                    await uow.roles.add(role)
            await uow.roles.assign(user.id, [role.id for role in roles])
            await uow.commit()
        return user

    async def given_role(self, role: Role) -> Role:
        """Store a role that no user has."""
        async with self.container.uow() as uow:
            await uow.roles.add(role)
            await uow.commit()
        return role

    async def given_task(self, task: PeriodicTask) -> PeriodicTask:
        """Store a periodic task."""
        async with self.container.uow() as uow:
            await uow.periodic_tasks.add(task)
            await uow.commit()
        return task

    async def given_room(self, room: Room, *members: User) -> Room:
        """Store a room, in place of one with its id, and its members."""
        async with self.container.uow() as uow:
            await uow.rooms.add(room)
            for member in members:
                await uow.rooms.add_member(room.id, member.id)
            await uow.commit()
        return room

    async def given_routes(self, *codes: str) -> None:
        """Offer guarded routes with these permission codes, and no others."""
        parts = [code.split(":", 1) for code in codes]
        await self.container.sync_routes()(
            [Route(method=method, path=path, name=path) for method, path in parts]
        )

    def changing(
        self, user_ids: Collection[UserId] = (), *, everyone: bool = False
    ) -> AbstractAsyncContextManager[UnitOfWork]:
        """Give a unit of work that changes what somebody may do, as another process would."""
        container = self.container
        return changing(container.uow, container.commit_access(), user_ids, everyone=everyone)

    async def change(self, user: User, **changes: Any) -> None:
        """Change what is stored of `user`, as another process would."""
        async with self.changing([user.id]) as uow:
            stored = await uow.users.lock(user.id)
            for name, value in changes.items():
                setattr(stored, name, value)
            await uow.users.save(stored)

    async def remove(self, user: User) -> None:
        """Remove `user`, as another process would, but leave their sessions."""
        async with self.changing([user.id]) as uow:
            await uow.users.delete(user.id)

    def stored(self, user: User) -> User:
        """Return `user` as everybody sees them."""
        return self.store.users[user.id]

    def roles_of(self, user: User) -> set[str]:
        """Return the codes of the roles that `user` has, as everybody sees them."""
        return {self.store.roles[role_id].code.value for role_id in self.store.user_roles[user.id]}

    def audit_entries(self) -> list[AuditEntry]:
        """Return the audit entries that are to be delivered, in the order of their recording."""
        return list(self.store.outbox.values())

    async def deliver(self) -> None:
        """Bring them to the audit log."""
        await self.container.outbox_relay().deliver()

    async def sessions(self, user: User) -> Sequence[Session]:
        """Return the living sessions of `user`, the newest first."""
        store: SessionStore = self.container.session_store()
        return await store.of_user(user.id)

    async def knows(self, user: User, device: str | None) -> bool:
        """Tell whether a device that shows this token is known to the account of `user`."""
        throttle: LogInThrottle = self.container.log_in_throttle()
        attempt = LogInAttempt(
            name=user.username.value, user_id=user.id, address="192.0.2.99", device=device
        )
        return (await throttle.reserve(attempt)).known_device

    # --- what a client does ---

    def seal(self, password: str, *, at: datetime | None = None) -> SealedPassword:
        """Encrypt `password` and the time, which is now unless said otherwise."""
        milliseconds = (at or self.clock.now()).timestamp() * 1000
        return self.transport.seal(json.dumps({"p": password, "t": round(milliseconds)}).encode())

    def seal_bare(self, password: str) -> SealedPassword:
        """Encrypt `password` alone."""
        return self.transport.seal(password.encode())

    async def log_in(
        self,
        name: str,
        password: str | SealedPassword = PASSWORD,
        client: ClientInfo = LAPTOP,
        *,
        device: str | None = None,
    ) -> LoggedIn:
        sealed = self.seal(password) if isinstance(password, str) else password
        return await self.container.log_in()(name, sealed, client, device=device)

    async def log_in_as(self, user: User, client: ClientInfo = LAPTOP) -> tuple[Caller, TokenPair]:
        """Log in with `PASSWORD`; return the caller of the requests that follow, and their tokens."""
        tokens = (await self.log_in(user.username.value, client=client)).tokens
        caller = await self.authenticate(tokens, accepts_one_time_password=True, client=client)
        return caller, tokens

    async def authenticate(
        self,
        tokens: TokenPair,
        *,
        permission: str | None = None,
        accepts_one_time_password: bool = False,
        client: ClientInfo = LAPTOP,
    ) -> Caller:
        return await self.container.guard()(
            tokens.access_token,
            client,
            permission=permission,
            accepts_one_time_password=accepts_one_time_password,
        )

    async def refresh(self, tokens: TokenPair, client: ClientInfo = LAPTOP) -> TokenPair:
        return await self.container.refresh_session()(tokens.refresh_token, client)

    async def change_password(
        self,
        caller: Caller,
        old: str | SealedPassword,
        new: str | SealedPassword,
        *,
        device: str | None = None,
    ) -> None:
        await self.container.change_password()(
            caller,
            self.seal(old) if isinstance(old, str) else old,
            self.seal(new) if isinstance(new, str) else new,
            device=device,
        )

    async def pass_time(self, **elapsed: float) -> None:
        """Let time pass: `seconds=1`, `days=2`."""
        await self.clock.pass_time(timedelta(**elapsed))
