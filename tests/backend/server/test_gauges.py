"""What /metrics shows of the engine and of the masks in people's hands."""

import re
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from backend.http.metrics import Metrics
from backend.live.figures import VersionFigures
from backend.server.gauges import add_gauges, engine_gauges, live_gauges, queue_gauges, show_served
from backend.work.connection import connect
from backend.work.queue import TrainingQueue, count_outcome


def lines(metrics: Metrics) -> set[str]:
    return set(metrics.exposition().decode().splitlines())


def test_while_no_model_is_loaded_the_engines_gauges_are_zero() -> None:
    metrics, engine = Metrics(), SimpleNamespace(loaded=None)
    unloaded: Any = engine
    engine_gauges(metrics, unloaded)
    show_served(metrics, unloaded, projects=lambda: (7,))
    shown = lines(metrics)
    assert {"samloop_embeddings_bytes 0.0", "samloop_refused_checkpoints 0.0", "samloop_swaps_total 0.0"} <= shown
    assert not any(line.startswith("samloop_served_version{") for line in shown)


def test_what_only_grows_is_a_counter_and_the_rest_is_not() -> None:
    """Prometheus' rate() takes a gauge's fall for a restart, and its dashboards choose by the type."""
    metrics, unloaded = Metrics(), SimpleNamespace(loaded=None)
    engine: Any = unloaded
    engine_gauges(metrics, engine)
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", metrics.exposition().decode(), re.MULTILINE))
    assert kinds["samloop_embeddings_computed_total"] == kinds["samloop_encode_refused_total"] == "counter"
    assert kinds["samloop_embeddings_bytes"] == kinds["samloop_encode_waiting"] == "gauge"


def test_the_version_that_serves_a_project_is_shown() -> None:
    slot = SimpleNamespace(snapshot=lambda project_id: SimpleNamespace(version=f"v{project_id}"))
    engine: Any = SimpleNamespace(loaded=SimpleNamespace(slot=slot))
    metrics = Metrics()
    show_served(metrics, engine, projects=lambda: (7, 8))
    assert {
        'samloop_served_version{project="7",version="v7"} 1.0',
        'samloop_served_version{project="8",version="v8"} 1.0',
    } <= lines(metrics)


def test_live_figures_come_by_project_and_version() -> None:
    figures = VersionFigures(
        n=4,
        iou=0.9,
        boundary_iou=0.8,
        untouched=0.5,
        annotations=2,
        lead_time_s=None,
        boundary_iou_ema=0.7,
        labels={},
    )
    live: Any = SimpleNamespace(
        recent_projects=lambda: (7,),
        figures=lambda _: {"v1": figures},
        count_waiting=lambda project_ids: 3 * len(project_ids),
        count=len,
    )
    metrics = Metrics()
    live_gauges(metrics, live)
    assert {
        'samloop_live_masks{project="7",version="v1"} 4.0',
        'samloop_live_iou{project="7",version="v1"} 0.9',
        'samloop_live_boundary_iou_ema{project="7",version="v1"} 0.7',
        "samloop_live_waiting 3.0",
        f"samloop_live_compared_total {float(len('compared'))}",
    } <= lines(metrics)


def test_of_all_projects_a_scrape_reads_those_that_were_worked_in_last(redis_url: str) -> None:
    """Fails where a figure is read of all of them: with ten thousand, a scrape would take seconds."""
    engine: Any = MagicMock()
    engine.loaded.slot.snapshot = lambda project_id: SimpleNamespace(version=f"v{project_id}")
    live: Any = MagicMock(spec=["recent_projects", "figures", "count_waiting", "count"])  # and not `projects`
    live.recent_projects.return_value = (7,)
    live.figures.return_value = {}
    metrics = Metrics()
    add_gauges(metrics, engine=engine, live=live, connection=connect(redis_url))
    assert 'samloop_served_version{project="7",version="v7"} 1.0' in lines(metrics)
    live.count_waiting.assert_called_with(project_ids=(7,))


def test_the_queue_shows_what_waits_for_how_long_and_who_works(redis_url: str) -> None:
    connection, metrics = connect(redis_url), Metrics()
    queue = TrainingQueue(connection, job_seconds=60)
    queue_gauges(metrics, connection, clock=lambda: time.time() + 100)
    assert 'samloop_queue_waiting{queue="training"} 0.0' in lines(metrics)
    assert 'samloop_queue_oldest_seconds{queue="training"} 0.0' in lines(metrics)
    queue.request(7)
    queue.request(8)
    shown = lines(metrics)
    assert {
        'samloop_queue_waiting{queue="training"} 2.0',
        'samloop_queue_waiting{queue="refresh"} 0.0',
        'samloop_queue_workers{queue="training"} 0.0',
    } <= shown
    assert 'samloop_jobs_ended_total{outcome="failed",queue="training"} 0.0' in shown, "or the first would not rise"
    count_outcome(connection, "promoted", kind="train")
    count_outcome(connection, "failed", kind="refresh")
    assert {
        'samloop_jobs_ended_total{outcome="promoted",queue="training"} 1.0',
        'samloop_jobs_ended_total{outcome="failed",queue="refresh"} 1.0',
    } <= lines(metrics)
    age_s = next(float(line.split()[1]) for line in shown if line.startswith('samloop_queue_oldest_seconds{queue="t'))
    assert 100 <= age_s < 200


def test_while_redis_is_away_the_other_figures_are_shown() -> None:
    metrics = Metrics()
    queue_gauges(metrics, connect("redis://127.0.0.1:1/0"))
    assert "samloop_trainings_requested_total 0.0" in lines(metrics)
    assert not any(line.startswith("samloop_queue_waiting{") for line in lines(metrics))
