"""Which client an address of Redis is for: one server, a Redis Cluster, or the master that Sentinels name."""

from datetime import timedelta
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from adapters.redis.client import RedisClient, redis_client
from adapters.redis.cluster import RedisClusterClient
from adapters.redis.sentinel import sentinel_client
from application.settings import RedisSettings


def topology_of(settings: RedisSettings) -> Literal["server", "cluster"]:
    """Return whether all keys are on one server at a time, or spread over a cluster."""
    _, _, kind = urlsplit(settings.url or "").scheme.partition("+")
    return "cluster" if kind == "cluster" else "server"


def redis_servers(settings: RedisSettings) -> RedisClient | RedisClusterClient:
    """Return a client that connects when it is first used; close it with `aclose`."""
    scheme, _, kind = urlsplit(settings.url or "").scheme.partition("+")
    if kind == "cluster":
        return RedisClusterClient(_urls(settings.url or "", scheme), settings)
    if kind == "sentinel":
        return sentinel_client(_urls(settings.url or "", scheme), settings.timeout)
    return redis_client(settings)


def job_redis_client(url: str, timeout: timedelta) -> RedisClient:
    """Return a client of the Redis at an address for Celery, which may have options that the driver does not know."""
    address = urlsplit(url)
    options = {k: v for k, v in parse_qsl(address.query) if k.startswith("ssl_")}
    if "ssl_cert_reqs" in options:  # `required` or `CERT_REQUIRED`
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].lower().removeprefix("cert_")
    known = urlunsplit(address._replace(query=urlencode(options)))
    return redis_client(RedisSettings(url=known, timeout=timeout))


def _urls(url: str, scheme: str) -> list[str]:
    """Return an address of one host for each host of `url`."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    return [
        urlunsplit(parts._replace(scheme=scheme, netloc=f"{user}{at}{host}"))
        for host in hosts.split(",")
    ]
