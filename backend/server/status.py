"""The bodies of answers, as /docs shows them."""

from importlib import metadata
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from backend.live.figures import VersionFigures


def _example(**values: JsonValue) -> ConfigDict:
    """Return the configuration of a frozen answer with an example for /docs."""
    return ConfigDict(frozen=True, protected_namespaces=(), json_schema_extra={"examples": [values]})


class Health(BaseModel):
    """Whether the server is up, and whether its model is loaded."""

    model_config = _example(
        status="UP",
        model_class="samloop",
        model="ready",
        arithmetic="bfloat16",
        version="0.1.0",
        error=None,
        refused={},
        away={},
    )

    status: Literal["UP"] = "UP"
    model_class: Literal["samloop"] = "samloop"
    model: Literal["loading", "ready", "failed"]
    arithmetic: str | None = Field(
        default=None, description="numbers that the encoder computes in; null while the model loads"
    )
    version: str = Field(description="samloop's version", default_factory=lambda: metadata.version("samloop"))
    error: str | None = Field(description="why the model could not be loaded")
    refused: dict[str, str] = Field(description="checkpoints that must not serve, by version, and why")
    away: dict[str, str] = Field(description="what cannot be read now and will be tried again, and why")


class Setup(BaseModel):
    """The version that predictions carry now."""

    model_config = _example(model_version="mobile-sam-p7-v3-1a2b3c")

    model_version: str


class Predictions(BaseModel):
    """A prediction for every task, in the tasks' order; `[]` for a task whose turn did not come in time."""

    model_config = _example(
        results=[
            {
                "result": [
                    {
                        "id": "mYx0Dz1pQa",
                        "type": "brushlabels",
                        "from_name": "brush",
                        "to_name": "image",
                        "original_width": 640,
                        "original_height": 480,
                        "value": {"format": "rle", "rle": [0, 1, 2], "brushlabels": ["Coin"]},
                        "score": 0.93,
                        "meta": {"model_version": "mobile-sam-p7-v3-1a2b3c"},
                    }
                ],
                "score": 0.93,
                "model_version": "mobile-sam-p7-v3-1a2b3c",
            }
        ]
    )

    results: list[Any]  # Label Studio's predictions: do not validate every number of a mask's run lengths again


class Queued(BaseModel):
    """A job is on the queue, and Redis has acknowledged it."""

    model_config = _example(status="queued", job="train-7-3")

    status: Literal["queued"] = "queued"
    job: str


class Heard(BaseModel):
    """An event that starts no training: `noted` if it changes annotations, which are later compared with our masks."""

    model_config = _example(status="noted", action="ANNOTATION_CREATED")

    status: Literal["noted", "ignored"]
    action: str


class Cancelled(BaseModel):
    """Whether there was anything to end."""

    model_config = _example(status="cancelling")

    status: Literal["cancelling", "none"]


class Versions(BaseModel):
    """The base model, and the versions of the newest projects."""

    model_config = _example(versions=["mobile-sam-base-0f1e2d", "mobile-sam-p7-v3-1a2b3c"])

    versions: list[str]


class ProjectVersions(Versions):
    """The base model, one project's versions, and which of them is served."""

    model_config = _example(
        versions=["mobile-sam-base-0f1e2d", "mobile-sam-p7-v3-1a2b3c"], served="mobile-sam-p7-v3-1a2b3c"
    )

    served: str


class JobStatus(BaseModel):
    """A job. Times are ISO 8601 in UTC; `result` is set after its end, `error` if it failed."""

    model_config = _example(
        job="train-7-3",
        project=7,
        job_status="started",
        created_at="2026-01-05T09:30:00+00:00",
        started_at="2026-01-05T09:30:02+00:00",
        ended_at=None,
        progress={"phase": "training", "epoch": 4, "epochs": 30},
        result=None,
        error=None,
    )

    job: str
    project: int
    job_status: str | None
    created_at: str | None
    started_at: str | None
    ended_at: str | None
    progress: dict[str, JsonValue]
    result: JsonValue
    error: str | None


class Served(BaseModel):
    """The version that answers now, and the latest decision."""

    version: str = Field(description="the version that answers now")
    number: int = Field(description="of the latest decision; 0 before the first")
    since: str | None = Field(description="time of that decision, ISO 8601 in UTC")
    reason: str | None = Field(description="of that decision")
    decided: str = Field(
        description="the version that it names; differs from `version` while it loads, or if it must not serve"
    )


class Waiting(BaseModel):
    """The queue of trainings."""

    queued: int = Field(description="the project's trainings that wait")
    workers: int = Field(description="workers that could take a training up; they serve all projects")


class RefreshStatus(BaseModel):
    """The progress of a project's refresh."""

    phase: Literal["idle", "queued", "training", "refreshing", "failed"]
    job: str | None
    progress: dict[str, JsonValue]
    last: dict[str, JsonValue] | None = Field(description="the result of the last refresh")
    queued: int = Field(description="the project's refreshes that wait")
    workers: int = Field(description="workers that could take a refresh up; they serve all projects")
    error: str | None = Field(description="why the last refresh failed")


class ClickRefusal(BaseModel):
    """A click that got no mask; Label Studio does not show why."""

    at: str = Field(description="ISO 8601 in UTC")
    task: int | None = Field(description="null if the request named none")
    reason: str


class AutomaticStatus(BaseModel):
    """When the project trains by itself."""

    changed: int = Field(description="annotations that changed since the last request for a training")
    train_after: int = Field(description="number of changed annotations that starts a training; 0: none does")


class MissedWebhooks(BaseModel):
    """What the last look in Label Studio found that no webhook had reported."""

    at: str = Field(description="time of that look, ISO 8601 in UTC")
    changes: int = Field(description="annotations that no webhook had reported; they count since then")
    webhook_restored: bool = Field(description="the project's webhook was missing, and was created again")


class ProjectStatus(BaseModel):
    """The served version, the training and its progress, and the last verdict."""

    model_config = _example(
        project=7,
        served={
            "version": "mobile-sam-p7-v3-1a2b3c",
            "number": 3,
            "since": "2026-01-05T09:40:12+00:00",
            "reason": "tighter at the rim (Ann, on the review page)",
            "decided": "mobile-sam-p7-v3-1a2b3c",
        },
        phase="training",
        job="train-7-4",
        progress={"phase": "training", "epoch": 4, "epochs": 30},
        stage="Learning masks from prompts",
        said="training: epoch 4 of 30",
        share=0.13,
        left_s=130.0,
        losses={"prompts": [[10, 0.41], [20, 0.35]]},
        verdict={"promote": True, "version": "mobile-sam-p7-v3-1a2b3c", "reasons": ["better with boxes"]},
        queue={"queued": 0, "workers": 1},
        error=None,
        cancelled=None,
        refresh={"phase": "idle", "job": None, "progress": {}, "last": None, "queued": 0, "workers": 1, "error": None},
        refused={},
        live={},
        refusals=[],
        automatic={"changed": 7, "train_after": 10},
        missed=None,
    )

    project: int
    served: Served
    phase: Literal["idle", "queued", "training", "refreshing", "failed"]
    job: str | None
    progress: dict[str, JsonValue]
    stage: str = Field(description="what the training is doing")
    said: str = Field(description="the training's progress, in words")
    share: float | None = Field(description="share of the training's work that is done, in [0, 1]; null if unknown")
    left_s: float | None = Field(description="estimated time until the training ends, s; null if unknown")
    losses: dict[str, tuple[tuple[float, float], ...]] = Field(
        description='the running training\'s steps and losses so far, for "prompts" and for the "semantic head"'
    )
    verdict: dict[str, JsonValue] | None
    queue: Waiting
    error: str | None = Field(description="why the last training failed")
    cancelled: str | None = Field(description="when the last training was cancelled, ISO 8601 in UTC")
    refresh: RefreshStatus
    refused: dict[str, str] = Field(description="the project's checkpoints that must not serve, by version, and why")
    live: dict[str, VersionFigures] = Field(description="how much people changed a version's masks, by version")
    refusals: list[ClickRefusal] = Field(description="the last clicks that got no mask of any server, latest first")
    automatic: AutomaticStatus
    missed: MissedWebhooks | None = Field(description="null if no look found anything for a week")
