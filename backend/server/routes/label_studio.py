"""HTTP handlers for Label Studio and label-studio-ml."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from backend.errors import BadInput, NotFound
from backend.http.admission import Admission
from backend.http.metrics import CONTENT_TYPE, Metrics
from backend.http.problems import document_problems
from backend.ids import parse_label_studio_project
from backend.images.connections import Connections
from backend.images.known_projects import KnownProjects
from backend.labelstudio.payloads import LabelStudioJson
from backend.labelstudio.webhook import annotation_changes, parse_event
from backend.live.evaluation import LiveEvaluation
from backend.registry.protocol import Registry
from backend.server.bodies import JobBody, PredictBody, ProjectBody, SetupBody
from backend.server.routes.predicting import Predicting
from backend.server.status import Health, Heard, JobStatus, Predictions, ProjectVersions, Queued, Setup, Versions
from backend.serving.engine import Engine
from backend.serving.refusals import Refusals
from backend.work.automatic import AutomaticTraining
from backend.work.queue import TrainingQueue

_MOST_PROJECTS = 20  # whose versions one answer lists


class LabelStudioRoutes:
    """The handlers, with the objects they need."""

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        engine: Engine,
        registry: Registry,
        queue: TrainingQueue,
        connections: Connections,
        metrics: Metrics,
        admission: Admission,
        live: LiveEvaluation,
        refusals: Refusals,
        automatic: AutomaticTraining,
        known: KnownProjects,
    ) -> None:
        self._engine, self._registry, self._queue = engine, registry, queue
        self._connections, self._metrics, self._live = connections, metrics, live
        self._admission, self._automatic, self._known = admission, automatic, known
        self._predicting = Predicting(
            engine=engine, connections=connections, metrics=metrics, live=live, refusals=refusals
        )

    async def health(self) -> Health:
        """Report at once whether the server is up, even while a model loads or a checkpoint is refused."""
        # Without a thread: all may be taken, and Label Studio waits only a second.
        loaded, failure = self._engine.loaded, self._engine.failure
        return Health(
            model="ready" if loaded else "failed" if failure else "loading",
            arithmetic=loaded.arithmetic if loaded else None,
            error=str(failure) if failure else None,
            refused=dict(loaded.slot.refused) if loaded else {},
            away=dict(loaded.slot.away) if loaded else {},
        )

    async def front_door(self, request: Request) -> Health | Response:
        """Redirect browsers to the review pages; answer probes and Label Studio with `health`."""
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(f"{request.scope.get('root_path', '').rstrip('/')}/review", status_code=303)
        return await self.health()

    def setup(self, body: SetupBody) -> Setup:
        """Return the version that predictions carry now."""
        project_id = parse_label_studio_project(body.project)
        self._connections.remember_setup(project_id, body.model_dump())
        return Setup(model_version=self._engine.version(project_id))

    async def predict(self, body: PredictBody) -> Predictions:
        """Return a prediction for every task, in order; an empty list for a task whose turn did not come in time."""
        # In threads of their own: /health never waits for them. "1.1700000000": the project's id and creation time.
        # Requests that name no project share the places of one.
        owner = str(body.project).partition(".")[0][:40]
        return Predictions(results=await self._admission.run(lambda: self._predicting.answer(body), owner=owner))

    def webhook(self, body: LabelStudioJson) -> Queued | Heard:
        """Queue a job on START_TRAINING, note changed annotations, and acknowledge every other event."""
        event = parse_event(body)
        if event.changes_annotations and event.project_id is not None:
            if self._known.is_missing(event.project_id):
                return Heard(status="ignored", action=event.action)
            changes = annotation_changes(body)
            self._live.note_changes(event.project_id, changes)
            self._automatic.note(event.project_id, (change.annotation_id for change in changes))
            return Heard(status="noted", action=event.action)
        if event.action != "START_TRAINING":
            return Heard(status="ignored", action=event.action)
        if event.project_id is None:
            raise BadInput("START_TRAINING came without project.id: send the id of the project to train")
        return self._request_training(event.project_id)

    def train(self, body: ProjectBody) -> Queued:
        """Queue a training, as the webhook does."""
        return self._request_training(parse_label_studio_project(body.project))

    def job_status(self, body: JobBody) -> JobStatus:
        """Describe one job."""
        job = self._queue.job(body.job)  # of either kind: the id names its kind
        if job is None:
            raise NotFound(f"there is no job {body.job!r}: finished jobs expire after a day")
        return JobStatus.model_validate(job)

    def versions(self) -> Versions:
        """List the base model, and the versions of the 20 newest projects."""
        newest = sorted(self._registry.projects())[-_MOST_PROJECTS:]
        published = [manifest.version for project in newest for manifest in self._registry.versions(project)]
        return Versions(versions=[self._engine.version(None), *published])

    def project_versions(self, body: ProjectBody) -> ProjectVersions:
        """List the base model and a project's versions, and name the served version."""
        project_id = parse_label_studio_project(body.project)
        published = [manifest.version for manifest in self._registry.versions(project_id)]
        return ProjectVersions(
            versions=[self._engine.version(None), *published], served=self._engine.version(project_id)
        )

    def metrics(self) -> Response:
        """Return the figures for Prometheus."""
        return Response(self._metrics.exposition(), media_type=CONTENT_TYPE)

    def add_to(self, router: APIRouter) -> None:
        """Add every path to the router."""
        router.get("/health")(self.health)
        router.get("/", include_in_schema=False, response_model=None)(self.front_door)
        router.post("/setup", responses=document_problems(400, 503))(self.setup)
        router.post("/predict", responses=document_problems(400, 404, 422, 424, 503))(self.predict)
        answers = document_problems(400, 404, 503) | {201: {"model": Queued, "description": "A training is queued"}}
        router.post("/webhook", responses=answers)(self._webhook_over_http)
        router.post("/train", status_code=201, responses=document_problems(400, 404, 503))(self.train)
        router.post("/job_status", responses=document_problems(400, 404, 503))(self.job_status)
        router.get("/versions", responses=document_problems(503))(self.versions)
        router.post("/versions", responses=document_problems(400, 503))(self.project_versions)
        router.get("/metrics", response_class=Response)(self.metrics)

    def _webhook_over_http(self, body: LabelStudioJson, response: Response) -> Queued | Heard:
        """Queue a job on START_TRAINING, note changed annotations, and acknowledge every other event."""
        answer = self.webhook(body)
        if isinstance(answer, Queued):
            response.status_code = 201
        return answer

    def _request_training(self, project_id: int) -> Queued:
        self._known.check(project_id)
        job_id = self._queue.request(project_id)
        self._metrics.count_training()
        return Queued(job=job_id)
