"""Celery's configuration of its connections to the broker and to the store of results, made of their addresses."""

from datetime import timedelta
from ssl import CERT_NONE, CERT_REQUIRED
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from kombu.utils.url import parse_ssl_cert_reqs

TIME_LIMIT = timedelta(hours=1)
"""After which a process that still runs a task is killed, unless the task says otherwise."""
_CONNECT_WITHIN = 2.0
_ANSWER_WITHIN = 10.0
_TLS_FILES = ("ca_certs", "certfile", "keyfile")
_KEY_PREFIX = "portico:jobs:"
"""Broker and results may share a Redis with everything else, Redis Cluster and its one database included."""


def broker(url: str | None) -> dict[str, Any]:
    """Return what connects to the broker, Redis or RabbitMQ."""
    url_without_tls, tls = _identified(url)
    return {
        "broker_url": url_without_tls,
        "broker_use_ssl": tls,
        "broker_connection_timeout": _CONNECT_WITHIN,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "global_keyprefix": _KEY_PREFIX,
            "socket_connect_timeout": _CONNECT_WITHIN,
            "socket_timeout": _ANSWER_WITHIN,
            "socket_keepalive": True,
            # A message that no worker has acknowledged for this long comes back: longer than tasks may run.
            "visibility_timeout": (2 * TIME_LIMIT).total_seconds(),
        }
        if not is_rabbitmq(url)
        else {
            # No message is taken for sent before the broker has it (on disk, if the queue is durable).
            "confirm_publish": True,
            "connect_timeout": _CONNECT_WITHIN,
            "write_timeout": _ANSWER_WITHIN,
            "answer_within": _ANSWER_WITHIN,
        },
        "task_publish_retry_policy": {
            "max_retries": 2,
            "interval_start": 0.1,
            "interval_step": 0.2,
            "interval_max": 0.5,
        },
    }


def results(url: str | None) -> dict[str, Any]:
    """Return what connects to the store of results, a Redis."""
    return {
        "result_backend": url,
        "redis_backend_use_ssl": _redis_tls(url),
        "redis_socket_connect_timeout": _CONNECT_WITHIN,
        "redis_socket_timeout": _ANSWER_WITHIN,
        "redis_socket_keepalive": True,
        "result_backend_transport_options": {"global_keyprefix": _KEY_PREFIX},
    }


def is_rabbitmq(url: str | None) -> bool:
    """Return whether it is the address of a RabbitMQ; any other is that of a Redis."""
    return url is not None and url.startswith("amqp")


def _redis_tls(url: str | None) -> dict[str, Any] | None:
    """Return how the server is identified; what the address says itself comes on top."""
    is_encrypted = url is not None and url.startswith("rediss://")
    return {"ssl_cert_reqs": CERT_REQUIRED} if is_encrypted else None


def _identified(url: str | None) -> tuple[str | None, dict[str, Any] | None]:
    """Return the address of the broker, and how it is identified.

    The TLS options of an `amqps://` address are taken out of it: Kombu would hand it to `amqp` under the names that
    Redis has for it, and instead of the rest.
    """
    if url is None or not url.startswith("amqps://"):
        return url, _redis_tls(url)
    address = urlsplit(url)
    said = dict(parse_qsl(address.query))
    tls: dict[str, Any] = {"cert_reqs": parse_ssl_cert_reqs(said.pop("ssl_cert_reqs", "required"))}
    is_name_checked = said.pop("ssl_check_hostname", "true").lower() != "false"
    if is_name_checked and tls["cert_reqs"] is not CERT_NONE:
        # `amqp` compares the name in the certificate with this, or with nothing.
        tls["server_hostname"] = address.hostname
    tls |= {name: said.pop(f"ssl_{name}") for name in _TLS_FILES if f"ssl_{name}" in said}
    return urlunsplit(address._replace(query=urlencode(said))), tls
