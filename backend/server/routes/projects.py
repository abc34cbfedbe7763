"""HTTP only: what people watch and steer a project by."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from backend.errors import Busy
from backend.http.path_ids import ProjectId
from backend.live.evaluation import LiveEvaluation
from backend.registry.protocol import Registry
from backend.server.events import status_events
from backend.server.status import (
    AutomaticStatus,
    Cancelled,
    ClickRefusal,
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

_MOST_LISTENING = 200  # event streams: every stream holds a connection, and asks Redis twice a second


class ProjectRoutes:
    """The handlers over what they need."""

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
    ) -> None:
        self._refusals = refusals
        self._automatic = automatic
        self._engine, self._registry, self._live = engine, registry, live
        self._queue, self._refreshes = queue, refreshes
        self._listening, self._is_ending = 0, False

    def drain(self) -> None:
        """The server stops: event streams end, and no new one begins."""
        self._is_ending = True

    def status(self, project_id: ProjectId) -> ProjectStatus:
        """What serves, what trains, how far it is, and what the last verdict was."""
        training, loaded = self._queue.status(project_id), self._engine.loaded
        return ProjectStatus(
            project=project_id,
            served=self._served(project_id),
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
            refused=dict(loaded.slot.refused_in(project_id)) if loaded else {},
            live=self._live.figures(project_id),
            refusals=[
                ClickRefusal(at=refusal.at, task=refusal.task_id, reason=refusal.reason)
                for refusal in self._refusals.last(project_id)
            ],
            automatic=AutomaticStatus(
                changed=self._automatic.changed(project_id), train_after=self._automatic.enough(project_id)
            ),
        )

    async def events(self, project_id: ProjectId, request: Request) -> StreamingResponse:
        """The status as server-sent events: one whenever it changes, a comment every 15 s to keep the line open.

        While the queue or the registry is away there are none.
        """
        if self._is_ending or self._listening >= _MOST_LISTENING:
            raise Busy("no more event streams are opened now: ask for the status instead, or try again")
        return StreamingResponse(
            self._events(project_id, request),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    def cancel(self, project_id: ProjectId) -> Cancelled:
        """End the training that runs, within one step, and all that wait."""
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
        """Pre-annotate the project's untouched tasks with what is served; how far it is, `status` tells."""
        return Queued(job=self._refreshes.request(project_id))

    def cancel_refresh(self, project_id: ProjectId) -> Cancelled:
        """End the refresh that runs, after its batch, and all that wait."""
        return Cancelled(status="cancelling" if self._refreshes.cancel(project_id) else "none")

    def add_to(self, router: APIRouter) -> None:
        """Every path on its handler."""
        router.get("/projects/{project_id}/status")(self.status)
        router.get(
            "/projects/{project_id}/events",
            response_class=StreamingResponse,
            responses={200: {"model": ProjectStatus, "description": "`event: status`, its data as GET .../status"}},
        )(self.events)
        router.post("/projects/{project_id}/cancel")(self.cancel)
        router.post("/projects/{project_id}/refresh", status_code=201)(self.refresh)
        router.delete("/projects/{project_id}/refresh")(self.cancel_refresh)

    def _served(self, project_id: int) -> Served:
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
