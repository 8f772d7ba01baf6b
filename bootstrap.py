"""The composition root: settings → adapters → use cases. Entrypoints ask it; nothing else knows it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from dependency_injector import containers, providers

from adapters.environment.load import load_settings
from adapters.memory.identity import MemoryUnitOfWork, MemoryUsers
from adapters.memory.sessions import (
    MemoryLogInThrottle,
    MemoryRateLimiter,
    MemorySeenCiphertexts,
    MemorySessionStore,
)
from adapters.memory.system import MemorySchema
from adapters.mongo.client import mongo_client
from adapters.mongo.health import MongoProbe
from adapters.observability import configure_logging
from adapters.postgres.engine import postgres_engine
from adapters.postgres.health import PostgresProbe
from adapters.postgres.schema import PostgresSchema
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from adapters.redis.client import redis_client
from adapters.redis.health import RedisProbe
from adapters.redis.sessions import RedisSeenCiphertexts, RedisSessionStore
from adapters.redis.throttle import RedisLogInThrottle, RedisRateLimiter
from adapters.s3.client import S3Client
from adapters.s3.health import S3Probe
from adapters.security.common_passwords import ZxcvbnCommonPasswords
from adapters.security.key_directory import make_keys, rotate_keys
from adapters.security.keys import Keys, load_keys
from adapters.security.passwords import Argon2PasswordHasher
from adapters.security.pool import HashingPool
from adapters.security.tokens import JoseTokens
from adapters.security.transport import RsaPasswordTransport
from adapters.system import SystemClock, SystemSecrets, Uuid7Generator
from application.settings import Settings, UnsafeSettings
from application.use_cases import health, identity, sessions

__all__ = [
    "Container",
    "build",
    "configure_logging",
    "load_settings",
    "make_keys",
    "rotate_keys",
    "running",
    "write_migration",
]


class Container(containers.DeclarativeContainer):
    """Every object of the process. Engines and clients connect when they are first used."""

    settings = providers.Dependency(instance_of=Settings)
    keys = providers.Dependency(instance_of=Keys)
    stores = settings.provided.stores

    clock = providers.Singleton(SystemClock)
    ids = providers.Singleton(Uuid7Generator)
    secrets = providers.Singleton(SystemSecrets)

    # --- what is opened once and closed at the end ---
    hashing_pool = providers.Singleton(HashingPool, settings.provided.passwords)
    engine = providers.Singleton(postgres_engine, settings.provided.postgres)
    redis = providers.Singleton(redis_client, settings.provided.redis)
    mongo = providers.Singleton(mongo_client, settings.provided.mongo)
    s3 = providers.Singleton(S3Client, settings.provided.s3)

    # --- adapters ---
    uow = providers.Selector(
        stores,
        memory=providers.Factory(MemoryUnitOfWork, providers.Singleton(MemoryUsers)),
        servers=providers.Factory(PostgresUnitOfWork, engine),
    )
    schema = providers.Selector(
        stores,
        memory=providers.Singleton(MemorySchema),
        servers=providers.Singleton(PostgresSchema, settings.provided.postgres),
    )
    session_store = providers.Selector(
        stores,
        memory=providers.Singleton(MemorySessionStore, clock),
        servers=providers.Singleton(RedisSessionStore, redis),
    )
    seen_ciphertexts = providers.Selector(
        stores,
        memory=providers.Singleton(MemorySeenCiphertexts, clock),
        servers=providers.Singleton(RedisSeenCiphertexts, redis),
    )
    log_in_throttle = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryLogInThrottle, settings.provided.throttle),
        servers=providers.Singleton(
            RedisLogInThrottle, redis, settings.provided.throttle, keys.provided.name_key
        ),
    )
    rate_limiter = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryRateLimiter),
        servers=providers.Singleton(RedisRateLimiter, redis),
    )
    probes = providers.Selector(
        stores,
        memory=providers.List(),
        servers=providers.List(
            providers.Singleton(PostgresProbe, engine),
            providers.Singleton(RedisProbe, redis),
            providers.Singleton(MongoProbe, mongo),
            providers.Singleton(S3Probe, s3),
        ),
    )
    hasher = providers.Singleton(Argon2PasswordHasher, hashing_pool, settings.provided.passwords)
    common_passwords = providers.Singleton(ZxcvbnCommonPasswords)
    tokens = providers.Singleton(
        JoseTokens, keys.provided.access, keys.provided.refresh, settings.provided.sessions, clock
    )
    transport = providers.Singleton(RsaPasswordTransport, keys.provided.transport, hashing_pool)

    # --- use cases: sessions ---
    unseal_password = providers.Factory(
        sessions.UnsealPassword,
        transport=transport,
        seen=seen_ciphertexts,
        clock=clock,
        settings=settings.provided.sessions,
    )
    issue_tokens = providers.Factory(
        sessions.IssueTokens,
        tokens=tokens,
        clock=clock,
        ids=ids,
        settings=settings.provided.sessions,
    )
    check_password = providers.Factory(
        sessions.CheckPassword,
        uow=uow.provider,
        hasher=hasher,
        throttle=log_in_throttle,
        clock=clock,
    )
    get_transport_key = providers.Factory(
        sessions.GetTransportKey,
        transport=transport,
        limiter=rate_limiter,
        clock=clock,
        throttle=settings.provided.throttle,
    )
    get_public_keys = providers.Factory(sessions.GetPublicKeys, tokens=tokens)
    log_in = providers.Factory(
        sessions.LogIn,
        uow=uow.provider,
        hasher=hasher,
        throttle=log_in_throttle,
        unseal=unseal_password,
        check=check_password,
        store=session_store,
        issue=issue_tokens,
        clock=clock,
        ids=ids,
        settings=settings.provided.sessions,
    )
    refresh_session = providers.Factory(
        sessions.RefreshSession,
        uow=uow.provider,
        tokens=tokens,
        store=session_store,
        issue=issue_tokens,
        clock=clock,
        ids=ids,
        settings=settings.provided.sessions,
        throttle=settings.provided.throttle,
    )
    authenticate = providers.Factory(
        sessions.Authenticate, uow=uow.provider, tokens=tokens, store=session_store
    )
    log_out = providers.Factory(sessions.LogOut, tokens=tokens, store=session_store)
    log_out_everywhere = providers.Factory(sessions.LogOutEverywhere, store=session_store)
    list_sessions = providers.Factory(sessions.ListSessions, store=session_store)
    end_session = providers.Factory(sessions.EndSession, store=session_store)

    # --- use cases: identity ---
    choose_password = providers.Factory(
        identity.ChoosePassword,
        hasher=hasher,
        common=common_passwords,
        policy=settings.provided.passwords.policy,
    )
    register = providers.Factory(
        identity.Register,
        uow=uow.provider,
        unseal=unseal_password,
        choose=choose_password,
        limiter=rate_limiter,
        clock=clock,
        ids=ids,
        registration=settings.provided.registration,
        throttle=settings.provided.throttle,
    )
    update_profile = providers.Factory(identity.UpdateProfile, uow=uow.provider, clock=clock)
    change_password = providers.Factory(
        identity.ChangePassword,
        uow=uow.provider,
        throttle=log_in_throttle,
        unseal=unseal_password,
        check=check_password,
        choose=choose_password,
        store=session_store,
        clock=clock,
        settings=settings.provided.sessions,
    )
    create_first_administrator = providers.Factory(
        identity.CreateFirstAdministrator,
        uow=uow.provider,
        hasher=hasher,
        choose=choose_password,
        clock=clock,
        ids=ids,
        secrets=secrets,
    )

    # --- use cases: health ---
    check_readiness = providers.Singleton(health.CheckReadiness, probes=probes, clock=clock)


def build(settings: Settings) -> Container:
    """Return the container of these settings; raise `UnsafeSettings` with everything that is wrong with them."""
    keys, key_problems = load_keys(settings.keys, settings.environment)
    problems = tuple(dict.fromkeys((*settings.problems(), *key_problems)))
    if problems or keys is None:
        raise UnsafeSettings(problems)
    return Container(settings=providers.Object(settings), keys=providers.Object(keys))


async def write_migration(settings: Settings, message: str) -> Path | None:
    """Write the step from the database to the tables of this code; return None if there is nothing to do."""
    return await PostgresSchema(settings.postgres).write_migration(message)


@asynccontextmanager
async def running(container: Container) -> AsyncIterator[Container]:
    """Close on the way out what was opened on the way, in reverse."""
    async with AsyncExitStack() as stack:
        hashing_pool = container.hashing_pool()
        stack.callback(hashing_pool.close)
        if container.settings().stores == "servers":
            stack.push_async_callback(container.engine().dispose)
            stack.push_async_callback(container.redis().aclose)
            # It says goodbye over blocking sockets.
            stack.push_async_callback(asyncio.to_thread, container.mongo().close)
            stack.push_async_callback(container.s3().aclose)
        yield container
