"""The sample project in Label Studio: photographs as tasks, annotations as a person would submit them, and a click."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from backend.cli.demo.photographs import BRICK, COIN, SampleObject, SamplePhotograph
from backend.errors import Upstream
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.controls.regions import mask_of_region
from backend.labelstudio.payloads import LabelStudioJson, Region
from backend.labelstudio.rle import encode_mask
from backend.masks.bounds import find_deepest_pixel
from backend.masks.metrics import boundary_iou, iou

TITLE = "samloop: coins and bricks"
BRUSH, KEYPOINT, RECTANGLE, IMAGE = "brush", "keypoint", "rectangle", "image"
_LABELS = f'<Label value="{COIN}" background="#1f77ff"/><Label value="{BRICK}" background="#ff7f0e"/>'
LABEL_CONFIG = f"""<View>
  <Image name="{IMAGE}" value="$image" zoom="true" zoomControl="true"/>
  <Header value="Brush"/>
  <BrushLabels name="{BRUSH}" toName="{IMAGE}">{_LABELS}</BrushLabels>
  <Header value="Click on an object, with Auto-Annotation on"/>
  <KeyPointLabels name="{KEYPOINT}" toName="{IMAGE}" smart="true">{_LABELS}</KeyPointLabels>
  <Header value="Draw a box around an object, with Auto-Annotation on"/>
  <RectangleLabels name="{RECTANGLE}" toName="{IMAGE}" smart="true">{_LABELS}</RectangleLabels>
</View>
"""


@dataclass(frozen=True, slots=True)
class SampleTask:
    """A photograph and the task that Label Studio made of it."""

    task_id: int
    photograph: SamplePhotograph


@dataclass(frozen=True, slots=True)
class AskedMask:
    """What came back for one click: the version that made the mask, and how well it covers the true object."""

    version: str
    iou: float
    boundary_iou: float


def create_project(client: LabelStudio, photographs: Sequence[SamplePhotograph]) -> tuple[int, tuple[SampleTask, ...]]:
    """Make the project and upload the photographs; return its id and its tasks, in the photographs' order.

    Raises:
        Upstream: Label Studio made other tasks than those.
    """
    project_id = int(client.create_project(TITLE, LABEL_CONFIG)["id"])
    client.import_images(project_id, {photograph.name: photograph.png for photograph in photographs})
    # Label Studio puts eight hexadecimal digits and a dash before the name of an upload.
    ids = {str(task["data"][IMAGE]).rpartition("/")[2][9:]: int(task["id"]) for task in client.tasks(project_id)}
    if sorted(ids) != sorted(photograph.name for photograph in photographs):
        raise Upstream(f"project {project_id} holds {sorted(ids)} after the upload, not the {len(photographs)} samples")
    return project_id, tuple(SampleTask(ids[photograph.name], photograph) for photograph in photographs)


def annotate(client: LabelStudio, task: SampleTask) -> None:
    """Submit every object of the photograph as a person's brush mask."""
    client.create_annotation(task.task_id, [_brushed(mask) for mask in task.photograph.objects], lead_time=30.0)


def ask_for_mask(client: LabelStudio, backend_id: int, task: SampleTask, *, number: int = 0) -> AskedMask:
    """Click on one object of a task as the editor does, and measure the mask that Label Studio passes on.

    Raises:
        Upstream: the answer holds no mask of one region.
    """
    truth = task.photograph.objects[number]
    reply = client.backends.interactive(backend_id, task.task_id, {"result": [_clicked(truth)]})
    regions = reply.get("result") or []
    if len(regions) != 1:
        raise Upstream(f"one click on task {task.task_id} was answered with {len(regions)} regions: {str(reply)[:200]}")
    height_px, width_px = truth.mask.shape
    mask = mask_of_region(regions[0], height_px=height_px, width_px=width_px)
    return AskedMask(
        version=str(regions[0]["meta"]["model_version"]),
        iou=iou(mask, truth.mask),
        boundary_iou=boundary_iou(mask, truth.mask),
    )


def centre_px(item: SampleObject) -> tuple[float, float]:
    """The point (x, y) of an object farthest from its edge, the photograph's edge included; the centre of a pixel."""
    pixel = find_deepest_pixel(item.mask)
    if pixel is None:
        raise ValueError(f"the mask of a sample {item.label} is empty: it has no inner point")
    return pixel.centre.x_px, pixel.centre.y_px


def _clicked(item: SampleObject) -> Region:
    (x_px, y_px), (height_px, width_px) = centre_px(item), item.mask.shape
    value = {"x": 100 * x_px / width_px, "y": 100 * y_px / height_px, "width": 0.25, "keypointlabels": [item.label]}
    return _region(item, from_name=KEYPOINT, kind="keypointlabels", value=value) | {"is_positive": True}


def _brushed(item: SampleObject) -> Region:
    value = {"format": "rle", "rle": encode_mask(item.mask), "brushlabels": [item.label]}
    return _region(item, from_name=BRUSH, kind="brushlabels", value=value)


def _region(item: SampleObject, *, from_name: str, kind: str, value: LabelStudioJson) -> Region:
    height_px, width_px = item.mask.shape
    return {
        "id": uuid.uuid4().hex[:10],
        "from_name": from_name,
        "to_name": IMAGE,
        "type": kind,
        "origin": "manual",
        "original_width": width_px,
        "original_height": height_px,
        "image_rotation": 0,
        "value": value,
    }
