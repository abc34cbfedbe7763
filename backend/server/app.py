"""Composition root of the server: Settings -> every object, wired once."""

import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from http import HTTPStatus
from typing import Protocol

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from redis import Redis

from backend.errors import SamloopError
from backend.files.watch import Watch
from backend.http.admission import Admission
from backend.http.guard import Guard
from backend.http.hosts import KnownHosts
from backend.http.metrics import Metrics
from backend.http.page_route import Gate
from backend.http.problems import document_no_validation_error, missing, problem_of, problem_response
from backend.images.connections import Connections
from backend.images.known_projects import KnownProjects
from backend.live.evaluation import LiveEvaluation
from backend.live.missed import MissedChanges, OwnWebhook
from backend.registry.opening import open_registry
from backend.registry.protocol import Registry
from backend.review.flags import Flags
from backend.review.forms import FormRoutes
from backend.review.masks.crops import Crops
from backend.review.pages import Pages
from backend.review.pictures import PictureRoutes
from backend.review.routes import ReviewRoutes
from backend.server.gauges import add_gauges
from backend.server.routes import Routes
from backend.server.routes.label_studio import LabelStudioRoutes
from backend.server.routes.projects import ProjectRoutes
from backend.server.status import ProjectStatus
from backend.serving.engine import Engine
from backend.serving.refusals import Refusals
from backend.settings import Settings
from backend.work.automatic import AutomaticTraining
from backend.work.follower import Follower, refresh_queue
from backend.work.queue import TrainingQueue
from backend.work.train_after import TrainAfter

log = logging.getLogger(__name__)
SWEEP_S = 5.0
_LOOK_S = 2.0  # between two looks for trainings that are due
_CROPS_BYTES = 48 << 20
_MOST_PICTURES, _PICTURES_AT_ONCE = 1000, 8  # images that review pages wait for, and that are read and cut at once


def create_app(settings: Settings, *, connection: Redis) -> FastAPI:
    """Build the server without starting it: its lifespan loads models and watches the registry.

    Args:
        settings: the environment's settings.
        connection: the queue's Redis.
    """
    metrics = Metrics()
    registry = open_registry(settings)
    queue, refreshes = TrainingQueue(connection, job_seconds=settings.queue.job_seconds), refresh_queue(connection)
    engine = Engine(settings, registry=registry, observer=metrics)
    connections = Connections(settings)
    automatic = _automatic(settings, registry=registry, connection=connection, queue=queue)
    known = KnownProjects(connections.label_studio)
    refusals = Refusals(connection, is_missing=known.is_missing)
    live = LiveEvaluation(
        registry.state_dir.live,
        label_studio=connections.label_studio,
        max_pixels=settings.image.pixels,
        is_missing=known.is_missing,
        sharing=registry.state_dir.sharing,
    )
    missed = _find_missed(
        settings, registry, connection=connection, connections=connections, live=live, automatic=automatic, queue=queue
    )
    routes = _build_routes(
        settings,
        engine=engine,
        registry=registry,
        queues=(queue, refreshes),
        connections=connections,
        metrics=metrics,
        live=live,
        automatic=automatic,
        known=known,
        missed=missed,
        refusals=refusals,
    )
    add_gauges(metrics, engine=engine, live=live, connection=connection)
    follower = Follower(registry, connection, queue=refreshes)
    watches = _list_watches(settings, automatic=automatic, follower=follower, missed=missed)
    app = _guard_app(settings, parts=(engine, live, refusals, _Sweeping((queue, refreshes)), *watches))
    app.include_router(routes.router())
    app.include_router(
        _review_router(
            settings,
            engine=engine,
            registry=registry,
            connections=connections,
            status=routes.projects.status,
            queues=(queue, refreshes),
        )
    )
    # label-studio-ml's harness calls the same handlers (backend/server/label_studio_ml/flask_app.py).
    app.state.routes = routes
    app.state.drain = lambda: _drain(engine, routes)
    return app


def _list_watches(
    settings: Settings, *, automatic: AutomaticTraining, follower: Follower, missed: MissedChanges
) -> list[Watch]:
    """Return what looks for work as long as the server runs."""
    watches = [Watch(automatic.look, poll_s=_LOOK_S)]
    if settings.predictions.refresh:
        watches.append(Watch(follower.look, poll_s=settings.registry.poll_seconds))
    if settings.label_studio.reconcile_seconds:
        watches.append(Watch(missed.look, poll_s=settings.label_studio.reconcile_seconds))
    return watches


def _guard_app(settings: Settings, *, parts: Sequence["_Part"]) -> FastAPI:
    """Build the server without routes: it runs the parts, checks requests, and answers every error as samloop does."""
    # FastAPI's own /docs takes its script from another host, and stays empty where that cannot be reached.
    app = FastAPIOffline(
        title="samloop",
        description="Segment Anything for Label Studio. Pages for people are under /review.",
        lifespan=lambda _: _running(parts),
        redoc_url=None,
    )
    app.add_middleware(
        Guard,
        user=settings.backend.basic_auth_user,
        password=settings.backend.basic_auth_pass,
        known=list_hosts(settings),
    )
    document_no_validation_error(app)
    for kind in (SamloopError, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer_error)
    for status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        app.add_exception_handler(status, _answer_missing)
    return app


def _drain(engine: Engine, routes: Routes) -> None:
    """Tell waiting clients that the server is about to end, instead of cutting them off."""
    routes.projects.drain()
    engine.drain()


class _Part(Protocol):
    """Something that runs as long as the server."""

    def start(self) -> object: ...
    def stop(self) -> None: ...


@asynccontextmanager
async def _running(parts: Sequence[_Part]) -> AsyncIterator[None]:
    """Start all parts in order, and stop the started parts in reverse."""
    with ExitStack() as started:
        for part in parts:
            part.start()
            started.callback(part.stop)
        yield


def _build_routes(  # noqa: PLR0913 - all but one by name
    settings: Settings,
    *,
    engine: Engine,
    registry: Registry,
    queues: tuple[TrainingQueue, TrainingQueue],
    connections: Connections,
    metrics: Metrics,
    live: LiveEvaluation,
    automatic: AutomaticTraining,
    known: KnownProjects,
    missed: MissedChanges,
    refusals: Refusals,
) -> Routes:
    queue, refreshes = queues
    return Routes(
        label_studio=LabelStudioRoutes(
            engine=engine,
            registry=registry,
            queue=queue,
            connections=connections,
            metrics=metrics,
            admission=Admission(most=2 * settings.serving.waiting),
            live=live,
            refusals=refusals,
            automatic=automatic,
            known=known,
        ),
        projects=ProjectRoutes(
            engine=engine,
            registry=registry,
            queue=queue,
            refreshes=refreshes,
            live=live,
            refusals=refusals,
            automatic=automatic,
            missed=missed,
        ),
    )


def _review_router(  # noqa: PLR0913 - all but one by name
    settings: Settings,
    *,
    engine: Engine,
    registry: Registry,
    connections: Connections,
    status: Callable[[int], ProjectStatus],
    queues: tuple[TrainingQueue, TrainingQueue],
) -> APIRouter:
    flags = Flags(registry.state_dir)
    pages = Pages(
        registry=registry,
        connections=connections,
        flags=flags,
        base_version=lambda: engine.version(None),
        served_version=engine.version,
        status=status,
        trained=queues[0].projects,
        max_pixels=settings.image.pixels,
    )
    return ReviewRoutes(
        pages=pages,
        flags=flags,
        pictures=PictureRoutes(
            pages=pages,
            connections=connections,
            crops=Crops(max_bytes=_CROPS_BYTES, max_pixels=settings.image.pixels),
            admission=Admission(most=_MOST_PICTURES, threads=_PICTURES_AT_ONCE),
        ),
        forms=FormRoutes(
            pages=pages,
            registry=registry,
            connections=connections,
            flags=flags,
            trainings=queues[0],
            refreshes=queues[1],
            train_after=_train_after(settings, registry),
            swap=engine.look,
        ),
        gate=Gate(
            is_open=settings.backend.basic_auth_user is None,
            known=list_hosts(settings),
        ),
    ).router()


def _train_after(settings: Settings, registry: Registry) -> TrainAfter:
    state = registry.state_dir
    return TrainAfter(state.train_after, default=settings.training.train_after, sharing=state.sharing)


def _automatic(settings: Settings, *, registry: Registry, connection: Redis, queue: TrainingQueue) -> AutomaticTraining:
    return AutomaticTraining(
        connection,
        queue=queue,
        train_after=_train_after(settings, registry).of,
        quiet_s=settings.training.quiet_seconds,
    )


def _find_missed(  # noqa: PLR0913 - all but two by name
    settings: Settings,
    registry: Registry,
    *,
    connection: Redis,
    connections: Connections,
    live: LiveEvaluation,
    automatic: AutomaticTraining,
    queue: TrainingQueue,
) -> MissedChanges:
    user, password = settings.backend.basic_auth_user, settings.backend.basic_auth_pass
    return MissedChanges(
        connection,
        projects=lambda: (*registry.projects(), *live.recent_projects(), *queue.projects()),
        label_studio=connections.label_studio,
        live=live,
        automatic=automatic,
        queue=queue,
        webhook=OwnWebhook(url=settings.backend.url, basic_auth=(user, password) if user and password else None),
        every_s=settings.label_studio.reconcile_seconds,
    )


def list_hosts(settings: Settings) -> KnownHosts:
    """Return the addresses under which browsers know us."""
    return KnownHosts.of((settings.backend.url, settings.backend.public_url))


class _Sweeping:
    """Sweeps the queues. RQ does so only between dequeues, and a job that lost its worker must not wait for that."""

    def __init__(self, queues: Sequence[TrainingQueue]) -> None:
        self._queues, self._stopping = queues, threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._sweep, name="sweep-queue", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _sweep(self) -> None:
        while not self._stopping.wait(SWEEP_S):
            try:
                for queue in self._queues:
                    queue.sweep()
            except SamloopError as fault:
                log.warning("the queue cannot be swept: %s", fault, extra={"event": "queue.away"})
            except Exception:
                log.exception("the queue cannot be swept", extra={"event": "queue.sweep_failed"})


async def _answer_error(request: Request, error: Exception) -> Response:
    """Answer every error with one sentence; a traceback goes only to the log."""
    return problem_response(problem_of(error, request=f"{request.method} {request.url.path}"))


async def _answer_missing(request: Request, _: Exception) -> Response:
    """Answer a request that no route takes."""
    return problem_response(missing(method=request.method, path=request.url.path))
