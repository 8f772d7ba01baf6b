"""The options of Celery's `apply_async` that a periodic task may have, on Redis as well as on RabbitMQ.

What the schedule decides (`countdown`, `eta`), what the slot decides (`task_id`) and what is no JSON (`link`,
`producer`) are not among them.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from application.ports.publishing_options import PublishingOptionsPolicy
from domain.scheduling.json_values import Json, is_number, is_object
from domain.text import problem_with

Check: TypeAlias = Callable[[object], str | None]
"""Returns what is wrong with a value, or None."""


class CeleryPublishingOptionsPolicy(PublishingOptionsPolicy):
    """A table of the options. Times are in seconds."""

    def problems(self, given: Mapping[str, Json]) -> Mapping[str, str]:
        problems = {name: check(given[name]) for name, check in _CHECKS.items() if name in given}
        problems |= {
            name: "is not a publishing option of a periodic task"
            for name in given
            if name not in _CHECKS
        }
        soft, hard = given.get("soft_time_limit"), given.get("time_limit")
        if is_number(soft) and is_number(hard) and soft > hard:
            problems["soft_time_limit"] = "must not be longer than the hard limit"
        return {name: problem for name, problem in problems.items() if problem}


def _text(value: object) -> str | None:
    return (
        problem_with(value, shortest=1, longest=255) if isinstance(value, str) else "must be text"
    )


def _name(value: object) -> str | None:
    """Check what AMQP carries in a short string."""
    problem = _text(value)
    if problem is None and len(str(value).encode()) > _LONGEST_NAME:
        return f"may have at most {_LONGEST_NAME} bytes in UTF-8"
    return problem


def _queue(value: object) -> str | None:
    if isinstance(value, str) and value.startswith(_BROKER_KEYS):
        return f"must not begin with {', '.join(_BROKER_KEYS)}: the broker does"
    return _name(value)


def _one_of(*names: str) -> Check:
    def check(value: object) -> str | None:
        return None if value in names else f"must be one of {', '.join(names)}"

    return check


def _flag(value: object) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _number(lowest: int, highest: int) -> Check:
    def check(value: object) -> str | None:
        if is_number(value) and lowest <= value <= highest:
            return None
        return f"must be a number from {lowest} to {highest}"

    return check


def _whole(lowest: int, highest: int) -> Check:
    def check(value: object) -> str | None:
        if isinstance(value, int) and is_number(value) and lowest <= value <= highest:
            return None
        return f"must be a whole number from {lowest} to {highest}"

    return check


def _headers(value: object) -> str | None:
    if not is_object(value):
        return "must be an object"
    taken = _CELERY_HEADERS & value.keys()
    return f"must not set {min(taken)}: Celery does" if taken else None


def _retry_policy(value: object) -> str | None:
    if not is_object(value):
        return "must be an object"
    for name, number in value.items():
        check = _RETRY_POLICY.get(str(name))
        if check is None:
            return f"must only have {', '.join(_RETRY_POLICY)}"
        if problem := check(number):
            return f"has {name}, which {problem}"
    return None


def _any(_value: object) -> None:
    """Leave it to the domain."""


# The headers of Celery's own message, protocol 2, and Kombu's.
_CELERY_HEADERS = frozenset(
    {
        *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries"),
        *("timelimit", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin"),
        *("ignore_result", "replaced_task_nesting", "stamped_headers", "stamps", "compression"),
    }
)
# Where Redis, as a broker, keeps what is no queue: a queue of that name would stop every worker. RabbitMQ
# refuses to make one of its own names.
_BROKER_KEYS = ("unacked", "_kombu.", "amq.")
_LONGEST_NAME = 255
_YEAR = 366 * 24 * 3600
_RETRY_POLICY: Mapping[str, Check] = {
    "max_retries": _whole(0, 1000),
    "interval_start": _number(0, 3600),
    "interval_step": _number(0, 3600),
    "interval_max": _number(0, 3600),
}
_CHECKS: Mapping[str, Check] = {
    "queue": _queue,
    "exchange": _name,
    "exchange_type": _one_of("direct", "topic", "fanout", "headers"),
    "routing_key": _name,
    "priority": _whole(0, 255),
    "expires": _any,
    "headers": _headers,
    "time_limit": _number(1, _YEAR),
    "soft_time_limit": _number(1, _YEAR),
    "retry": _flag,
    "retry_policy": _retry_policy,
    "serializer": _one_of("json"),
    "compression": _one_of("gzip", "zlib", "bzip2", "bzip", "lzma", "xz"),
    "delivery_mode": _whole(1, 2),
    "mandatory": _flag,
    "ignore_result": _flag,
    "shadow": _text,
    "argsrepr": _text,
    "kwargsrepr": _text,
    "timeout": _number(0, 3600),
    "confirm_timeout": _number(0, 3600),
}
