"""HTTP only: what Label Studio and label-studio-ml call, and what people watch a training with."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from backend.errors import BadInput, NotFound, SamloopError
from backend.http.admission import Admission
from backend.http.guard import StrictRoute
from backend.http.metrics import CONTENT_TYPE, Metrics
from backend.http.path_ids import ProjectId
from backend.ids import parse_label_studio_project
from backend.images.connections import Connections
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.webhook import annotation_changes, parse_event
from backend.live.evaluation import LiveEvaluation
from backend.registry.protocol import Registry
from backend.serving.answers import empty_prediction
from backend.serving.engine import Engine
from backend.serving.lanes import LONGEST_S
from backend.serving.task_image import TaskImage
from backend.work.progress import progress_line
from backend.work.queue import TrainingQueue

MAX_TASKS = 10_000
_LOOK_S, _QUIET_S = 0.5, 15.0  # how often the status is looked at for events, and the longest silence


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class SetupBody(_Body):
    """What Label Studio sends when a backend is connected, looked at or changed."""

    project: str | int
    label_schema: str | None = Field(default=None, alias="schema")
    hostname: str | None = None
    access_token: str | None = None


class PredictParams(_Body):
    """`context` holds the prompts of an interactive request; it is null in a batch.

    `why`: say in each empty answer of a batch why nothing was looked for (samloop's own refresh asks for it).
    """

    context: dict[str, Any] | None = None
    why: bool = False


class PredictBody(_Body):
    """Tasks of one project; interactive requests bring one."""

    tasks: list[dict[str, Any]] = Field(max_length=MAX_TASKS)
    project: str | int | None = None
    label_config: str | None = None
    params: PredictParams | None = None


class ProjectBody(_Body):
    """A request about one project."""

    project: str | int


class JobBody(_Body):
    """A request about one job."""

    job: str = Field(max_length=200)


class Routes:
    """The handlers over what they need. `def` handlers run in threads, so a slow one holds nobody up."""

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        engine: Engine,
        registry: Registry,
        queue: TrainingQueue,
        refreshes: TrainingQueue,
        connections: Connections,
        metrics: Metrics,
        admission: Admission,
        live: LiveEvaluation,
    ) -> None:
        self._engine, self._registry, self._queue, self._refreshes = engine, registry, queue, refreshes
        self._connections, self._metrics, self._admission = connections, metrics, admission
        self._live = live

    async def health(self) -> dict[str, Any]:
        """Answers at once, also while a model loads; a refused checkpoint shows here and the server stays up.

        Without a thread: they may all be taken, and Label Studio waits a second.
        """
        loaded, failure = self._engine.loaded, self._engine.failure
        state = "ready" if loaded else "failed" if failure else "loading"
        refused = dict(loaded.slot.refused) if loaded else {}
        return {
            "status": "UP",
            "model_class": "samloop",
            "model": state,
            "error": failure and str(failure),
            "refused": refused,
        }

    def setup(self, body: SetupBody) -> dict[str, str]:
        """The version that predictions carry now."""
        project_id = parse_label_studio_project(body.project)
        self._connections.told(project_id, body.model_dump())
        return {"model_version": self._engine.version(project_id)}

    async def predict(self, body: PredictBody) -> dict[str, Any]:
        """One prediction a task, in their order, [] for one out of time; in own threads: /health never waits for it."""
        return await self._admission.run(lambda: self._predict(body))

    def _predict(self, body: PredictBody) -> dict[str, Any]:
        began_s = time.monotonic()
        project_id = parse_label_studio_project(body.project) if body.project is not None else None
        context = body.params.context if body.params else None
        try:
            results = self._results(body, project_id, context, began_s=began_s)
        except SamloopError as failure:
            self._metrics.failed(type(failure).__name__)
            raise
        return {"results": results}

    def _results(
        self, body: PredictBody, project_id: int | None, context: dict[str, Any] | None, *, began_s: float
    ) -> list[Any]:
        if context is not None and len(body.tasks) != 1:
            raise BadInput(
                f"{len(body.tasks)} tasks came with one context: an interactive request has exactly one task"
            )
        if context is not None and not body.label_config:
            raise BadInput("label_config is missing: the masks' control tag is read from it")
        loaded = self._engine.wait()
        snapshot = loaded.slot.snapshot(project_id)
        if not body.label_config:  # nothing tells where the images are
            return [empty_prediction(snapshot.version) for _ in body.tasks]
        config, source = parse_label_config(body.label_config), self._connections.images(project_id)
        images = [TaskImage(task=task, config=config, images=source, project_id=project_id) for task in body.tasks]
        results: list[Any]
        if context is None:
            answers = loaded.batches.answer(images, snapshot=snapshot, began_s=began_s)
            tells_why = body.params is not None and body.params.why
            results = [answer.with_reason() if tells_why else answer.for_label_studio() for answer in answers]
        else:
            clicked = loaded.clicks.answer(images[0], context, snapshot=snapshot, until_s=began_s + LONGEST_S)
            results = [clicked]
            if project_id is not None:
                self._live.sent(project_id, clicked["result"])
        # One task alone is one that somebody opened, or clicks on: what comes next can be made ready.
        if len(images) == 1 and project_id is not None:
            loaded.prewarm.note_opened_task(images[0], label_studio=self._connections.label_studio(project_id))
        return results

    def webhook(self, body: dict[str, Any]) -> JSONResponse:
        """START_TRAINING puts a job on the queue; annotations are taken down; every other event is thanked for."""
        event = parse_event(body)
        if event.changes_annotations and event.project_id is not None:
            self._live.told(event.project_id, annotation_changes(body))
            return JSONResponse({"status": "noted", "action": event.action})
        if event.action != "START_TRAINING":
            return JSONResponse({"status": "ignored", "action": event.action})
        if event.project_id is None:
            raise BadInput("START_TRAINING came without project.id: nothing tells which project to train")
        return self._queued(event.project_id)

    def train(self, body: ProjectBody) -> JSONResponse:
        """The same job that the webhook queues."""
        return self._queued(parse_label_studio_project(body.project))

    def _queued(self, project_id: int) -> JSONResponse:
        job_id = self._queue.request(project_id)
        self._metrics.training_requested()
        return JSONResponse({"status": "queued", "job": job_id}, status_code=201)

    def refresh(self, project_id: ProjectId) -> JSONResponse:
        """Pre-annotate the project's untouched tasks with what is served; how far it is, `status` tells."""
        return JSONResponse({"status": "queued", "job": self._refreshes.request(project_id)}, status_code=201)

    def cancel_refresh(self, project_id: ProjectId) -> dict[str, str]:
        """End the refresh that runs, after its batch, and all that wait."""
        return {"status": "cancelling" if self._refreshes.cancel(project_id) else "none"}

    def job_status(self, body: JobBody) -> dict[str, Any]:
        """What is known of one job."""
        job = self._queue.job(body.job)  # of either kind: an id tells its own
        if job is None:
            raise NotFound(f"there is no job {body.job!r}: finished jobs are kept for a day")
        return dict(job)

    def versions(self) -> dict[str, list[str]]:
        """Every version of every project; the base first."""
        published = [
            manifest.version for project in self._registry.projects() for manifest in self._registry.versions(project)
        ]
        return {"versions": [self._engine.version(None), *published]}

    def project_versions(self, body: ProjectBody) -> dict[str, Any]:
        """One project's versions, the served one marked."""
        project_id = parse_label_studio_project(body.project)
        published = [manifest.version for manifest in self._registry.versions(project_id)]
        return {
            "versions": [self._engine.version(None), *published],
            "served": self._engine.version(project_id),
        }

    def status(self, project_id: ProjectId) -> dict[str, Any]:
        """What serves, what trains, how far it is, and what the last verdict was."""
        training, refresh = self._queue.status(project_id), self._refreshes.status(project_id)
        champion, loaded = self._registry.champion(project_id), self._engine.loaded
        return {
            "project": project_id,
            "served": {
                "version": self._engine.version(project_id),
                "number": champion.number if champion else 0,
                "since": champion.at if champion else None,
            },
            "phase": training.phase,
            "job": training.job_id,
            "progress": dict(training.progress),
            "said": progress_line(training.progress),
            "verdict": dict(training.verdict) if training.verdict else None,
            "queue": {"queued": training.queued},
            "error": training.error,
            "refresh": {
                "phase": refresh.phase,
                "job": refresh.job_id,
                "progress": dict(refresh.progress),
                "last": dict(refresh.verdict) if refresh.verdict else None,
                "queued": refresh.queued,
                "error": refresh.error,
            },
            "refused": dict(loaded.slot.refused_in(project_id)) if loaded else {},
            "live": self._live.figures(project_id),
        }

    async def events(self, project_id: ProjectId, request: Request) -> StreamingResponse:
        """The status as server-sent events: one whenever it changes, a comment every 15 s to keep the line open.

        While the queue or the registry is away there are none.
        """

        async def stream() -> AsyncIterator[str]:
            last, quiet_s = "", 0.0
            while not await request.is_disconnected():
                try:
                    now = json.dumps(await asyncio.to_thread(self.status, project_id))
                except SamloopError:  # a queue or a registry that is away comes back: a browser's line must outlast it
                    now = last
                if now != last:
                    last, quiet_s = now, 0.0
                    yield f"event: status\ndata: {now}\n\n"
                elif quiet_s >= _QUIET_S:
                    quiet_s = 0.0
                    yield ": still here\n\n"
                await asyncio.sleep(_LOOK_S)
                quiet_s += _LOOK_S

        return StreamingResponse(
            stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )

    def metrics(self) -> Response:
        """Prometheus' figures."""
        return Response(self._metrics.exposition(), media_type=CONTENT_TYPE)

    def router(self) -> APIRouter:
        """Every path on its handler."""
        router = APIRouter(route_class=StrictRoute)
        router.get("/health")(self.health)
        router.get("/", include_in_schema=False)(self.health)
        router.post("/setup")(self.setup)
        router.post("/predict")(self.predict)
        router.post("/webhook", status_code=200)(self.webhook)
        router.post("/train", status_code=201)(self.train)
        router.post("/job_status")(self.job_status)
        router.get("/versions")(self.versions)
        router.post("/versions")(self.project_versions)
        router.get("/metrics")(self.metrics)
        router.get("/projects/{project_id}/status")(self.status)
        router.get("/projects/{project_id}/events")(self.events)
        router.post("/projects/{project_id}/refresh", status_code=201)(self.refresh)
        router.delete("/projects/{project_id}/refresh")(self.cancel_refresh)
        return router
