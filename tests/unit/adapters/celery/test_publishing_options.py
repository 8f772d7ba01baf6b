"""Which options a periodic task may give its message, and what is said of others."""

from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from adapters.celery.publishing_options import CeleryPublishingOptionsPolicy
from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.json_values import Json
from domain.scheduling.options import PublishingOptions, read_options


def read(given: object) -> PublishingOptions:
    return read_options(given, CeleryPublishingOptionsPolicy().problems)


def test_options_are_kept_as_given() -> None:
    given: dict[str, Json] = {
        "queue": "reports",
        "exchange": "e",
        "routing_key": "r.k",
        "priority": 9,
        "expires": 30,
        "headers": {"x-tenant": "t1"},
        "time_limit": 60,
        "soft_time_limit": 59.5,
        "retry": True,
        "retry_policy": {"max_retries": 3, "interval_start": 0.2},
        "serializer": "json",
        "compression": "gzip",
        "delivery_mode": 2,
        "ignore_result": True,
        "shadow": "nightly",
        "argsrepr": "(…)",
    }

    options = read(given)

    assert options.given == given
    assert options.expires == timedelta(seconds=30)
    assert deepcopy(options) == options


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("queue", 5, "must be text"),
        ("queue", "", "must have 1 to 255 characters"),
        ("queue", "unacked_index", "must not begin with unacked, _kombu., amq.: the broker does"),
        (
            "queue",
            "_kombu.binding.celery",
            "must not begin with unacked, _kombu., amq.: the broker does",
        ),
        ("serializer", "pickle", "must be one of json"),
        ("serializer", ["json"], "must be one of json"),
        ("compression", "rar", "must be one of gzip, zlib, bzip2, bzip, lzma, xz"),
        ("routing_key", "x" * 256, "must have 1 to 255 characters"),
        ("priority", "high", "must be a whole number from 0 to 255"),
        ("priority", 256, "must be a whole number from 0 to 255"),
        ("priority", 1.0, "must be a whole number from 0 to 255"),
        ("priority", True, "must be a whole number from 0 to 255"),
        ("expires", 0, "must be a number from 1 to 31622400"),
        ("expires", "2026-06-15T12:00:00Z", "must be a number from 1 to 31622400"),
        ("expires", float("nan"), "must be a number from 1 to 31622400"),
        ("headers", ["x"], "must be an object"),
        ("headers", {"id": "1"}, "must not set id: Celery does"),
        ("headers", {"compression": "z"}, "must not set compression: Celery does"),
        ("headers", {"x": object()}, "has a value that JSON cannot say"),
        ("time_limit", None, "must be a number from 1 to 31622400"),
        ("retry", "yes", "must be true or false"),
        ("retry_policy", 3, "must be an object"),
        (
            "retry_policy",
            {"max_retries": -1},
            "has max_retries, which must be a whole number from 0 to 1000",
        ),
        (
            "retry_policy",
            {"max_tries": 1},
            "must only have max_retries, interval_start, interval_step, interval_max",
        ),
        ("delivery_mode", 3, "must be a whole number from 1 to 2"),
        ("countdown", 5, "is not a publishing option of a periodic task"),
        ("eta", "now", "is not a publishing option of a periodic task"),
        ("task_id", "1", "is not a publishing option of a periodic task"),
        ("quue", "reports", "is not a publishing option of a periodic task"),
    ],
)
def test_an_option_of_the_wrong_type_is_named(name: str, value: Any, problem: str) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        read({name: value})

    assert refused.value.problems == {f"options.{name}": problem}


def test_a_soft_limit_comes_before_the_hard_one() -> None:
    with pytest.raises(InvalidDefinition) as refused:
        read({"soft_time_limit": 61, "time_limit": 60})

    assert refused.value.field == "options.soft_time_limit"


def test_everything_that_is_wrong_is_named_at_once() -> None:
    """By those who carry the message, and by those who store it."""
    with pytest.raises(InvalidDefinition) as refused:
        read({"priority": "high", "expires": 0, "headers": {"x": "\0"}, "eta": 1})

    assert refused.value.problems.keys() == {
        "options.priority",
        "options.expires",
        "options.headers",
        "options.eta",
    }


def test_options_are_an_object() -> None:
    with pytest.raises(InvalidDefinition) as refused:
        read(["queue"])

    assert refused.value.field == "options"
