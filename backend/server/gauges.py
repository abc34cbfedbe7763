"""Figures of /metrics that are read at every scrape: embeddings, lanes, the queue, and how much people change masks."""

import functools
import operator
import time
from collections.abc import Callable, Sequence

from redis import Redis

from backend.errors import Unavailable
from backend.http.metrics import Metrics
from backend.live.evaluation import LiveEvaluation
from backend.serving.engine import Engine
from backend.work.jobs import REFRESHES, TRAINING
from backend.work.queue import count_listeners, measure_waiting, read_outcomes

_LEVELS = (
    ("samloop_embeddings_bytes", "Bytes of embeddings in memory.", "store.memory.bytes"),
    ("samloop_embeddings_disk_bytes", "Bytes of embeddings on disk.", "store.disk_bytes"),
    ("samloop_encode_waiting", "Images that wait for the encoder.", "lanes.encode.waiting"),
    ("samloop_encode_running", "Images that are being encoded.", "lanes.encode.running"),
    ("samloop_decode_waiting", "Prompts that wait for the decoder.", "lanes.decode.waiting"),
    ("samloop_decode_running", "Prompts that are being decoded.", "lanes.decode.running"),
)
_COUNTS = (
    ("samloop_embeddings_from_memory", "Embeddings found in memory.", "store.counts.memory"),
    ("samloop_embeddings_from_disk", "Embeddings found on disk.", "store.counts.disk"),
    ("samloop_embeddings_computed", "Embeddings that the encoder computed.", "store.counts.computed"),
    ("samloop_embeddings_joined", "Requests that joined a running computation.", "store.counts.joined"),
    ("samloop_embeddings_unwritten", "Embeddings that could not be written to disk.", "store.counts.unwritten"),
    ("samloop_prewarmed", "Tasks embedded ahead of their labelling.", "prewarm.embedded"),
    ("samloop_encode_refused", "Images that could not be encoded in time.", "lanes.encode.refused"),
    ("samloop_decode_refused", "Prompts that could not be decoded in time.", "lanes.decode.refused"),
    ("samloop_swaps", "Times that another version began to serve a project.", "slot.swaps"),
)
_LIVE_FIGURES = {
    "n": "Masks of ours that people submitted, changed or not.",
    "iou": "Mean IoU of submitted masks with our originals.",
    "boundary_iou": "Mean Boundary IoU of the same.",
    "boundary_iou_ema": "Its moving mean over the latest annotations.",
    "untouched": "Share of masks that were submitted unchanged.",
}
_LIVE_COUNTS = {
    "compared": "Masks that were compared with our originals.",
    "unknown": "Submitted masks of ours whose originals are no longer known.",
    "failed": "Annotations that could not be compared.",
    "unwritten": "Annotations that are not compared because they could not be written to disk.",
    "unremembered": "Answers to clicks that were not stored for comparison.",
}


def add_gauges(metrics: Metrics, *, engine: Engine, live: LiveEvaluation, connection: Redis) -> None:
    """Show all figures that are read."""
    engine_gauges(metrics, engine)
    live_gauges(metrics, live)
    show_served(metrics, engine, projects=live.recent_projects)
    queue_gauges(metrics, connection)


def engine_gauges(metrics: Metrics, engine: Engine) -> None:
    """Show the figures of the engine's parts; 0 while no model is loaded."""

    def reader(path: str) -> Callable[[], float]:
        read = operator.attrgetter(path)
        return lambda: float(read(engine.loaded)) if engine.loaded else 0.0

    for name, text, path in _LEVELS:
        metrics.gauge(name, text, reader(path))
    for name, text, path in _COUNTS:
        metrics.counter(name, text, reader(path))
    metrics.gauge(
        "samloop_refused_checkpoints",
        "Checkpoints that were refused; the version before keeps serving.",
        lambda: float(len(engine.loaded.slot.refused)) if engine.loaded else 0.0,
    )


def live_gauges(metrics: Metrics, live: LiveEvaluation) -> None:
    """Show the live evaluation's means, by project and version, and what it could not compare.

    Of 100 projects at most, those that were worked in last: a scrape costs the same with ten thousand.
    """

    def reader(figure: str) -> Callable[[], dict[tuple[str, ...], float]]:
        return lambda: {
            (str(project_id), version): float(getattr(figures, figure))
            for project_id in live.recent_projects()
            for version, figures in live.figures(project_id).items()
        }

    for figure, text in _LIVE_FIGURES.items():
        metrics.gauges(
            f"samloop_live_{'masks' if figure == 'n' else figure}", text, ("project", "version"), reader(figure)
        )
    metrics.gauge(
        "samloop_live_waiting",
        "Annotations that are still to be compared.",
        lambda: float(live.count_waiting(project_ids=live.recent_projects())),
    )
    for name, text in _LIVE_COUNTS.items():
        metrics.counter(f"samloop_live_{name}", text, functools.partial(live.count, name))


def show_served(metrics: Metrics, engine: Engine, *, projects: Callable[[], Sequence[int]]) -> None:
    """Show which version serves a project, as a figure of 1 with both names; nothing while no model is loaded."""

    def read_served() -> dict[tuple[str, ...], float]:
        if engine.loaded is None:
            return {}
        slot = engine.loaded.slot
        return {(str(project_id), slot.snapshot(project_id).version): 1.0 for project_id in projects()}

    metrics.gauges("samloop_served_version", "The version that serves a project.", ("project", "version"), read_served)


def queue_gauges(metrics: Metrics, connection: Redis, *, clock: Callable[[], float] = time.time) -> None:
    """Show what waits for a worker, for how long, how many workers listen, and how their work ended.

    Nothing is shown while Redis cannot be reached. How work ended is counted for all servers together.

    Args:
        metrics: where they are shown.
        connection: to the queue.
        clock: returns the time, s since 1970.
    """
    works = {"training": TRAINING, "refresh": REFRESHES}

    def reader(read: Callable[[str], float]) -> Callable[[], dict[tuple[str, ...], float]]:
        def figures() -> dict[tuple[str, ...], float]:
            try:
                return {(name,): read(name) for name in works}
            except Unavailable:
                return {}

        return figures

    def waiting(name: str) -> float:
        return float(measure_waiting(connection, work=works[name])[0])

    def age_s(name: str) -> float:
        since_s = measure_waiting(connection, work=works[name])[1]
        return 0.0 if since_s is None else max(0.0, clock() - since_s)

    def workers(name: str) -> float:
        return float(count_listeners(connection, work=works[name]))

    def outcomes() -> dict[tuple[str, ...], float]:
        try:
            return {
                (name, outcome): float(count)
                for name, work in works.items()
                for outcome, count in read_outcomes(connection, work=work).items()
            }
        except Unavailable:
            return {}

    label = ("queue",)
    metrics.counters(
        "samloop_jobs_ended", "Trainings and refreshes, by how they ended.", ("queue", "outcome"), outcomes
    )
    metrics.gauges("samloop_queue_waiting", "Jobs that wait for a worker.", label, reader(waiting))
    metrics.gauges("samloop_queue_oldest_seconds", "How long the first of them has waited.", label, reader(age_s))
    metrics.gauges("samloop_queue_workers", "Workers that listen.", label, reader(workers))
