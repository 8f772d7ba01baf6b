"""The composition root: settings → adapters → use cases. Entrypoints ask it; nothing else knows it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from dependency_injector import containers, providers
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.astronomy import sun
from adapters.environment.load import load_settings
from adapters.environment.sources import names_environment
from adapters.memory.access_cache import MemoryAccessCache
from adapters.memory.access_versions import MemoryAccessVersions
from adapters.memory.audit_log import MemoryAuditLog
from adapters.memory.log_in_throttle import MemoryLogInThrottle
from adapters.memory.rate_limiter import MemoryRateLimiter
from adapters.memory.scheduling.beat import MemoryBeatStore
from adapters.memory.scheduling.runs import MemoryRunLog
from adapters.memory.seen_ciphertexts import MemorySeenCiphertexts
from adapters.memory.sessions import MemorySessionStore
from adapters.memory.store import MemoryStore
from adapters.memory.system import MemorySchema
from adapters.memory.unit_of_work import MemoryUnitOfWork
from adapters.mongo.audit_log import MongoAuditLog
from adapters.mongo.client import mongo_client
from adapters.mongo.health import MongoProbe
from adapters.observability import configure_logging
from adapters.postgres.engine import postgres_engine
from adapters.postgres.health import PostgresProbe, SchemaProbe
from adapters.postgres.inspection import PostgresInspection
from adapters.postgres.scheduling.beat import PostgresBeatStore
from adapters.postgres.scheduling.runs import PostgresRunLog
from adapters.postgres.schema import PostgresSchema
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from adapters.redis.access_cache import RedisAccessCache
from adapters.redis.access_versions import RedisAccessVersions
from adapters.redis.client import redis_client
from adapters.redis.health import RedisProbe
from adapters.redis.inspection import RedisInspection
from adapters.redis.log_in_throttle import RedisLogInThrottle
from adapters.redis.rate_limiter import RedisRateLimiter
from adapters.redis.seen_ciphertexts import RedisSeenCiphertexts
from adapters.redis.sessions import RedisSessionStore
from adapters.s3.client import S3Client
from adapters.s3.health import S3Probe
from adapters.security.common_passwords import ZxcvbnCommonPasswords
from adapters.security.device_cookies import HmacDeviceCookies
from adapters.security.key_directory import make_keys, rotate_keys
from adapters.security.keys import Keys, load_keys
from adapters.security.password_hasher import Argon2PasswordHasher
from adapters.security.password_transport import RsaPasswordTransport
from adapters.security.pool import HashingPool
from adapters.security.tokens import JoseTokens
from adapters.system import SystemClock, SystemSecrets, Uuid7Generator
from application.settings import PostgresSettings, Settings, UnsafeSettings
from application.use_cases import health, routes
from application.use_cases.access.change import CommitAccessChange
from application.use_cases.access.guard import Authorize, Guard
from application.use_cases.access.roles import (
    CreateRole,
    DeleteRoles,
    GetRole,
    ListAllRoles,
    ListOwnRoles,
    ListRoles,
    ListRoleUsers,
    ReplaceRole,
)
from application.use_cases.audit_log import ListAudit, ListOwnActivity, RecordAudit
from application.use_cases.identity.changes import ChangeUser
from application.use_cases.identity.passwords import ChangePassword, ChoosePassword, SetPassword
from application.use_cases.identity.profile import GetProfile, UpdateProfile
from application.use_cases.identity.registration import CreateFirstAdministrator, Register
from application.use_cases.identity.sessions import EndUserSessions, ListUserSessions
from application.use_cases.identity.users import (
    CreateUser,
    DeleteUser,
    GetUser,
    ListUsers,
    ResetPassword,
)
from application.use_cases.outbox import DeliverAudit, DeliverOutbox, OutboxRelay
from application.use_cases.scheduling.catalogue import (
    GetSchedulerStatus,
    ListTasks,
    OfferTasks,
    WithdrawTasks,
)
from application.use_cases.scheduling.definitions import (
    ChangePeriodicTask,
    CreatePeriodicTask,
    DeletePeriodicTask,
    GetPeriodicTask,
    ListPeriodicTasks,
    PauseOrResumeTasks,
    ResetPeriodicTask,
    ViewTasks,
)
from application.use_cases.scheduling.runs import (
    CancelRun,
    ListNextRuns,
    ListRuns,
    PreviewRuns,
    PruneRuns,
    RunNow,
    SearchRuns,
)
from application.use_cases.sessions.devices import (
    EndSession,
    EndSessions,
    ListSessions,
    LogOut,
    LogOutEverywhere,
)
from application.use_cases.sessions.keys import GetPublicKeys, GetTransportKey, RecordActiveKeys
from application.use_cases.sessions.log_in import LogIn
from application.use_cases.sessions.passwords import CheckPassword, UnsealPassword
from application.use_cases.sessions.refresh import RefreshSession
from application.use_cases.sessions.tokens import IssueTokens

__all__ = [
    "Container",
    "build",
    "configure_logging",
    "load_settings",
    "make_keys",
    "names_environment",
    "rotate_keys",
    "running",
    "write_migration",
]


def _direct_engine(engine: AsyncEngine, settings: PostgresSettings) -> AsyncEngine:
    """Return the engine for what needs connections that stay the same: the one for everything, if it has them."""
    return engine if settings.direct_url is None else postgres_engine(settings.direct)


class Container(containers.DeclarativeContainer):
    """Every object of the process. Engines and clients connect when they are first used."""

    settings = providers.Dependency(instance_of=Settings)
    keys = providers.Dependency(instance_of=Keys)
    stores = settings.provided.stores

    clock = providers.Singleton(SystemClock)
    ids = providers.Singleton(Uuid7Generator)
    secrets = providers.Singleton(SystemSecrets)
    sun = providers.Object(sun)

    # --- what is opened once and closed at the end ---
    hashing_pool = providers.Singleton(HashingPool, settings.provided.passwords)
    engine = providers.Singleton(postgres_engine, settings.provided.postgres)
    direct_engine = providers.Singleton(_direct_engine, engine, settings.provided.postgres)
    redis = providers.Singleton(redis_client, settings.provided.redis)
    mongo = providers.Singleton(mongo_client, settings.provided.mongo)
    s3 = providers.Singleton(S3Client, settings.provided.s3)

    # --- adapters ---
    memory_store = providers.Singleton(MemoryStore, clock)
    uow = providers.Selector(
        stores,
        memory=providers.Factory(MemoryUnitOfWork, memory_store),
        servers=providers.Factory(PostgresUnitOfWork, engine),
    )
    schema = providers.Selector(
        stores,
        memory=providers.Singleton(MemorySchema),
        servers=providers.Singleton(PostgresSchema, settings.provided.postgres.direct),
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
        memory=providers.Singleton(MemoryLogInThrottle, settings.provided.throttle, clock),
        servers=providers.Singleton(
            RedisLogInThrottle, redis, settings.provided.throttle, keys.provided.name_key
        ),
    )
    rate_limiter = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryRateLimiter, clock),
        servers=providers.Singleton(RedisRateLimiter, redis),
    )
    access_versions = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryAccessVersions, session_store, clock),
        servers=providers.Singleton(RedisAccessVersions, redis),
    )
    access_cache = providers.Selector(
        stores,
        memory=providers.Singleton(
            MemoryAccessCache, clock, settings.provided.sessions.access_lifetime
        ),
        servers=providers.Singleton(
            RedisAccessCache, redis, settings.provided.sessions.access_lifetime
        ),
    )
    audit_log = providers.Selector(
        stores,
        memory=providers.Singleton(
            MemoryAuditLog, settings.provided.documents.audit_retention, clock
        ),
        servers=providers.Singleton(
            MongoAuditLog,
            mongo,
            settings.provided.mongo,
            settings.provided.documents.audit_retention,
            clock,
        ),
    )
    probes = providers.Selector(
        stores,
        memory=providers.List(),
        servers=providers.List(
            providers.Singleton(PostgresProbe, engine, settings.provided.postgres),
            providers.Singleton(SchemaProbe, engine, schema),
            providers.Singleton(RedisProbe, redis),
            providers.Singleton(MongoProbe, mongo, settings.provided.mongo),
            providers.Singleton(S3Probe, s3),
        ),
    )
    inspections = providers.Selector(
        stores,
        memory=providers.List(),
        servers=providers.List(
            providers.Singleton(
                PostgresInspection, engine, clock, settings.provided.sessions.leeway
            ),
            providers.Singleton(RedisInspection, redis, clock, settings.provided.sessions.leeway),
        ),
    )
    beat_store = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryBeatStore, memory_store, clock),
        servers=providers.Singleton(
            PostgresBeatStore, direct_engine, settings.provided.postgres.direct
        ),
    )
    run_log = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryRunLog, memory_store),
        servers=providers.Singleton(PostgresRunLog, engine),
    )
    device_cookies = providers.Singleton(HmacDeviceCookies, keys.provided.name_key)
    hasher = providers.Singleton(Argon2PasswordHasher, hashing_pool, settings.provided.passwords)
    common_passwords = providers.Singleton(ZxcvbnCommonPasswords)
    tokens = providers.Singleton(
        JoseTokens, keys.provided.access, keys.provided.refresh, settings.provided.sessions, clock
    )
    transport = providers.Singleton(RsaPasswordTransport, keys.provided.transport, hashing_pool)

    keys_in_use = providers.Dict(
        access=keys.provided.access.active.id,
        refresh=keys.provided.refresh.active.id,
        transport=keys.provided.transport.active.id,
    )

    # --- use cases: documents ---
    record_audit = providers.Singleton(RecordAudit, clock=clock, ids=ids)
    deliver_outbox = providers.Factory(DeliverOutbox, uow=uow.provider, log=audit_log)
    deliver_audit = providers.Factory(DeliverAudit, deliver=deliver_outbox)
    outbox_relay = providers.Singleton(
        OutboxRelay,
        deliver=deliver_outbox,
        recorded=record_audit.provided.recorded,
    )
    list_audit = providers.Factory(ListAudit, log=audit_log)
    list_own_activity = providers.Factory(ListOwnActivity, log=audit_log)

    # --- use cases: sessions ---
    unseal_password = providers.Factory(
        UnsealPassword,
        transport=transport,
        seen=seen_ciphertexts,
        clock=clock,
        settings=settings.provided.sessions,
    )
    issue_tokens = providers.Factory(
        IssueTokens,
        tokens=tokens,
        clock=clock,
        ids=ids,
        settings=settings.provided.sessions,
    )
    check_password = providers.Factory(
        CheckPassword,
        uow=uow.provider,
        hasher=hasher,
        throttle=log_in_throttle,
        clock=clock,
        audit=record_audit,
    )
    end_sessions = providers.Factory(
        EndSessions, uow=uow.provider, store=session_store, clock=clock, audit=record_audit
    )
    record_active_keys = providers.Factory(
        RecordActiveKeys, uow=uow.provider, audit=record_audit, keys=keys_in_use
    )
    get_transport_key = providers.Factory(
        GetTransportKey,
        transport=transport,
        limiter=rate_limiter,
        device_cookies=device_cookies,
        throttle=settings.provided.throttle,
    )
    get_public_keys = providers.Factory(GetPublicKeys, tokens=tokens)
    log_in = providers.Factory(
        LogIn,
        uow=uow.provider,
        hasher=hasher,
        throttle=log_in_throttle,
        unseal=unseal_password,
        check=check_password,
        store=session_store,
        issue=issue_tokens,
        clock=clock,
        ids=ids,
        device_cookies=device_cookies,
        audit=record_audit,
        settings=settings.provided.sessions,
    )
    refresh_session = providers.Factory(
        RefreshSession,
        uow=uow.provider,
        tokens=tokens,
        store=session_store,
        issue=issue_tokens,
        ids=ids,
        audit=record_audit,
        settings=settings.provided.sessions,
        throttle=settings.provided.throttle,
    )
    log_out = providers.Factory(LogOut, tokens=tokens, end=end_sessions)
    log_out_everywhere = providers.Factory(LogOutEverywhere, end=end_sessions)
    list_sessions = providers.Factory(ListSessions, store=session_store)
    end_session = providers.Factory(EndSession, end=end_sessions)

    # --- use cases: access ---
    guard = providers.Singleton(
        Guard,
        uow=uow.provider,
        tokens=tokens,
        store=session_store,
        versions=access_versions,
        cache=access_cache,
    )
    authorize = providers.Factory(Authorize, versions=access_versions)
    commit_access = providers.Factory(CommitAccessChange, versions=access_versions, ids=ids)
    create_role = providers.Factory(
        CreateRole, uow=uow.provider, authorize=authorize, clock=clock, ids=ids, audit=record_audit
    )
    replace_role = providers.Factory(
        ReplaceRole,
        uow=uow.provider,
        authorize=authorize,
        commit=commit_access,
        clock=clock,
        audit=record_audit,
    )
    delete_roles = providers.Factory(
        DeleteRoles, uow=uow.provider, authorize=authorize, commit=commit_access, audit=record_audit
    )
    get_role = providers.Factory(GetRole, uow=uow.provider)
    list_roles = providers.Factory(ListRoles, uow=uow.provider)
    list_all_roles = providers.Factory(ListAllRoles, uow=uow.provider)
    list_own_roles = providers.Factory(ListOwnRoles, uow=uow.provider)
    list_role_users = providers.Factory(ListRoleUsers, uow=uow.provider)

    # --- use cases: routes ---
    sync_routes = providers.Factory(
        routes.SyncRoutes, uow=uow.provider, clock=clock, ids=ids, audit=record_audit
    )
    list_permissions = providers.Factory(routes.ListPermissions, uow=uow.provider)

    # --- use cases: scheduling ---
    view_tasks = providers.Factory(ViewTasks, clock=clock, sun=sun)
    list_periodic_tasks = providers.Factory(ListPeriodicTasks, uow=uow.provider, view=view_tasks)
    get_periodic_task = providers.Factory(GetPeriodicTask, uow=uow.provider, view=view_tasks)
    create_periodic_task = providers.Factory(
        CreatePeriodicTask,
        uow=uow.provider,
        authorize=authorize,
        clock=clock,
        ids=ids,
        audit=record_audit,
        view=view_tasks,
    )
    change_periodic_task = providers.Factory(
        ChangePeriodicTask,
        uow=uow.provider,
        authorize=authorize,
        clock=clock,
        audit=record_audit,
        view=view_tasks,
    )
    reset_periodic_task = providers.Factory(
        ResetPeriodicTask,
        uow=uow.provider,
        authorize=authorize,
        clock=clock,
        audit=record_audit,
        view=view_tasks,
    )
    delete_periodic_task = providers.Factory(
        DeletePeriodicTask, uow=uow.provider, authorize=authorize, audit=record_audit
    )
    run_now = providers.Factory(
        RunNow, uow=uow.provider, authorize=authorize, clock=clock, ids=ids, audit=record_audit
    )
    list_runs = providers.Factory(ListRuns, uow=uow.provider, clock=clock)
    search_runs = providers.Factory(SearchRuns, uow=uow.provider, clock=clock)
    cancel_run = providers.Factory(
        CancelRun, uow=uow.provider, authorize=authorize, clock=clock, audit=record_audit
    )
    pause_or_resume_tasks = providers.Factory(
        PauseOrResumeTasks, uow=uow.provider, authorize=authorize, clock=clock, audit=record_audit
    )
    list_next_runs = providers.Factory(ListNextRuns, uow=uow.provider, clock=clock, sun=sun)
    preview_runs = providers.Factory(PreviewRuns, clock=clock, ids=ids, sun=sun)
    prune_runs = providers.Factory(
        PruneRuns, uow=uow.provider, clock=clock, settings=settings.provided.jobs
    )
    offer_tasks = providers.Factory(OfferTasks, uow=uow.provider)
    withdraw_tasks = providers.Factory(WithdrawTasks, uow=uow.provider)
    list_tasks = providers.Factory(ListTasks, uow=uow.provider)
    get_scheduler_status = providers.Factory(GetSchedulerStatus, store=beat_store)

    # --- use cases: identity ---
    choose_password = providers.Factory(
        ChoosePassword,
        hasher=hasher,
        common=common_passwords,
        policy=settings.provided.passwords.policy,
        transport=transport,
    )
    change_password = providers.Factory(
        ChangePassword,
        uow=uow.provider,
        authorize=authorize,
        commit=commit_access,
        throttle=log_in_throttle,
        unseal=unseal_password,
        check=check_password,
        choose=choose_password,
        store=session_store,
        clock=clock,
        audit=record_audit,
    )
    set_password = providers.Factory(
        SetPassword,
        uow=uow.provider,
        commit=commit_access,
        choose=choose_password,
        store=session_store,
        throttle=log_in_throttle,
        clock=clock,
        audit=record_audit,
    )
    register = providers.Factory(
        Register,
        uow=uow.provider,
        unseal=unseal_password,
        choose=choose_password,
        limiter=rate_limiter,
        clock=clock,
        ids=ids,
        audit=record_audit,
        registration=settings.provided.registration,
        throttle=settings.provided.throttle,
    )
    create_first_administrator = providers.Factory(
        CreateFirstAdministrator,
        uow=uow.provider,
        hasher=hasher,
        choose=choose_password,
        clock=clock,
        ids=ids,
        secrets=secrets,
        audit=record_audit,
    )
    get_profile = providers.Factory(GetProfile, uow=uow.provider)
    update_profile = providers.Factory(
        UpdateProfile, uow=uow.provider, authorize=authorize, clock=clock, audit=record_audit
    )
    list_users = providers.Factory(ListUsers, uow=uow.provider)
    get_user = providers.Factory(GetUser, uow=uow.provider)
    create_user = providers.Factory(
        CreateUser,
        uow=uow.provider,
        authorize=authorize,
        unseal=unseal_password,
        hasher=hasher,
        choose=choose_password,
        secrets=secrets,
        clock=clock,
        ids=ids,
        audit=record_audit,
    )
    change_user = providers.Factory(
        ChangeUser,
        uow=uow.provider,
        authorize=authorize,
        commit=commit_access,
        store=session_store,
        throttle=log_in_throttle,
        clock=clock,
        audit=record_audit,
    )
    delete_user = providers.Factory(
        DeleteUser,
        uow=uow.provider,
        authorize=authorize,
        commit=commit_access,
        store=session_store,
        throttle=log_in_throttle,
        audit=record_audit,
    )
    reset_password = providers.Factory(
        ResetPassword,
        uow=uow.provider,
        authorize=authorize,
        commit=commit_access,
        hasher=hasher,
        secrets=secrets,
        store=session_store,
        throttle=log_in_throttle,
        clock=clock,
        audit=record_audit,
    )
    list_user_sessions = providers.Factory(ListUserSessions, uow=uow.provider, store=session_store)
    end_user_sessions = providers.Factory(
        EndUserSessions, uow=uow.provider, authorize=authorize, end=end_sessions
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


def build_without_keys(settings: Settings) -> Container:
    """Return the container for a process that signs and decrypts nothing; raise `UnsafeSettings`.

    To read and check the keys takes as long as all else that a worker or a beat does before it is ready. Here it is
    done, and `UnsafeSettings` raised because of them, when something that needs one is asked for.
    """
    if problems := settings.problems():
        raise UnsafeSettings(problems)
    return Container(
        settings=providers.Object(settings), keys=providers.Singleton(_load_keys, settings)
    )


def _load_keys(settings: Settings) -> Keys:
    keys, problems = load_keys(settings.keys, settings.environment)
    if keys is None:
        raise UnsafeSettings(problems)
    return keys


async def write_migration(settings: Settings, message: str) -> Path | None:
    """Write the step from the database to the tables of this code; return None if there is nothing to do."""
    return await PostgresSchema(settings.postgres.direct).write_migration(message)


@asynccontextmanager
async def running(container: Container) -> AsyncIterator[Container]:
    """Close on the way out what was opened on the way, in reverse."""
    async with AsyncExitStack() as stack:
        hashing_pool = container.hashing_pool()
        stack.callback(hashing_pool.close)
        if container.settings().stores == "servers":
            stack.push_async_callback(container.engine().dispose)
            stack.push_async_callback(container.direct_engine().dispose)
            stack.push_async_callback(container.beat_store().aclose)
            stack.push_async_callback(container.redis().aclose)
            # It says goodbye over blocking sockets.
            stack.push_async_callback(asyncio.to_thread, container.mongo().close)
            stack.push_async_callback(container.s3().aclose)
        yield container
