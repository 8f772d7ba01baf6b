"""What docs/operations.md, the alerts and the dashboard say of metrics is so.

`python -m tests.unit.test_docs_metrics` writes the table of metrics anew.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from application.metrics import ALL
from application.ports.metrics import Counter, Histogram
from application.settings import Settings
from entrypoints.celery.configuration import configuration

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
MARKED = re.compile(r"(?<=<!-- metrics -->\n).*?(?=<!-- /metrics -->)", re.DOTALL)
# What Prometheus reads of each metric.
SERIES = {
    name: {*metric.labels} | ({"le"} if isinstance(metric, Histogram) else set())
    for metric in ALL
    for name in (
        [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
        if isinstance(metric, Histogram)
        else [metric.name]
    )
}
# Those of Prometheus and the blackbox exporter.
SERIES |= {"up": set(), "probe_http_status_code": set(), "probe_ssl_earliest_cert_expiry": set()}


def table() -> str:
    """Return the table of all metrics."""
    rows = ["| metric | labels | what it tells |", "|---|---|---|"]
    for metric in ALL:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {labels} | {metric.text} |")
    return "\n".join(rows) + "\n"


def alerts() -> list[dict[str, Any]]:
    rules = yaml.safe_load((ROOT / "docs/monitoring/alerts.yml").read_text())
    return [rule for group in rules["groups"] for rule in group["rules"]]


def dashboard() -> Any:
    return json.loads((ROOT / "docs/monitoring/dashboard.json").read_text())


def queries() -> Iterator[str]:
    yield from (alert["expr"] for alert in alerts())
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_the_table_has_every_metric() -> None:
    assert MARKED.findall(PAGE.read_text()) == [table()], f"run: python -m {__spec__.name}"


def test_names_follow_the_rules_of_prometheus() -> None:
    for metric in ALL:
        assert re.fullmatch(r"portico(_[a-z]+)+", metric.name)
        assert metric.name.endswith("_total") == isinstance(metric, Counter)
        assert metric.name.endswith("_seconds") or not isinstance(metric, Histogram)
        assert metric.text.endswith(".")
    assert len({metric.name for metric in ALL}) == len(ALL)


def test_every_query_is_about_metrics_and_labels_that_exist() -> None:
    for query in queries():
        named = re.findall(r"\b(?:portico_\w+|probe_\w+|up\b)", query)
        assert named, query
        assert {*named} <= SERIES.keys(), query
        known = set().union(*(SERIES[name] for name in named)) | {"instance", "job"}
        selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query)
        grouped = [
            label.strip()
            for labels in re.findall(r"\bby \(([^)]*)\)", query)
            for label in labels.split(",")
        ]
        assert {*selected, *grouped} <= known, query


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for query in queries() for name in re.findall(r"\bportico_\w+", query)}
    for metric in ALL:
        assert any(name.startswith(metric.name) for name in shown), metric.name


def test_every_alert_has_a_severity_a_summary_and_an_entry_in_the_run_book() -> None:
    text = PAGE.read_text()
    names = [alert["alert"] for alert in alerts()]

    assert len({*names}) == len(names)
    assert {alert["labels"]["severity"] for alert in alerts()} == {"page", "ticket"}
    assert all(alert["annotations"]["summary"].endswith(".") for alert in alerts())
    assert re.findall(r"^### (Portico\w+)$", text, re.MULTILINE) == names


def test_of_every_alert_a_file_says_when_it_comes() -> None:
    come = {
        case["alertname"]
        for file in (ROOT / "docs/monitoring").glob("alerts*.test.yml")
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }

    assert come == {alert["alert"] for alert in alerts()}


def test_every_periodic_task_of_portico_has_an_alert_when_it_stops() -> None:
    stopped = next(alert for alert in alerts() if alert["alert"] == "PorticoJobStopped")
    named = re.findall(r'"portico\[\.\]\(([\w|]+)\)"', stopped["expr"])
    schedule = configuration(Settings())["beat_schedule"]

    assert {f"portico.{name}" for each in named for name in each.split("|")} == schedule.keys()


def test_panels_lie_side_by_side() -> None:
    places = [panel["gridPos"] for panel in dashboard()["panels"]]

    assert len({(place["x"], place["y"]) for place in places}) == len(places)
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(places)


if __name__ == "__main__":
    PAGE.write_text(MARKED.sub(lambda _: table(), PAGE.read_text()))
