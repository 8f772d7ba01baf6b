"""From variables to settings."""

import re
from typing import Any

from pydantic import ValidationError

from adapters.environment.sources import read
from adapters.environment.variables import Variables, kind_of, variable_of
from application.settings import (
    DocumentSettings,
    FirstAdministrator,
    HttpSettings,
    JobSettings,
    KeyRing,
    KeySettings,
    MongoSettings,
    PasswordSettings,
    PostgresSettings,
    Problem,
    RedisSettings,
    RetiredKey,
    S3Settings,
    SessionSettings,
    Settings,
    ThrottleSettings,
    UnsafeSettings,
)
from domain.identity import PasswordPolicy


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 - each value has the type of its variable
    """Return the settings of the process environment, then `.env.<environment>`, then `.env`.

    `overrides` are variables in lower case without their prefix (`http_port=0`), and beat them all. Raise
    `UnsafeSettings` with every variable that is misspelt or wrong. Whether the whole is safe to run with is for
    `Settings.problems` to say.
    """
    if unknown := overrides.keys() - Variables.model_fields.keys():
        raise TypeError(f"no such variable: {', '.join(sorted(unknown))}")
    given, problems = read(overrides.get("environment"))
    try:
        variables = Variables.model_validate(given | overrides)
    except ValidationError as error:
        wrong = {str(e["loc"][0]): None for e in error.errors(include_url=False)}
        problems += [
            Problem(variable_of(name), f"must be {kind_of(name).expects}") for name in wrong
        ]
    else:
        if not problems:
            return _settings(variables)
    raise UnsafeSettings(tuple(problems))


def _settings(given: Variables) -> Settings:
    return Settings(
        environment=given.environment,
        stores=given.stores,
        data_dir=given.data_dir,
        log_level=given.log_level,
        registration=given.registration,
        http=HttpSettings(
            host=given.http_host,
            port=given.http_port,
            workers=given.http_workers,
            cors_origins=given.cors_origins,
            cors_credentials=given.cors_credentials,
            trusted_proxies=given.http_trusted_proxies,
            hsts=given.http_hsts,
            body_limit=given.http_body_limit,
            auth_body_limit=given.http_auth_body_limit,
            stop_timeout=given.http_stop_timeout,
        ),
        postgres=PostgresSettings(
            url=given.postgres_url,
            direct_url=given.postgres_direct_url,
            pool_size=given.postgres_pool_size,
            timeout=given.postgres_timeout,
        ),
        redis=RedisSettings(url=given.redis_url, timeout=given.redis_timeout),
        mongo=MongoSettings(
            url=given.mongo_url, database=given.mongo_database, timeout=given.mongo_timeout
        ),
        documents=DocumentSettings(audit_retention=given.audit_retention),
        jobs=JobSettings(
            broker_url=given.broker_url,
            result_url=given.result_url,
            task_modules=given.task_modules,
            pool=given.worker_pool,
            concurrency=given.worker_concurrency,
            lease=given.beat_lease,
            poll=given.beat_poll,
            reconcile=given.beat_reconcile,
            runs_retention=given.runs_retention,
        ),
        s3=S3Settings(
            url=given.s3_url,
            region=given.s3_region,
            bucket=given.s3_bucket,
            access_key=given.s3_access_key,
            secret_key=given.s3_secret_key,
            timeout=given.s3_timeout,
        ),
        keys=_keys(given),
        sessions=SessionSettings(
            issuer=given.issuer.rstrip("/"),
            audience=given.audience,
            client_id=given.client_id,
            access_lifetime=given.access_lifetime,
            refresh_idle=given.refresh_idle,
            refresh_absolute=given.refresh_absolute,
            refresh_grace=given.refresh_grace,
            leeway=given.token_leeway,
            cap=given.sessions_per_user,
            agent_binding=given.agent_binding,
            require_fresh_ciphertext=(
                given.environment.deployed
                if given.require_fresh_ciphertext is None
                else given.require_fresh_ciphertext
            ),
            ciphertext_window=given.ciphertext_window,
        ),
        passwords=PasswordSettings(
            memory_kib=given.argon2_memory_kib,
            time_cost=given.argon2_time_cost,
            parallelism=given.argon2_parallelism,
            workers=given.hashing_workers,
            queue=given.hashing_queue,
            policy=PasswordPolicy(
                shortest=given.password_min_length, longest=given.password_max_length
            ),
        ),
        throttle=ThrottleSettings(
            account=given.throttle_account,
            address=given.throttle_address,
            everyone=given.throttle_global,
            refresh=given.throttle_refresh,
            public=given.throttle_public,
            failures_before_lock=given.throttle_lock_after,
            first_lock=given.throttle_first_lock,
            longest_lock=given.throttle_longest_lock,
            known_device=given.throttle_known_device,
        ),
        first_administrator=FirstAdministrator(
            username=given.admin_username,
            email=given.admin_email,
            name=given.admin_name,
            password=given.admin_password,
        ),
    )


def _keys(given: Variables) -> KeySettings:
    stored = given.keys_dir
    return KeySettings(
        access=_ring(
            stored.access, given.access_key, given.access_key_next, given.access_key_retired
        ),
        refresh=_ring(
            stored.refresh, given.refresh_key, given.refresh_key_next, given.refresh_key_retired
        ),
        transport=_ring(
            stored.transport,
            given.transport_key,
            given.transport_key_next,
            given.transport_key_retired,
        ),
        names=given.name_key or stored.names,
        generate_in=given.data_dir / "keys" if given.environment.debug else None,
    )


def _ring(
    stored: KeyRing, active: str | None, following: str | None, retired: str | None
) -> KeyRing:
    blocks = re.findall(r"-----BEGIN [^-]+-----.*?-----END [^-]+-----", retired or "", re.DOTALL)
    return KeyRing(
        active=active or stored.active,
        next=following or stored.next,
        retired=(*stored.retired, *(RetiredKey(pem=block) for block in blocks)),
    )
