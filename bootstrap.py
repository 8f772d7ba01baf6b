"""The composition root: settings → adapters → use cases. Entrypoints ask it; nothing else knows it."""

import asyncio
import dataclasses
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.astronomy import sun
from adapters.autowiring import UnresolvedFields, wire
from adapters.celery.health import RabbitMQProbe
from adapters.celery.publishing_options import CeleryPublishingOptionsPolicy
from adapters.environment.load import load_settings
from adapters.environment.readable_secrets import readable_secrets
from adapters.environment.sources import names_environment
from adapters.imaging.avatar_images import PillowAvatarImages
from adapters.injection import Later, containers, providers
from adapters.lean_imports import absent
from adapters.memory.access_cache import LocalAccessCache, MemoryAccessCache
from adapters.memory.access_versions import MemoryAccessVersions
from adapters.memory.audit_log import MemoryAuditLog
from adapters.memory.avatar_images import MemoryAvatarImages
from adapters.memory.connections import MemoryConnectionRegistry
from adapters.memory.event_emitter import MemoryEventEmitter
from adapters.memory.log_in_throttle import MemoryLogInThrottle
from adapters.memory.messages import MemoryMessageHistory
from adapters.memory.metrics import MemoryMetrics
from adapters.memory.object_store import MemoryObjectStore
from adapters.memory.rate_limiter import MemoryRateLimiter
from adapters.memory.scheduling.definition_feed import MemoryDefinitionFeed
from adapters.memory.scheduling.leader_lease import MemoryLeaderLease
from adapters.memory.scheduling.run_claims import MemoryRunClaims
from adapters.memory.scheduling.task_runs import MemoryRunLog
from adapters.memory.seen_ciphertexts import MemorySeenCiphertexts
from adapters.memory.sequences import MemorySequences
from adapters.memory.sessions import MemorySessionStore
from adapters.memory.store import MemoryStore
from adapters.memory.system import MemorySchema
from adapters.memory.unit_of_work import MemoryUnitOfWork
from adapters.observability.logs import configure_logging
from adapters.observability.slots import shared_directory
from adapters.postgres.engine import postgres_engine
from adapters.postgres.health import PostgresProbe, SchemaProbe
from adapters.postgres.inspection import PostgresInspection
from adapters.postgres.pool_use import PostgresPoolUse
from adapters.postgres.scheduling.definition_feed import PostgresDefinitionFeed
from adapters.postgres.scheduling.leader_lease import PostgresLeaderLease
from adapters.postgres.scheduling.run_claims import PostgresRunClaims
from adapters.postgres.scheduling.task_runs import PostgresRunLog
from adapters.postgres.schema import PostgresSchema
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from adapters.redis.access_cache import RedisAccessCache, RedisClusterAccessCache
from adapters.redis.access_versions import RedisAccessVersions, RedisClusterAccessVersions
from adapters.redis.client import RedisClient
from adapters.redis.cluster import RedisClusterClient
from adapters.redis.connections import RedisConnectionRegistry
from adapters.redis.event_emitter import RedisEventEmitter
from adapters.redis.health import JobRedisProbe, RedisProbe
from adapters.redis.inspection import JobRedisInspection, RedisInspection
from adapters.redis.log_in_throttle import RedisLogInThrottle
from adapters.redis.rate_limiter import RedisRateLimiter
from adapters.redis.seen_ciphertexts import RedisSeenCiphertexts
from adapters.redis.servers import job_redis_client, redis_servers, topology_of
from adapters.redis.sessions import RedisSessionStore
from adapters.s3.bucket_inspection import BucketInspection
from adapters.s3.client import S3Client
from adapters.s3.health import S3Probe
from adapters.s3.inspection import S3Inspection
from adapters.s3.object_store import S3ObjectStore
from adapters.security.common_passwords import ZxcvbnCommonPasswords
from adapters.security.device_cookies import HmacDeviceCookies
from adapters.security.key_directory import make_keys, rotate_keys
from adapters.security.pool import HashingPool
from adapters.security.secret_files import make_secrets
from adapters.system import SystemClock, SystemSecrets, Uuid7Generator
from application.keyed_lock import KeyedLock
from application.outbox_relay import OutboxRelay
from application.ports.audit_log import AuditLog
from application.ports.health import Probe
from application.ports.messages import MessageHistory
from application.ports.metrics import UNMEASURED, Metrics
from application.ports.password_hasher import PasswordHasher
from application.ports.password_transport import PasswordTransport
from application.ports.sequences import Sequences
from application.ports.tokens import Tokens
from application.ports.unit_of_work import UnitOfWorkFactory
from application.setting_problems import Problem, UnsafeSettings, problems_of
from application.settings import (
    MongoSettings,
    PasswordSettings,
    PostgresSettings,
    RedisSettings,
    S3Settings,
    Settings,
)
from application.use_cases import health, permissions
from application.use_cases.access.change import CommitAccessChange
from application.use_cases.access.guard import Authorize, Guard
from application.use_cases.access.recheck import RecheckCallers
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
from application.use_cases.files.avatar import GetAvatar, SetAvatar
from application.use_cases.files.cleanup import CompareFiles, ExpireUploads, PurgeFiles
from application.use_cases.files.completion import CompleteUpload
from application.use_cases.files.files import DeleteFile, GetDownload, GetFile, ListFiles
from application.use_cases.files.uploads import AbortUpload, ListParts, SignParts, StartUpload
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
from application.use_cases.outbox import DeliverAudit, DeliverOutbox
from application.use_cases.realtime.connections import (
    CloseAllConnections,
    CloseConnection,
    EndConnection,
    JoinRoom,
    LeaveRoom,
    ListConnections,
    ListPresent,
    OpenConnection,
    RenewConnections,
)
from application.use_cases.realtime.events import Notify
from application.use_cases.realtime.messages import ReadHistory, SendMessage, ShowTyping
from application.use_cases.realtime.rooms import (
    AddMember,
    CreateRoom,
    DeleteRoom,
    GetRoom,
    ListMembers,
    ListRooms,
    PurgeRooms,
    RemoveMember,
)
from application.use_cases.scheduling.changes import (
    ChangePeriodicTask,
    CreatePeriodicTask,
    DeletePeriodicTask,
    PauseOrResumeTasks,
    ResetPeriodicTask,
    TaskChanges,
)
from application.use_cases.scheduling.periodic_tasks import (
    DescribePeriodicTasks,
    GetPeriodicTask,
    ListPeriodicTasks,
)
from application.use_cases.scheduling.registered_tasks import ListTasks, OfferTasks, WithdrawTasks
from application.use_cases.scheduling.scheduler import GetSchedulerStatus
from application.use_cases.scheduling.task_runs import (
    CancelRun,
    ListNextRuns,
    ListRuns,
    PreviewRuns,
    PruneRuns,
    RunNow,
    SearchRuns,
)
from application.use_cases.sequences import (
    DeleteSequence,
    GetSequence,
    ResetSequence,
    TakeNumbers,
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
from domain.scheduling.firing import Sun

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from adapters.mongo.client import MongoClient
    from adapters.observability.traces import Traces
    from adapters.security.keys import Keys

__all__ = [
    "Container",
    "absent",
    "build",
    "build_without_keys",
    "collector_probe",
    "configure_logging",
    "load_settings",
    "make_keys",
    "make_secrets",
    "names_environment",
    "prometheus_metrics",
    "readable_secrets",
    "rotate_keys",
    "running",
    "shared_directory",
    "trace_headers",
    "traces",
]


# --- what is opened at its first use; `opened` closes it at the end ---


def _engine(opened: AsyncExitStack, settings: PostgresSettings) -> "AsyncEngine":
    engine = postgres_engine(settings)
    opened.push_async_callback(engine.dispose)
    return engine


def _direct_engine(
    opened: AsyncExitStack, engine: "AsyncEngine", settings: PostgresSettings
) -> "AsyncEngine":
    """Return the engine for what needs connections that stay the same: the one for everything, if it has them."""
    return engine if settings.direct_url is None else _engine(opened, settings.direct)


def _redis_client(
    opened: AsyncExitStack, settings: RedisSettings
) -> RedisClient | RedisClusterClient:
    client = redis_servers(settings)
    opened.push_async_callback(client.aclose)
    return client


def _broker_probes(opened: AsyncExitStack, settings: Settings) -> list[Probe]:
    """Return the probe of the broker, if its address is not that of Redis, which has one."""
    url = settings.jobs.broker_url
    if url is None:
        return []
    if url.startswith("amqp"):
        return [RabbitMQProbe(url)]
    client = job_redis_client(url, settings.redis.timeout)
    opened.push_async_callback(client.aclose)
    return [JobRedisProbe(client)]


def _mongo_client(opened: AsyncExitStack, settings: MongoSettings) -> "MongoClient":
    from adapters.mongo.client import mongo_client  # noqa: PLC0415 - see `Later`

    client = mongo_client(settings)
    # It says goodbye over blocking sockets.
    opened.push_async_callback(asyncio.to_thread, client.close)
    return client


def _s3_client(opened: AsyncExitStack, settings: S3Settings) -> S3Client:
    client = S3Client(settings)
    opened.push_async_callback(client.aclose)
    return client


def _hashing_pool(
    opened: AsyncExitStack, settings: PasswordSettings, metrics: Metrics
) -> HashingPool:
    pool = HashingPool(settings, metrics)
    opened.callback(pool.close)
    return pool


def _definition_feed(opened: AsyncExitStack, *parts: Any, **named: Any) -> PostgresDefinitionFeed:  # noqa: ANN401
    feed = PostgresDefinitionFeed(*parts, **named)
    opened.push_async_callback(feed.aclose)
    return feed


class Container(containers.DeclarativeContainer):
    """Every object of the process. Engines and clients connect when they are first used.

    `wire` finds the fields of a use case by their types. Name here only a field that it cannot find.
    """

    settings = providers.Dependency(instance_of=Settings)
    keys: providers.Dependency[Any] = providers.Dependency()
    stores = settings.provided.stores

    clock = providers.Singleton(SystemClock)
    ids = providers.Singleton(Uuid7Generator)
    secrets = providers.Singleton(SystemSecrets)
    sun = providers.Object(sun)

    metrics = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryMetrics),
        servers=providers.Singleton(
            Later(Metrics, "adapters.observability.metrics:PrometheusMetrics"),
            settings.provided.metrics.dir,
        ),
    )

    # --- what is opened once, and closed at the end if it was ---
    opened: providers.Singleton[AsyncExitStack[Any]] = providers.Singleton(AsyncExitStack)
    hashing_pool = providers.Singleton(_hashing_pool, opened, settings.provided.passwords, metrics)
    engine = providers.Singleton(_engine, opened, settings.provided.postgres)
    direct_engine = providers.Singleton(_direct_engine, opened, engine, settings.provided.postgres)
    redis_topology = providers.Callable(topology_of, settings.provided.redis)
    redis = providers.Singleton(_redis_client, opened, settings.provided.redis)
    mongo = providers.Singleton(_mongo_client, opened, settings.provided.mongo)
    s3 = providers.Singleton(_s3_client, opened, settings.provided.s3)
    s3_probe = providers.Singleton(S3Probe, settings.provided.s3, clock)
    broker_probes = providers.Singleton(_broker_probes, opened, settings)

    # --- adapters ---
    publishing_options = providers.Singleton(CeleryPublishingOptionsPolicy)
    memory_store = providers.Singleton(MemoryStore, clock)
    uow = providers.Selector(
        stores,
        memory=providers.Factory(MemoryUnitOfWork, memory_store),
        servers=providers.Factory(
            PostgresUnitOfWork,
            engine,
            check_options=publishing_options.provided.problems,
            metrics=metrics,
        ),
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
        servers=providers.Selector(
            redis_topology,
            server=providers.Singleton(RedisAccessVersions, redis),
            cluster=providers.Singleton(RedisClusterAccessVersions, redis),
        ),
    )
    access_cache = providers.Singleton(
        LocalAccessCache,
        providers.Selector(
            stores,
            memory=providers.Singleton(
                MemoryAccessCache, clock, settings.provided.sessions.access_lifetime
            ),
            servers=providers.Selector(
                redis_topology,
                server=providers.Singleton(
                    RedisAccessCache, redis, settings.provided.sessions.access_lifetime
                ),
                cluster=providers.Singleton(
                    RedisClusterAccessCache, redis, settings.provided.sessions.access_lifetime
                ),
            ),
        ),
        settings.provided.sessions.cached_callers,
        metrics,
    )
    audit_log = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryAuditLog, settings.provided.audit_log.retention, clock),
        servers=providers.Singleton(
            Later(AuditLog, "adapters.mongo.audit_log:MongoAuditLog"),
            mongo,
            settings.provided.mongo,
            settings.provided.audit_log.retention,
        ),
    )
    message_history = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryMessageHistory),
        servers=providers.Singleton(
            Later(MessageHistory, "adapters.mongo.messages:MongoMessageHistory"),
            mongo,
            settings.provided.mongo,
        ),
    )
    connection_registry = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryConnectionRegistry, clock),
        servers=providers.Singleton(RedisConnectionRegistry, redis),
    )
    event_emitter = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryEventEmitter),
        servers=providers.Singleton(RedisEventEmitter, redis),
    )
    sequences = providers.Selector(
        stores,
        memory=providers.Singleton(MemorySequences),
        servers=providers.Singleton(
            Later(Sequences, "adapters.mongo.sequences:MongoSequences"),
            mongo,
            settings.provided.mongo,
        ),
    )
    object_store = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryObjectStore, clock),
        servers=providers.Singleton(S3ObjectStore, s3, settings.provided.s3, s3_probe),
    )
    avatar_images = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryAvatarImages),
        servers=providers.Singleton(PillowAvatarImages),
    )
    probes = providers.Selector(
        stores,
        memory=providers.List(),
        servers=providers.Callable(
            add,
            providers.List(
                providers.Singleton(PostgresProbe, engine, settings.provided.postgres),
                providers.Singleton(SchemaProbe, engine, schema),
                providers.Singleton(RedisProbe, redis),
                providers.Singleton(
                    Later(Probe, "adapters.mongo.health:MongoProbe"), mongo, settings.provided.mongo
                ),
                s3_probe,
            ),
            broker_probes,
        ),
    )
    gauges = providers.Selector(
        stores,
        memory=providers.List(hashing_pool.provided.sample),
        servers=providers.List(
            hashing_pool.provided.sample, providers.Singleton(PostgresPoolUse, engine)
        ),
    )
    inspections = providers.Selector(
        stores,
        memory=providers.List(),
        servers=providers.List(
            providers.Singleton(
                PostgresInspection, engine, clock, settings.provided.sessions.token_leeway
            ),
            providers.Singleton(
                RedisInspection, redis, clock, settings.provided.sessions.token_leeway
            ),
            providers.Singleton(
                JobRedisInspection,
                "broker",
                settings.provided.jobs.broker_url,
                settings.provided.redis.timeout,
                clock,
                settings.provided.sessions.token_leeway,
            ),
            providers.Singleton(
                JobRedisInspection,
                "result",
                settings.provided.jobs.result_url,
                settings.provided.redis.timeout,
                clock,
                settings.provided.sessions.token_leeway,
            ),
            providers.Singleton(
                S3Inspection,
                settings.provided.s3,
                clock,
                settings.provided.sessions.token_leeway,
            ),
            providers.Singleton(
                BucketInspection, s3, settings.provided.s3, settings.provided.http.cors.origins
            ),
        ),
    )
    leader_lease = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryLeaderLease, memory_store, clock),
        servers=providers.Singleton(PostgresLeaderLease, direct_engine),
    )
    run_claims = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryRunClaims, memory_store, clock),
        servers=providers.Singleton(PostgresRunClaims, direct_engine),
    )
    definition_feed = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryDefinitionFeed, memory_store),
        servers=providers.Singleton(
            _definition_feed,
            opened,
            direct_engine,
            settings.provided.postgres.direct,
            check_options=publishing_options.provided.problems,
        ),
    )
    run_log = providers.Selector(
        stores,
        memory=providers.Singleton(MemoryRunLog, memory_store),
        servers=providers.Singleton(PostgresRunLog, engine),
    )
    device_cookies = providers.Singleton(HmacDeviceCookies, keys.provided.name_key)
    hasher = providers.Singleton(
        Later(PasswordHasher, "adapters.security.password_hasher:Argon2PasswordHasher"),
        hashing_pool,
        settings.provided.passwords,
    )
    common_passwords = providers.Singleton(ZxcvbnCommonPasswords)
    tokens = providers.Singleton(
        Later(Tokens, "adapters.security.tokens:JoseTokens"),
        keys.provided.access,
        keys.provided.refresh,
        settings.provided.sessions,
        clock,
    )
    transport = providers.Singleton(
        Later(PasswordTransport, "adapters.security.password_transport:RsaPasswordTransport"),
        keys.provided.transport,
        hashing_pool,
    )

    keys_in_use = providers.Dict(
        access=keys.provided.access.active.id,
        refresh=keys.provided.refresh.active.id,
        transport=keys.provided.transport.active.id,
    )

    # --- use cases: what several share ---
    one_at_a_time = providers.Singleton(KeyedLock)

    # --- use cases: audit log ---
    record_audit = providers.Singleton(RecordAudit)
    deliver_outbox = providers.Factory(DeliverOutbox)
    deliver_audit = providers.Factory(DeliverAudit)
    outbox_relay = providers.Singleton(
        OutboxRelay, deliver_outbox, recorded=record_audit.provided.recorded
    )
    list_audit = providers.Factory(ListAudit)
    list_own_activity = providers.Factory(ListOwnActivity)

    # --- use cases: sessions ---
    unseal_password = providers.Factory(UnsealPassword)
    issue_tokens = providers.Factory(IssueTokens)
    check_password = providers.Factory(CheckPassword)
    end_sessions = providers.Factory(EndSessions)
    record_active_keys = providers.Factory(RecordActiveKeys, keys=keys_in_use)
    get_transport_key = providers.Factory(GetTransportKey)
    get_public_keys = providers.Factory(GetPublicKeys)
    log_in = providers.Factory(LogIn)
    refresh_session = providers.Factory(RefreshSession)
    log_out = providers.Factory(LogOut)
    log_out_everywhere = providers.Factory(LogOutEverywhere)
    list_sessions = providers.Factory(ListSessions)
    end_session = providers.Factory(EndSession)

    # --- use cases: access ---
    guard = providers.Singleton(Guard, metrics=metrics)
    authorize = providers.Factory(Authorize)
    recheck_callers = providers.Singleton(RecheckCallers)
    commit_access = providers.Factory(CommitAccessChange)
    create_role = providers.Factory(CreateRole)
    replace_role = providers.Factory(ReplaceRole)
    delete_roles = providers.Factory(DeleteRoles)
    get_role = providers.Factory(GetRole)
    list_roles = providers.Factory(ListRoles)
    list_all_roles = providers.Factory(ListAllRoles)
    list_own_roles = providers.Factory(ListOwnRoles)
    list_role_users = providers.Factory(ListRoleUsers)

    # --- use cases: permissions ---
    sync_routes = providers.Factory(permissions.SyncRoutes)
    list_permissions = providers.Factory(permissions.ListPermissions)

    # --- use cases: scheduling ---
    task_changes = providers.Factory(TaskChanges)
    describe_periodic_tasks = providers.Factory(DescribePeriodicTasks)
    list_periodic_tasks = providers.Factory(ListPeriodicTasks)
    get_periodic_task = providers.Factory(GetPeriodicTask)
    create_periodic_task = providers.Factory(CreatePeriodicTask)
    change_periodic_task = providers.Factory(ChangePeriodicTask)
    reset_periodic_task = providers.Factory(ResetPeriodicTask)
    delete_periodic_task = providers.Factory(DeletePeriodicTask)
    run_now = providers.Factory(RunNow)
    list_runs = providers.Factory(ListRuns)
    search_runs = providers.Factory(SearchRuns)
    cancel_run = providers.Factory(CancelRun)
    pause_or_resume_tasks = providers.Factory(PauseOrResumeTasks)
    list_next_runs = providers.Factory(ListNextRuns)
    preview_runs = providers.Factory(PreviewRuns)
    prune_runs = providers.Factory(PruneRuns)
    offer_tasks = providers.Factory(OfferTasks)
    withdraw_tasks = providers.Factory(WithdrawTasks)
    list_tasks = providers.Factory(ListTasks)
    get_scheduler_status = providers.Factory(GetSchedulerStatus)

    # --- use cases: files ---
    start_upload = providers.Factory(StartUpload)
    sign_parts = providers.Factory(SignParts)
    list_parts = providers.Factory(ListParts)
    complete_upload = providers.Factory(CompleteUpload)
    abort_upload = providers.Factory(AbortUpload)
    list_files = providers.Factory(ListFiles)
    get_file = providers.Factory(GetFile)
    get_download = providers.Factory(GetDownload)
    delete_file = providers.Factory(DeleteFile)
    get_avatar = providers.Factory(GetAvatar)
    set_avatar = providers.Factory(SetAvatar)
    expire_uploads = providers.Factory(ExpireUploads)
    purge_files = providers.Factory(PurgeFiles)
    compare_files = providers.Factory(CompareFiles)

    # --- use cases: sequences ---
    take_numbers = providers.Factory(TakeNumbers)
    get_sequence = providers.Factory(GetSequence)
    reset_sequence = providers.Factory(ResetSequence)
    delete_sequence = providers.Factory(DeleteSequence)

    # --- use cases: identity ---
    choose_password = providers.Factory(ChoosePassword, policy=settings.provided.passwords.policy)
    change_password = providers.Factory(ChangePassword)
    set_password = providers.Factory(SetPassword)
    register = providers.Factory(Register)
    create_first_administrator = providers.Factory(CreateFirstAdministrator)
    get_profile = providers.Factory(GetProfile)
    update_profile = providers.Factory(UpdateProfile)
    list_users = providers.Factory(ListUsers)
    get_user = providers.Factory(GetUser)
    create_user = providers.Factory(CreateUser)
    change_user = providers.Factory(ChangeUser)
    delete_user = providers.Factory(DeleteUser)
    reset_password = providers.Factory(ResetPassword)
    list_user_sessions = providers.Factory(ListUserSessions)
    end_user_sessions = providers.Factory(EndUserSessions)

    # --- use cases: real time ---
    notify = providers.Factory(Notify)
    create_room = providers.Factory(CreateRoom)
    get_room = providers.Factory(GetRoom)
    list_rooms = providers.Factory(ListRooms)
    list_members = providers.Factory(ListMembers)
    add_member = providers.Factory(AddMember)
    remove_member = providers.Factory(RemoveMember)
    delete_room = providers.Factory(DeleteRoom)
    purge_rooms = providers.Factory(PurgeRooms)
    send_message = providers.Factory(SendMessage)
    read_history = providers.Factory(ReadHistory)
    show_typing = providers.Factory(ShowTyping)
    open_connection = providers.Factory(OpenConnection)
    close_connection = providers.Factory(CloseConnection)
    close_all_connections = providers.Factory(CloseAllConnections)
    renew_connections = providers.Factory(RenewConnections)
    join_room = providers.Factory(JoinRoom)
    leave_room = providers.Factory(LeaveRoom)
    list_present = providers.Factory(ListPresent)
    list_connections = providers.Factory(ListConnections)
    end_connection = providers.Factory(EndConnection)

    # --- use cases: health ---
    check_readiness = providers.Singleton(health.CheckReadiness, probes=probes)
    read_gauges = providers.Singleton(health.ReadGauges)


_UNRESOLVED = wire(
    Container,
    {
        UnitOfWorkFactory: Container.uow.provider,
        Sun: Container.sun,
        **{
            field.type: getattr(Container.settings.provided, field.name)
            for field in dataclasses.fields(Settings)
            if getattr(field.type, "__module__", None) == Settings.__module__
        },
    },
)


def build(settings: Settings) -> Container:
    """Return the container of these settings; raise `UnsafeSettings` with everything that is wrong with them.

    Raise `UnresolvedFields` if the container cannot build a use case, and `UnresolvedRepositories` if a unit of work
    lacks a repository.
    """
    from adapters.security.keys import load_keys  # noqa: PLC0415 - see `Later`

    keys, key_problems = load_keys(settings.keys, settings.environment)
    problems = tuple(dict.fromkeys((*_problems_here(settings), *key_problems)))
    if problems or keys is None:
        raise UnsafeSettings(problems)
    return _container(settings, providers.Object(keys))


def build_without_keys(settings: Settings, metrics: Metrics = UNMEASURED) -> Container:
    """Return the container for a process that signs and decrypts nothing; raise `UnsafeSettings`.

    To read and check the keys takes as long as all else that a worker or a beat does before it is ready. Here it is
    done, and `UnsafeSettings` raised because of them, when something needs one.
    """
    if problems := tuple(_problems_here(settings)):
        raise UnsafeSettings(problems)
    container = _container(settings, providers.Singleton(_load_keys, settings))
    container.metrics.override(providers.Object(metrics))
    return container


def _container(settings: Settings, keys: "providers.Provider[Keys]") -> Container:
    if _UNRESOLVED:
        raise UnresolvedFields(_UNRESOLVED)
    container = Container(settings=providers.Object(settings), keys=keys)
    container.uow()  # refuses at the start what would fail at the first request
    return container


def _load_keys(settings: Settings) -> "Keys":
    from adapters.security.keys import load_keys  # noqa: PLC0415 - see `Later`

    keys, problems = load_keys(settings.keys, settings.environment)
    if keys is None:
        raise UnsafeSettings(problems)
    return keys


def traces(settings: Settings, role: str) -> "Traces | None":
    """Return the traces of this process, None if they are off. Call it after a fork."""
    if settings.traces.url is None:
        return None
    from adapters.observability.traces import Traces  # noqa: PLC0415 - see `Later`

    return Traces(settings.traces, role)


def collector_probe(settings: Settings) -> Probe | None:
    """Return the probe of the collector of traces; None if there are no traces."""
    if settings.traces.url is None:
        return None
    from adapters.observability.collector import CollectorProbe  # noqa: PLC0415 - see `Later`

    return CollectorProbe(settings.traces)


def trace_headers() -> dict[str, str]:
    """Return the headers that say in which trace the caller is; none outside of one."""
    if "adapters.observability.traces" not in sys.modules:  # there are none
        return {}
    from adapters.observability.traces import trace_headers as headers  # noqa: PLC0415 - see `Later`

    return headers()


def _problems_here(settings: Settings) -> Iterator[Problem]:
    yield from problems_of(settings)
    if settings.traces.url is not None:
        from adapters.observability.traces import can_trace  # noqa: PLC0415 - see `Later`

        if not can_trace():
            yield Problem(
                "PORTICO_TRACES_URL",
                "needs the extra `tracing`: pip install 'portico[tracing]' (or remove it)",
            )


def prometheus_metrics(directory: Path | None) -> Metrics:
    """Return the metrics of this process, or of all that share the directory; one object in each process."""
    from adapters.observability.metrics import PrometheusMetrics  # noqa: PLC0415 - see `Later`

    return PrometheusMetrics(directory)


@asynccontextmanager
async def running(container: Container) -> AsyncIterator[Container]:
    """Close on the way out what was opened on the way, in reverse."""
    async with container.opened():
        yield container
