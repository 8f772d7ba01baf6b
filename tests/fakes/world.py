"""The whole application in memory: users are given, one use case runs, the state is looked at."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from dependency_injector import providers

from adapters.memory.security import (
    MemoryCommonPasswords,
    MemoryPasswordHasher,
    MemoryPasswordTransport,
    MemoryTokens,
)
from adapters.memory.store import MemoryStore
from adapters.memory.unit_of_work import MemoryUnitOfWork
from application.ports.sessions import SessionStore
from application.settings import Environment, Settings, Stores
from application.use_cases.sessions import Caller, Device, LoggedIn, TokenPair
from bootstrap import Container
from domain.identity import Password, User
from domain.sessions import SealedPassword, Session
from tests.fakes.clock import MovableClock

PASSWORD = "correct horse battery staple"

LAPTOP = Device(
    address="192.0.2.1",
    agent="Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
)
PHONE = Device(
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


class World:
    """The container of `bootstrap`, with a clock that stands still and without cryptography.

    `replaced` names further providers of the container and what stands in for them.
    """

    def __init__(self, settings: Settings = IN_MEMORY, **replaced: object) -> None:
        self.clock = MovableClock()
        self.transport = MemoryPasswordTransport()
        self.store = MemoryStore()
        self.container = Container(settings=providers.Object(settings))
        self.container.uow.override(providers.Factory(MemoryUnitOfWork, self.store))
        stand_ins: dict[str, object] = {
            "clock": self.clock,
            "transport": self.transport,
            "hasher": SuspendingHasher(),
            "common_passwords": MemoryCommonPasswords(),
            "tokens": MemoryTokens(settings.sessions, self.clock),
        }
        for name, stand_in in (stand_ins | replaced).items():
            self.container.providers[name].override(providers.Object(stand_in))

    # --- what there is ---

    async def given(self, user: User, *, password: str = PASSWORD) -> User:
        """Store `user` with `password`."""
        user.password_hash = await MemoryPasswordHasher().hash(Password(password))
        async with self.container.uow() as uow:
            await uow.users.add(user)
            await uow.commit()
        return user

    async def change(self, user: User, **changes: Any) -> None:
        """Change what is stored of `user`, as another process would."""
        async with self.container.uow() as uow:
            stored = await uow.users.lock(user.id)
            for name, value in changes.items():
                setattr(stored, name, value)
            await uow.users.save(stored)
            await uow.commit()

    def stored(self, user: User) -> User:
        """Return `user` as everybody sees them."""
        return self.store.users[user.id]

    async def sessions(self, user: User) -> Sequence[Session]:
        """Return the living sessions of `user`, the newest first."""
        store: SessionStore = self.container.session_store()
        return await store.of_user(user.id)

    # --- what a client does ---

    def seal(self, password: str, *, at: datetime | None = None) -> SealedPassword:
        """Encrypt `password` and the time, which is now unless said otherwise."""
        milliseconds = (at or self.clock.now()).timestamp() * 1000
        return self.transport.seal(json.dumps({"p": password, "t": round(milliseconds)}).encode())

    def seal_bare(self, password: str) -> SealedPassword:
        """Encrypt `password` alone."""
        return self.transport.seal(password.encode())

    async def log_in(
        self, name: str, password: str | SealedPassword = PASSWORD, device: Device = LAPTOP
    ) -> LoggedIn:
        sealed = self.seal(password) if isinstance(password, str) else password
        return await self.container.log_in()(name, sealed, device)

    async def log_in_as(self, user: User, device: Device = LAPTOP) -> tuple[Caller, TokenPair]:
        """Log in with `PASSWORD`; return the caller of the requests that follow, and their tokens."""
        tokens = (await self.log_in(user.username.value, device=device)).tokens
        return await self.authenticate(tokens), tokens

    async def authenticate(self, tokens: TokenPair) -> Caller:
        return await self.container.authenticate()(tokens.access_token)

    async def refresh(self, tokens: TokenPair, device: Device = LAPTOP) -> TokenPair:
        return await self.container.refresh_session()(tokens.refresh_token, device)

    async def change_password(
        self,
        caller: Caller,
        old: str | SealedPassword,
        new: str | SealedPassword,
        device: Device = LAPTOP,
    ) -> None:
        await self.container.change_password()(
            caller,
            self.seal(old) if isinstance(old, str) else old,
            self.seal(new) if isinstance(new, str) else new,
            device,
        )

    async def pass_time(self, **elapsed: float) -> None:
        """Let time pass: `seconds=1`, `days=2`."""
        await self.clock.pass_time(timedelta(**elapsed))
