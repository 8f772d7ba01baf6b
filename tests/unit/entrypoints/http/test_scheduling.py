"""The routes of periodic tasks, their runs, and the beat."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from application.ports.leader_lease import BeatId, BeatReport, PublishingProblem
from application.use_cases.scheduling.changes import CHANGE_FIELDS, STATE_FIELDS
from application.use_cases.scheduling.task_runs import PREVIEW_FIELDS
from domain.scheduling.drafts import FIELDS
from domain.scheduling.periodic_tasks import ScheduleState, UnreadableTask
from domain.scheduling.registered_tasks import Parameter, ParameterKind, RegisteredTask
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.zones import zone_rules_version
from entrypoints.http.scheduling.definitions import ChangeBody, DefinitionFields, PreviewBody
from tests.support.web import Web

TASKS = "/api/v1/periodic-tasks"
LEAST = {"name": "hourly", "task": "reports.send", "kind": "crontab", "schedule": {"minute": 0}}
FULL = {
    "name": "Nightly report",
    "description": "What happened.",
    "task": "reports.send",
    "kind": "crontab",
    "schedule": {
        "minute": "30",
        "hour": "5",
        "dayOfMonth": "*",
        "monthOfYear": "*",
        "dayOfWeek": "mon-fri",
        "timezone": "Europe/Berlin",
    },
    "args": [1, "two"],
    "kwargs": {"to_whom": "ada", "camelCase": {"snake_case": None}},
    "options": {
        "queue": "mail",
        "softTimeLimit": 60,
        "retryPolicy": {"maxRetries": 3},
        "headers": {"X-Some_Header": "1"},
    },
    "startAt": "2026-01-01T00:00:00Z",
    "endAt": "2027-01-01T00:00:00Z",
    "oneOff": False,
    "maxRuns": 100,
    "maxRunning": 1,
    "jitter": 1.5,
    "misfire": "run_all",
    "misfireGrace": 3600.0,
    "enabled": True,
}


async def make(web: Web, **changes: Any) -> dict[str, Any]:
    response = await web.client.post(TASKS, json=LEAST | changes)
    assert response.status_code == 201, response.text
    data: dict[str, Any] = response.json()["data"]
    return data


async def wrong(web: Web, **changes: Any) -> list[str]:
    """Return the ways to the fields that are refused."""
    response = await web.client.post(TASKS, json=LEAST | changes)
    assert response.status_code == 422, response.text
    assert response.json()["error"] == "scheduling.invalid_definition"
    return [".".join(error["loc"][1:]) for error in response.json()["errors"]]


# --- a task -------------------------------------------------------------------------------------


async def test_a_task_is_shown_as_it_was_written(admin_web: Web) -> None:
    made = await make(admin_web, **FULL)

    assert made == FULL | {
        "id": made["id"],
        "enabledAt": "2026-03-01T12:00:00Z",
        "createdAt": "2026-03-01T12:00:00Z",
        "updatedAt": "2026-03-01T12:00:00Z",
        "runs": 0,
        "nextRunAt": "2026-03-02T04:30:00Z",
        "lastSlot": None,
        "lastRun": None,
        "problem": None,
    }
    shown = await admin_web.client.get(f"{TASKS}/{made['id']}")
    assert shown.json()["data"] == made


@pytest.mark.parametrize(
    ("kind", "schedule"),
    [
        ("interval", {"every": 90, "period": "seconds"}),
        ("solar", {"event": "sunset", "latitude": 52.5, "longitude": 13.4}),
        ("clocked", {"at": "2026-11-01T05:00:00Z"}),
    ],
)
async def test_every_kind_of_schedule_is_shown_as_it_was_written(
    admin_web: Web, kind: str, schedule: dict[str, Any]
) -> None:
    made = await make(admin_web, kind=kind, schedule=schedule)

    assert (made["kind"], made["schedule"]) == (kind, schedule)
    assert made["nextRunAt"] is not None


async def test_a_task_may_be_written_in_snake_case(admin_web: Web) -> None:
    made = await make(
        admin_web,
        max_running=2,
        schedule={"day_of_week": "sun"},
        options={"time_limit": 5, "retry_policy": {"max_retries": 1}},
    )

    assert made["maxRunning"] == 2
    assert made["schedule"]["dayOfWeek"] == "sun"
    assert made["options"] == {"timeLimit": 5, "retryPolicy": {"maxRetries": 1}}


async def test_a_task_is_replaced_changed_paused_resumed_and_removed(admin_web: Web) -> None:
    task = f"{TASKS}/{(await make(admin_web))['id']}"
    client = admin_web.client

    replaced = await client.put(task, json=FULL)
    paused = await client.patch(task, json={"enabled": False})
    resumed = await client.patch(task, json={"enabled": True, "catchUp": True})
    changed = await client.patch(task, json={"schedule": {"minute": "15"}})
    removed = await client.delete(task)

    assert replaced.json()["data"]["name"] == "Nightly report"
    assert paused.json()["data"]["enabled"] is False
    assert resumed.json()["data"]["enabled"] is True
    assert changed.json()["data"]["schedule"] == {
        "minute": "15",
        "hour": "5",
        "dayOfMonth": "*",
        "monthOfYear": "*",
        "dayOfWeek": "mon-fri",
        "timezone": "Europe/Berlin",
    }
    assert removed.json()["data"] is None
    assert (await client.get(task)).status_code == 404


async def test_a_name_that_is_taken_is_a_conflict(admin_web: Web) -> None:
    await make(admin_web)

    response = await admin_web.client.post(TASKS, json=LEAST)

    assert response.status_code == 409
    assert response.json()["error"] == "scheduling.name_taken"


# --- lists --------------------------------------------------------------------------------------


async def test_tasks_are_listed_by_name_page_by_page(admin_web: Web) -> None:
    for name in ("c", "a", "b"):
        await make(admin_web, name=name)

    async def names(**params: Any) -> list[str]:
        response = await admin_web.client.get(TASKS, params=params)
        return [record["name"] for record in response.json()["data"]["records"]]

    assert await names() == ["a", "b", "c"]
    assert await names(page=2, pageSize=2) == ["c"]
    assert await names(keyword="B") == ["b"]
    assert await names(enabled="false") == []
    assert await names(kind="crontab", task="reports.send", invalid="false") == ["a", "b", "c"]


async def test_a_task_that_cannot_be_read_is_listed_with_its_reason(admin_web: Web) -> None:
    now = admin_web.world.clock.now()
    broken = UnreadableTask(
        id=PeriodicTaskId(UUID(int=7)),
        name="by hand",
        stored={"kind": "crontab", "schedule": {"minute": "1,,2"}, "args": "none", "odd": 1},
        reason="schedule.minute must not be empty (part 2 of 3)",
        enabled_at=now,
        created_at=now,
        updated_at=now,
    )
    admin_web.world.store.periodic_tasks[broken.id] = broken
    admin_web.world.store.problems[broken.id] = broken.reason

    response = await admin_web.client.get(TASKS, params={"invalid": "true"})

    (record,) = response.json()["data"]["records"]
    assert record["problem"] == "schedule.minute must not be empty (part 2 of 3)"
    assert (record["schedule"], record["args"]) == ({"minute": "1,,2"}, "none")
    assert record["nextRunAt"] is None
    run = await admin_web.client.post(f"{TASKS}/{broken.id}/run")
    assert run.status_code == 409
    assert run.json()["error"] == "scheduling.unreadable_definition"


# --- what is to come, and what has been ---------------------------------------------------------


async def test_where_a_task_stands_is_shown(admin_web: Web) -> None:
    made = await make(admin_web, schedule={"minute": "*/10"})
    now = admin_web.world.clock.now()
    admin_web.world.store.schedule_states[PeriodicTaskId(UUID(made["id"]))] = ScheduleState(
        handled_until=now + timedelta(minutes=25), runs=2
    )

    shown = (await admin_web.client.get(f"{TASKS}/{made['id']}")).json()["data"]

    assert (shown["runs"], shown["lastSlot"], shown["nextRunAt"]) == (
        2,
        "2026-03-01T12:20:00Z",
        "2026-03-01T12:30:00Z",
    )


async def test_a_task_is_reset(admin_web: Web) -> None:
    made = await make(admin_web, maxRuns=7)
    now = admin_web.world.clock.now()
    task_id = PeriodicTaskId(UUID(made["id"]))
    admin_web.world.store.schedule_states[task_id] = ScheduleState(handled_until=now, runs=7)

    reset = await admin_web.client.post(f"{TASKS}/{made['id']}/reset")

    assert reset.status_code == 200
    assert reset.json()["data"] == made | {"updatedAt": "2026-03-01T12:00:00.000001Z"}
    assert (await admin_web.client.post(f"{TASKS}/{UUID(int=0)}/reset")).status_code == 404


async def test_the_next_runs_are_listed(admin_web: Web) -> None:
    made = await make(admin_web)

    response = await admin_web.client.get(f"{TASKS}/{made['id']}/next", params={"count": 2})

    assert response.json()["data"] == {"runs": ["2026-03-01T13:00:00Z", "2026-03-01T14:00:00Z"]}


async def test_a_preview_tells_what_the_clocks_do(admin_web: Web) -> None:
    """A quarter of an hour is one, also in an hour that comes twice."""
    response = await admin_web.client.post(
        f"{TASKS}/preview",
        json={
            "kind": "crontab",
            "schedule": {"minute": "*/15", "timezone": "America/New_York"},
            "after": "2026-11-01T04:59:59Z",
            "count": 8,
        },
    )

    assert response.json()["data"]["runs"] == [
        f"2026-11-01T0{hour}:{minute:02}:00Z" for hour in (5, 6) for minute in (0, 15, 30, 45)
    ]


async def test_a_run_that_is_asked_for_is_in_the_history_at_once(admin_web: Web) -> None:
    made = await make(admin_web)

    asked = await admin_web.client.post(f"{TASKS}/{made['id']}/run")
    history = await admin_web.client.get(f"{TASKS}/{made['id']}/runs")

    run = asked.json()["data"]
    assert asked.status_code == 201
    assert (run["state"], run["requested"], run["taskId"]) == ("requested", True, made["id"])
    assert history.json()["data"] == {"records": [run], "nextCursor": None}


async def test_the_history_goes_on_at_its_cursor(admin_web: Web) -> None:
    made = await make(admin_web)
    runs: list[str] = []
    for _ in range(3):
        asked = await admin_web.client.post(f"{TASKS}/{made['id']}/run")
        runs.insert(0, asked.json()["data"]["id"])
        await admin_web.world.pass_time(seconds=1)

    async def page(**params: Any) -> dict[str, Any]:
        response = await admin_web.client.get(f"{TASKS}/{made['id']}/runs", params=params)
        data: dict[str, Any] = response.json()["data"]
        return data

    first = await page(pageSize=2)
    second = await page(pageSize=2, cursor=first["nextCursor"])
    assert [run["id"] for run in first["records"] + second["records"]] == runs
    assert second["nextCursor"] is None


async def test_runs_of_all_tasks_are_listed_and_called_off(admin_web: Web) -> None:
    client, made = admin_web.client, await make(admin_web, name="a task")
    run = (await client.post(f"{TASKS}/{made['id']}/run")).json()["data"]

    async def found(**params: Any) -> list[dict[str, Any]]:
        response = await client.get(f"{TASKS}/runs", params=params)
        assert response.status_code == 200, response.text
        records: list[dict[str, Any]] = response.json()["data"]["records"]
        return records

    assert await found() == await found(state="requested") == [run | {"taskName": "a task"}]
    assert await found(taskId=str(UUID(int=0))) == await found(state="failed") == []
    assert (await client.get(f"{TASKS}/{made['id']}")).json()["data"]["lastRun"] == run
    assert (await client.get(f"{TASKS}/runs", params={"state": "odd"})).status_code == 422

    cancelled = await client.post(f"{TASKS}/runs/{run['id']}/cancel")
    again = await client.post(f"{TASKS}/runs/{run['id']}/cancel")
    missing = await client.post(f"{TASKS}/runs/{UUID(int=0)}/cancel")

    assert cancelled.json()["data"]["state"] == "cancelled"
    assert (again.status_code, again.json()["error"]) == (409, "scheduling.run_not_waiting")
    assert (missing.status_code, missing.json()["error"]) == (404, "scheduling.run_not_found")


async def test_many_tasks_are_paused_and_resumed_in_one_request(admin_web: Web) -> None:
    client, ids = admin_web.client, [(await make(admin_web, name=n))["id"] for n in "ab"]

    paused = await client.post(f"{TASKS}/pause", json={"ids": ids})
    resumed = await client.post(f"{TASKS}/resume", json={"ids": ids[:1], "catchUp": True})
    missing = await client.post(f"{TASKS}/resume", json={"ids": [*ids, str(UUID(int=0))]})
    too_many = await client.post(f"{TASKS}/pause", json={"ids": [ids[0]] * 201})

    assert (paused.json()["data"], resumed.json()["data"]) == ({"changed": 2}, {"changed": 1})
    assert missing.status_code == 404
    assert (
        too_many.status_code
        == (await client.post(f"{TASKS}/pause", json={"ids": []})).status_code
        == 422
    )


# --- what can be scheduled, and who schedules it ------------------------------------------------


async def test_the_scheduler_says_who_leads_and_what_is_wrong(admin_web: Web) -> None:
    async def scheduler() -> dict[str, Any]:
        data: dict[str, Any] = (await admin_web.client.get("/api/v1/scheduler")).json()["data"]
        return data

    none = await scheduler()
    beat = admin_web.world.container.leader_lease()
    now, me = admin_web.world.clock.now(), BeatId(UUID(int=1))
    publishing = PublishingProblem(since=now, error="connection refused")
    await beat.lead(
        me,
        lease=timedelta(seconds=15),
        report=BeatReport(name="host:1", publishing=publishing, time_zones="2026.6"),
    )
    somebody = await scheduler()
    await admin_web.world.pass_time(minutes=1)
    await beat.report_standby(me, BeatReport(name="host:1", problem="it has hung for 11 s"))
    hung = await scheduler()

    assert (none["isLeading"], none["leader"], none["problem"]) == (False, None, None)
    assert somebody["isLeading"]
    assert somebody["publishing"] == {
        "since": "2026-03-01T12:00:00Z",
        "error": "connection refused",
    }
    assert somebody["timeZones"] == "2026.6"
    assert somebody["apiTimeZones"] == zone_rules_version()
    assert (hung["isLeading"], hung["problem"]) == (False, "it has hung for 11 s")
    assert hung["publishing"] is None


async def test_tasks_are_listed_with_their_signatures(admin_web: Web) -> None:
    await admin_web.world.container.offer_tasks()(
        "worker",
        [
            RegisteredTask(
                name="reports.send",
                description="Send a report.",
                parameters=(
                    Parameter(name="to", annotation="str"),
                    Parameter(name="copies", kind=ParameterKind.KEYWORD_ONLY, required=False),
                ),
            )
        ],
    )

    response = await admin_web.client.get("/api/v1/tasks")

    assert response.json()["data"] == [
        {
            "name": "reports.send",
            "description": "Send a report.",
            "parameters": [
                {
                    "name": "to",
                    "kind": "positional_or_keyword",
                    "required": True,
                    "annotation": "str",
                },
                {"name": "copies", "kind": "keyword_only", "required": False, "annotation": ""},
            ],
            "acceptsAnything": False,
            "isOffered": True,
        }
    ]


# --- what is refused ----------------------------------------------------------------------------


async def test_one_answer_names_everything_that_is_wrong(admin_web: Web) -> None:
    await admin_web.world.container.offer_tasks()("worker", [RegisteredTask(name="reports.send")])

    assert sorted(
        await wrong(
            admin_web,
            name="",
            task="nobody.knows",
            schedule={"minute": "60", "dayOfWeek": "x", "timezone": "Mars/Olympus", "second": 1},
            options={"softTimeLimit": "long", "eta": 1},
            startAt="2026-01-02T00:00:00",
            maxRuns=0,
            misfireGrace="1h",
            enabled=None,
        )
    ) == [
        "enabled",
        "maxRuns",
        "misfireGrace",
        "name",
        "options.eta",
        "options.softTimeLimit",
        "schedule.dayOfWeek",
        "schedule.minute",
        "schedule.second",
        "schedule.timezone",
        "startAt",
        "task",
    ]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"schedule": {"minute": "1,,2"}}, ["schedule.minute"]),
        ({"schedule": {"dayOfMonth": "30", "monthOfYear": "feb"}}, ["schedule.dayOfMonth"]),
        ({"schedule": {"hour": "\0"}}, ["schedule.hour"]),
        ({"schedule": {"hour": "🙂"}}, ["schedule.hour"]),
        ({"schedule": {"minute": "1," * 1_000}}, ["schedule.minute"]),
        ({"schedule": {"timezone": "../etc/passwd"}}, ["schedule.timezone"]),
        ({"kind": "interval", "schedule": {"every": 0, "period": "hours"}}, ["schedule.every"]),
        (
            {"kind": "interval", "schedule": {"every": 99_999, "period": "microseconds"}},
            ["schedule.every"],
        ),
        ({"kind": "clocked", "schedule": {"at": "2026-02-30T00:00:00Z"}}, ["schedule.at"]),
        ({"kind": "clocked", "schedule": {}}, ["schedule.at"]),
        ({"kind": None}, ["kind"]),
        ({"kind": "yearly"}, ["kind"]),
        ({"schedule": None}, ["schedule"]),
        ({"startAt": "2026-01-02T00:00:00Z", "endAt": "2026-01-01T00:00:00Z"}, ["endAt"]),
        ({"options": {"priority": "high"}}, ["options.priority"]),
        ({"options": {"expires": 0}}, ["options.expires"]),
        ({"options": {"headers": {"task": "x"}}}, ["options.headers"]),
        ({"options": {"queue": ["a"]}}, ["options.queue"]),
        ({"options": {"link": "x"}}, ["options.link"]),
        ({"options": {"exchangeType": "bogus"}}, ["options.exchangeType"]),
        ({"options": {"queue": "amq.own"}}, ["options.queue"]),
        ({"options": {"routingKey": "é" * 128}}, ["options.routingKey"]),
        ({"kwargs": {"self": 1}}, ["kwargs.self"]),
        ({"kind": "clocked", "schedule": {"at": "2026-03-01T11:58:59Z"}}, ["schedule.at"]),
        ({"endAt": "2026-03-01T12:00:00Z"}, ["endAt"]),
        ({"schedule": {"dayOfWeek": "mon", "day_of_week": "fri"}}, ["schedule.dayOfWeek"]),
        ({"options": {"timeLimit": 5, "time_limit": 5}}, ["options.timeLimit"]),
        (
            {"options": {"retryPolicy": {"maxRetries": 1, "max_retries": 2}}},
            ["options.maxRetries"],
        ),
        ({"schedule": "0 9 * *"}, ["schedule.crontab"]),
        ({"schedule": "@reboot"}, ["schedule.crontab"]),
        ({"schedule": {"crontab": 5}}, ["schedule.crontab"]),
        ({"schedule": {"crontab": "@daily", "hour": 5}}, ["schedule.crontab"]),
        ({"schedule": "0 25 L-2 * *"}, ["schedule.hour", "schedule.dayOfMonth"]),
        ({"args": [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]}, ["args"]),
        ({"kwargs": {"x": "\0"}}, ["kwargs"]),
        ({"name": "a\0b"}, ["name"]),
        ({"name": "a" * 201}, ["name"]),
        ({"description": "🙂" * 2001}, ["description"]),
        ({"jitter": True}, ["jitter"]),
        ({"colour": "blue"}, ["colour"]),
    ],
)
async def test_a_field_that_is_wrong_is_named(
    admin_web: Web, changes: dict[str, Any], named: list[str]
) -> None:
    assert await wrong(admin_web, **changes) == named


async def test_a_field_in_both_spellings_is_refused(admin_web: Web) -> None:
    """Which of them is meant is unknown; a name that is given twice is refused too."""
    both = await admin_web.client.post(TASKS, json=LEAST | {"maxRunning": 1, "max_running": 2})

    assert both.status_code == 422
    assert "maxRunning is given twice" in both.text


async def test_a_crontab_may_be_one_line(admin_web: Web) -> None:
    made = await make(admin_web, schedule="*/15 8-17 L * mon-fri")
    changed = await admin_web.client.patch(
        f"{TASKS}/{made['id']}",
        json={"schedule": {"crontab": "@daily", "timezone": "Asia/Kathmandu"}},
    )

    assert made["schedule"] == {
        "minute": "*/15",
        "hour": "8-17",
        "dayOfMonth": "L",
        "monthOfYear": "*",
        "dayOfWeek": "mon-fri",
        "timezone": "UTC",
    }
    assert changed.json()["data"]["nextRunAt"] == "2026-03-01T18:15:00Z"


async def test_arguments_that_do_not_suit_the_task_are_named(admin_web: Web) -> None:
    await admin_web.world.container.offer_tasks()(
        "worker", [RegisteredTask(name="reports.send", parameters=(Parameter(name="to_whom"),))]
    )

    assert await wrong(admin_web, args=[1, 2]) == ["args"]
    assert await wrong(admin_web, args=[1], kwargs={"from_whom": 1}) == ["kwargs.from_whom"]
    assert await wrong(admin_web) == ["kwargs"]
    assert (await make(admin_web, kwargs={"to_whom": "ada"}))["kwargs"] == {"to_whom": "ada"}


async def test_a_chosen_name_is_not_repeated(admin_web: Web) -> None:
    assert await wrong(admin_web, **{"correct horse battery": 1}) == ["…"]
    assert "battery" not in (await admin_web.client.post(TASKS, json={"battery horse": 1})).text


async def test_an_emoji_is_kept(admin_web: Web) -> None:
    made = await make(admin_web, name="🦀 crabs", kwargs={"🙂": "🙃"})

    assert (made["name"], made["kwargs"]) == ("🦀 crabs", {"🙂": "🙃"})


def test_the_api_describes_every_field_that_the_domain_reads() -> None:
    assert DefinitionFields.model_fields.keys() == {*FIELDS, "kind", "schedule", *STATE_FIELDS}
    assert ChangeBody.model_fields.keys() == {*DefinitionFields.model_fields, *CHANGE_FIELDS}
    assert PreviewBody.model_fields.keys() == {*DefinitionFields.model_fields, *PREVIEW_FIELDS}
