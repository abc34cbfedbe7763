"""Composition root of the server: Settings -> every object, wired once."""

import functools
import logging
import operator
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from redis import Redis

from backend.admission import Admission
from backend.connections import Connections
from backend.engine import Engine
from backend.errors import BadInput, SamloopError, Unavailable
from backend.guard import Guard, error_response
from backend.live.evaluation import LiveEvaluation
from backend.metrics import Metrics
from backend.refreshes import Follower, refresh_queue
from backend.registry.store import Registry
from backend.registry.watch import Watch
from backend.review.crops import Crops
from backend.review.flags import Flags
from backend.review.page_route import Gate
from backend.review.pages import Pages
from backend.review.routes import ReviewRoutes
from backend.routes import Routes
from backend.settings import Settings
from backend.training import TrainingQueue

log = logging.getLogger(__name__)
SWEEP_S = 5.0
_CROPS_BYTES = 48 << 20
_FIGURES = (
    ("samloop_embeddings_bytes", "Bytes of embeddings in memory.", "store.memory.bytes"),
    ("samloop_embeddings_disk_bytes", "Bytes of embeddings on disk.", "store.disk_bytes"),
    ("samloop_embeddings_from_memory", "Embeddings found in memory.", "store.counts.memory"),
    ("samloop_embeddings_from_disk", "Embeddings found on disk.", "store.counts.disk"),
    ("samloop_embeddings_computed", "Embeddings that the encoder computed.", "store.counts.computed"),
    ("samloop_embeddings_joined", "Requests that joined a computation on its way.", "store.counts.joined"),
    ("samloop_embeddings_unwritten", "Embeddings that the disk did not take.", "store.counts.unwritten"),
    ("samloop_prewarmed", "Tasks embedded ahead of those that are labelled.", "prewarm.embedded"),
    ("samloop_encode_waiting", "Images that wait for the encoder.", "lanes.encode.waiting"),
    ("samloop_encode_running", "Images that are being encoded.", "lanes.encode.running"),
    ("samloop_encode_refused", "Images that could not be encoded in time.", "lanes.encode.refused"),
    ("samloop_decode_waiting", "Prompts that wait for the decoder.", "lanes.decode.waiting"),
    ("samloop_decode_running", "Prompts that are being decoded.", "lanes.decode.running"),
    ("samloop_decode_refused", "Prompts that could not be decoded in time.", "lanes.decode.refused"),
)
_LIVE_FIGURES = {
    "n": "Masks of ours that people submitted, changed or not.",
    "iou": "Mean IoU of what was submitted with what we had given.",
    "boundary_iou": "Mean Boundary IoU of the same.",
    "boundary_iou_ema": "Its moving mean over the latest annotations.",
    "untouched": "Share of masks that were submitted as they were given.",
}
_LIVE_COUNTS = {
    "compared": "Masks that were compared with what we had given.",
    "unknown": "Submitted masks of ours of which it is not known any more what we had given.",
    "failed": "Annotations that could not be compared.",
    "unwritten": "Annotations that the disk did not take, so that they are not compared.",
    "unremembered": "Answers to clicks that were not kept to compare with.",
}


def create_app(settings: Settings, *, connection: Redis) -> FastAPI:
    """The server, with nothing started yet: models load and the registry is watched from its lifespan on.

    Args:
        settings: all that the environment decides.
        connection: the queue's Redis.
    """
    metrics = Metrics()
    registry = Registry(settings.model_dir)
    queue = TrainingQueue(connection, job_seconds=settings.job_seconds)
    engine = Engine(settings, registry=registry, observer=metrics)
    connections = Connections(settings)
    live = LiveEvaluation(
        settings.model_dir / "live",
        label_studio=connections.label_studio,
        max_pixels=settings.image_megapixels * 1_000_000,
    )
    routes = Routes(
        engine=engine,
        registry=registry,
        queue=queue,
        refreshes=refresh_queue(connection),
        connections=connections,
        metrics=metrics,
        admission=Admission(most=2 * settings.waiting),
        live=live,
    )
    _gauges(metrics, engine)
    _live_gauges(metrics, live)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        engine.start()
        live.start()
        stopping = threading.Event()
        queues = (queue, refresh_queue(connection))
        threading.Thread(target=_sweep, args=(queues, stopping), name="sweep-queue", daemon=True).start()
        follow = Watch(Follower(registry, connection).look, poll_s=settings.poll_seconds)
        if settings.refresh:
            follow.start()
        try:
            yield
        finally:
            stopping.set()
            follow.stop()
            live.stop()
            engine.stop()

    app = FastAPI(title="samloop", description="Segment Anything for Label Studio", lifespan=lifespan)
    app.add_middleware(Guard, user=settings.basic_auth_user, password=settings.basic_auth_pass)
    app.add_exception_handler(SamloopError, _sentence)
    app.add_exception_handler(RequestValidationError, _sentence)
    app.add_exception_handler(Exception, _sentence)
    app.include_router(routes.router())
    app.include_router(
        _review_router(settings, engine=engine, registry=registry, connections=connections, status=routes.status)
    )
    app.state.routes = routes  # label-studio-ml's harness calls the same handlers (backend/harness.py)
    return app


def _review_router(
    settings: Settings,
    *,
    engine: Engine,
    registry: Registry,
    connections: Connections,
    status: Callable[[int], dict[str, Any]],
) -> APIRouter:
    flags = Flags(settings.model_dir)
    pages = Pages(
        registry=registry,
        connections=connections,
        flags=flags,
        base_version=lambda: engine.version(None),
        served_version=engine.version,
        status=status,
    )
    return ReviewRoutes(
        pages=pages,
        registry=registry,
        connections=connections,
        flags=flags,
        crops=Crops(max_bytes=_CROPS_BYTES, max_pixels=settings.image_megapixels * 1_000_000),
        gate=Gate(
            is_open=settings.basic_auth_user is None,
            known_host=urlsplit(settings.backend_url).hostname,
        ),
    ).router()


def _gauges(metrics: Metrics, engine: Engine) -> None:
    def reader(path: str) -> Callable[[], float]:
        read = operator.attrgetter(path)
        return lambda: float(read(engine.loaded)) if engine.loaded else 0.0

    for name, text, path in _FIGURES:
        metrics.gauge(name, text, reader(path))
    metrics.gauge(
        "samloop_refused_checkpoints",
        "Checkpoints that were refused; the version before goes on serving.",
        lambda: float(len(engine.loaded.slot.refused)) if engine.loaded else 0.0,
    )


def _live_gauges(metrics: Metrics, live: LiveEvaluation) -> None:
    def reader(figure: str) -> Callable[[], dict[tuple[str, ...], float]]:
        return lambda: {
            (str(project_id), version): float(figures[figure])
            for project_id in live.projects()
            for version, figures in live.figures(project_id).items()
        }

    for figure, text in _LIVE_FIGURES.items():
        metrics.gauges(
            f"samloop_live_{'masks' if figure == 'n' else figure}", text, ("project", "version"), reader(figure)
        )
    metrics.gauge("samloop_live_waiting", "Annotations that are still to be compared.", lambda: float(live.waiting()))
    for name, text in _LIVE_COUNTS.items():
        metrics.gauge(f"samloop_live_{name}", text, functools.partial(live.count, name))


def _sweep(queues: Sequence[TrainingQueue], stopping: threading.Event) -> None:
    """RQ cleans its registries only between dequeues; a training that lost its worker must not wait for that."""
    while not stopping.wait(SWEEP_S):
        try:
            for queue in queues:
                queue.sweep()
        except SamloopError as fault:
            log.warning("the queue cannot be swept: %s", fault, extra={"event": "queue.away"})
        except Exception:
            log.exception("the queue cannot be swept", extra={"event": "queue.sweep_failed"})


async def _sentence(request: Request, error: Exception) -> Response:
    """Every error as one sentence; a traceback goes to the log only."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        error = BadInput(f"{where}: {first['msg']}")
    if not isinstance(error, SamloopError):
        log.error("%s %s failed", request.method, request.url.path, exc_info=error, extra={"event": "request.failed"})
        error = SamloopError("something went wrong here: the server's log has the traceback")
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Unavailable) else None
    return error_response(error, headers=headers)
