"""A project of a fake Label Studio, whose webhook ends in a live evaluation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fakes.label_studio import FakeLabelStudio
from fakes.regions import brush_region, control_of
from fakes.studio_setup import StudioSetup

from backend.labelstudio.webhook import AnnotationChange, annotation_changes
from backend.live.evaluation import LiveEvaluation

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels></View>'
)
Json = dict[str, Any]


def make_region(x_px: int = 10, *, version: str = "v1", region_id: str | None = None) -> Json:
    mask = np.zeros((40, 60), np.bool_)
    mask[10:30, x_px : x_px + 20] = True
    control = control_of(CONFIG, "brushlabels")
    assert control is not None
    return brush_region(mask, control=control, label="Coin", score=0.9, model_version=version, region_id=region_id)


class LiveProject:
    """A project of a fake Label Studio, whose webhook ends in a live evaluation."""

    def __init__(self, studio: FakeLabelStudio, root: Path) -> None:
        self.client, self.root = StudioSetup(studio.url, studio.token), root
        self.project_id = int(self.client.create_project("live", CONFIG)["id"])
        self.client.import_tasks(self.project_id, [{"data": {"image": "/x.png"}}])
        (self.task,) = (int(task["id"]) for task in self.client.tasks(self.project_id))

    def evaluation(self, label_studio: Callable[[int], Any] | None = None, **more: Any) -> LiveEvaluation:
        known = label_studio or (lambda _: self.client)
        return LiveEvaluation(self.root, label_studio=known, max_pixels=10**6, **more)

    def predict(self, *regions: Json, version: str = "v1") -> int:
        made = self.client.create_prediction(self.task, result=list(regions), score=0.5, model_version=version)
        return int(made["id"])

    def submit(self, *regions: Json, **fields: Any) -> AnnotationChange:
        """What the webhook of the annotation says, as far as it is read."""
        row = self.client.create_annotation(self.task, list(regions), **fields)
        (change,) = annotation_changes({"action": "ANNOTATION_CREATED", "annotation": row})
        return change

    def change(self, annotation_id: int, **fields: Any) -> AnnotationChange:
        row = self.client._session.send("PATCH", f"/api/annotations/{annotation_id}/", body=fields)
        (change,) = annotation_changes({"action": "ANNOTATION_UPDATED", "annotation": row})
        return change
