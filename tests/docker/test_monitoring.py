"""The alert rules and the dashboard ask for figures that /metrics has, by labels that it gives them."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from backend.http.metrics import Metrics
from backend.server.gauges import engine_gauges, live_gauges, queue_gauges, show_served
from backend.work.connection import connect

MONITORING = Path(__file__).resolve().parents[2] / "docker" / "monitoring"
EXPRESSIONS = [
    rule["expr"]
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
] + [
    target["expr"]
    for panel in json.loads((MONITORING / "grafana.json").read_text())["panels"]
    for target in panel["targets"]
]


@pytest.fixture(scope="module")
def names() -> set[str]:
    """The names under which Prometheus stores our figures."""
    metrics = Metrics()
    nothing: Any = SimpleNamespace(
        loaded=None, recent_projects=tuple, figures=dict, count_waiting=lambda **_: 0, count=lambda _: 0
    )
    engine_gauges(metrics, nothing)
    live_gauges(metrics, nothing)
    show_served(metrics, nothing, projects=tuple)
    queue_gauges(metrics, connect("redis://127.0.0.1:1/0"))
    typed = re.findall(r"^# TYPE (\S+) (\S+)$", metrics.exposition().decode(), re.MULTILINE)
    parts = {"histogram": ("_bucket", "_count", "_sum")}
    return {name + part for name, kind in typed for part in parts.get(kind, ("",))} | {"up"}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_rule_asks_for_what_is_there(expression: str, names: set[str]) -> None:
    asked = re.findall(r"\b(samloop_\w+|process_\w+|up(?={))", expression)
    assert asked
    assert set(asked) <= names


@pytest.mark.parametrize("expression", [expression for expression in EXPRESSIONS if "[" in expression])
def test_a_rate_is_taken_of_what_only_grows(expression: str) -> None:
    assert all(
        name.endswith(("_total", "_count", "_bucket"))
        for name in re.findall(r"(samloop_\w+)(?:{[^}]*})?\[", expression)
    )


def test_the_documented_job_is_the_one_that_the_rules_watch() -> None:
    page = (MONITORING.parents[1] / "docs" / "operation.md").read_text()
    documented = yaml.safe_load(re.findall(r"```yaml\n(rule_files.*?)```", page, re.DOTALL)[0])
    jobs = {job for expression in EXPRESSIONS for job in re.findall(r'job="(\w+)"', expression)}
    assert {scrape["job_name"] for scrape in documented["scrape_configs"]} == jobs
    assert documented["rule_files"] == ["alerts.yaml"]
