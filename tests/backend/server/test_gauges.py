"""What /metrics shows of the engine and of the masks in people's hands."""

import time
from types import SimpleNamespace
from typing import Any

from backend.http.metrics import Metrics
from backend.live.figures import VersionFigures
from backend.server.gauges import engine_gauges, live_gauges, queue_gauges
from backend.work.connection import connect
from backend.work.queue import TrainingQueue


def lines(metrics: Metrics) -> set[str]:
    return set(metrics.exposition().decode().splitlines())


def test_while_no_model_is_loaded_the_engines_gauges_are_zero() -> None:
    metrics, engine = Metrics(), SimpleNamespace(loaded=None)
    unloaded: Any = engine
    engine_gauges(metrics, unloaded)
    assert {"samloop_embeddings_bytes 0.0", "samloop_refused_checkpoints 0.0"} <= lines(metrics)


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
        f"samloop_live_compared {float(len('compared'))}",
    } <= lines(metrics)


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
    age_s = next(float(line.split()[1]) for line in shown if line.startswith('samloop_queue_oldest_seconds{queue="t'))
    assert 100 <= age_s < 200


def test_while_redis_is_away_the_other_figures_are_shown() -> None:
    metrics = Metrics()
    queue_gauges(metrics, connect("redis://127.0.0.1:1/0"))
    assert "samloop_trainings_requested_total 0.0" in lines(metrics)
    assert not any(line.startswith("samloop_queue_waiting{") for line in lines(metrics))
