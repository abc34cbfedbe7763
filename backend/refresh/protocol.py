"""The backend's answer to a refresh, for one task."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.errors import Upstream
from backend.labelstudio.payloads import Prediction, Region

OUT_OF_TIME = "OutOfTime"  # the `why` of a task that its batch ran out of time for (backend.serving.batches)


@dataclass(frozen=True, slots=True)
class Answer:
    """The backend's result for one task.

    Attributes:
        model_version: the version that served the project.
        score: in [0, 1].
        regions: the prediction's `result`.
        why: why the backend skipped the task; None: it did not.
    """

    model_version: str
    score: float = 0.0
    regions: tuple[Region, ...] = field(default=(), repr=False)
    why: str | None = None

    @property
    def is_late(self) -> bool:
        """Whether the batch ran out of time before this task."""
        return self.why == OUT_OF_TIME

    @classmethod
    def from_json(cls, item: object) -> "Answer":
        """Parse an item of `/predict`'s `results`.

        Raises:
            Upstream: the item is not a prediction.
        """
        fields: Mapping[str, object] = item if isinstance(item, Mapping) else {}
        version, score, regions = fields.get("model_version"), fields.get("score"), fields.get("result")
        if not (isinstance(version, str) and isinstance(score, int | float) and isinstance(regions, list)):
            raise Upstream(
                "the backend's answer to a task is not a prediction (result, score, model_version): "
                "does SAMLOOP_BACKEND_URL name a samloop of the worker's version?"
            )
        why = fields.get("why")
        return cls(version, float(score), tuple(regions), str(why) if why else None)

    def row(self, task_id: int) -> Prediction:
        """Return the prediction as Label Studio imports it for this task."""
        return {
            "task": task_id,
            "result": list(self.regions),
            "score": self.score,
            "model_version": self.model_version,
        }
