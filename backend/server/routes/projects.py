"""HTTP handlers to watch and steer a project."""

from collections.abc import AsyncIterator
from dataclasses import asdict

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from backend.errors import Busy
from backend.http.path_ids import ProjectId
from backend.http.problems import document_problems
from backend.live.evaluation import LiveEvaluation
from backend.live.missed import MissedChanges
from backend.registry.protocol import Registry
from backend.server.events import status_events
from backend.server.status import (
    AutomaticStatus,
    Cancelled,
    ClickRefusal,
    MissedWebhooks,
    ProjectStatus,
    Queued,
    RefreshStatus,
    Served,
    Waiting,
)
from backend.serving.engine import Engine
from backend.serving.refusals import Refusals
from backend.work.automatic import AutomaticTraining
from backend.work.progress import name_stage, write_progress
from backend.work.queue import TrainingQueue

_MOST_LISTENING = 200  # event streams: each stream holds a connection and asks Redis twice a second


class ProjectRoutes:
    """The handlers, with the objects they need."""

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        engine: Engine,
        registry: Registry,
        queue: TrainingQueue,
        refreshes: TrainingQueue,
        live: LiveEvaluation,
        refusals: Refusals,
        automatic: AutomaticTraining,
        missed: MissedChanges,
    ) -> None:
        self._refusals, self._missed = refusals, missed
        self._automatic = automatic
        self._engine, self._registry, self._live = engine, registry, live
        self._queue, self._refreshes = queue, refreshes
        self._listening, self._is_ending = 0, False

    def drain(self) -> None:
        """End the event streams and refuse new ones: the server stops."""
        self._is_ending = True

    def status(self, project_id: ProjectId) -> ProjectStatus:
        """Return the served version, the training and its progress, and the last verdict."""
        training, loaded = self._queue.status(project_id), self._engine.loaded
        missed = self._missed.last(project_id)
        return ProjectStatus(
            project=project_id,
            served=self._find_served(project_id),
            phase=training.phase,
            job=training.job_id,
            progress=dict(training.progress),
            stage=name_stage(training.progress),
            said=write_progress(training.progress),
            share=training.share,
            left_s=training.left_s,
            losses=dict(training.losses),
            verdict=dict(training.verdict) if training.verdict else None,
            queue=Waiting(queued=training.queued, workers=self._queue.workers()),
            error=training.error,
            cancelled=training.cancelled,
            refresh=self._refresh_status(project_id),
            refused=dict(loaded.slot.list_refused(project_id)) if loaded else {},
            live=self._live.figures(project_id),
            refusals=[
                ClickRefusal(at=refusal.at, task=refusal.task_id, reason=refusal.reason)
                for refusal in self._refusals.last(project_id)
            ],
            automatic=AutomaticStatus(
                changed=self._automatic.count_changed(project_id), train_after=self._automatic.enough(project_id)
            ),
            missed=None if missed is None else MissedWebhooks(**asdict(missed)),
        )

    async def events(self, project_id: ProjectId, request: Request) -> StreamingResponse:
        """Stream the status as server-sent events: an event whenever it changes, a comment every 15 s as a keep-alive.

        While the queue or the registry cannot be reached there are no events.
        """
        if self._is_ending or self._listening >= _MOST_LISTENING:
            raise Busy("too many event streams are open: ask for the status instead, or try again later")
        return StreamingResponse(
            self._events(project_id, request),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    def cancel(self, project_id: ProjectId) -> Cancelled:
        """End the running training within one step, and cancel the waiting trainings."""
        return Cancelled(status="cancelling" if self._queue.cancel(project_id) else "none")

    async def _events(self, project_id: int, request: Request) -> AsyncIterator[str]:
        self._listening += 1
        try:
            async for event in status_events(
                lambda: self.status(project_id),
                has_left=request.is_disconnected,
                is_ending=lambda: self._is_ending,
            ):
                yield event
        finally:
            self._listening -= 1

    def refresh(self, project_id: ProjectId) -> Queued:
        """Let the served version pre-annotate the project's untouched tasks; the status shows the progress."""
        return Queued(job=self._refreshes.request(project_id))

    def cancel_refresh(self, project_id: ProjectId) -> Cancelled:
        """End the running refresh after its batch, and cancel the waiting refreshes."""
        return Cancelled(status="cancelling" if self._refreshes.cancel(project_id) else "none")

    def add_to(self, router: APIRouter) -> None:
        """Add every path to the router."""
        problems = document_problems(400, 503)
        router.get("/projects/{project_id}/status", responses=problems | document_problems(409))(self.status)
        router.get(
            "/projects/{project_id}/events",
            response_class=StreamingResponse,
            responses=problems
            | {200: {"model": ProjectStatus, "description": "`event: status`, its data as GET .../status"}},
        )(self.events)
        router.post("/projects/{project_id}/cancel", responses=problems)(self.cancel)
        router.post("/projects/{project_id}/refresh", status_code=201, responses=problems)(self.refresh)
        router.delete("/projects/{project_id}/refresh", responses=problems)(self.cancel_refresh)

    def _find_served(self, project_id: int) -> Served:
        champion = self._registry.champion(project_id)
        return Served(
            version=self._engine.version(project_id),
            number=champion.number if champion else 0,
            since=champion.at if champion else None,
            reason=champion.reason if champion else None,
            decided=(champion and champion.version) or self._engine.version(None),
        )

    def _refresh_status(self, project_id: int) -> RefreshStatus:
        refresh = self._refreshes.status(project_id)
        return RefreshStatus(
            phase=refresh.phase,
            job=refresh.job_id,
            progress=dict(refresh.progress),
            last=dict(refresh.verdict) if refresh.verdict else None,
            queued=refresh.queued,
            workers=self._refreshes.workers(),
            error=refresh.error,
        )
