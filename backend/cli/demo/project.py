"""The sample project in Label Studio: images as tasks, annotations as a person would submit them, and a click."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from backend.cli.demo.samples import SampleImage, SampleObject, SampleSet
from backend.errors import Upstream
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.api.predictions import PredictionStore
from backend.labelstudio.controls.regions import mask_of_region
from backend.labelstudio.payloads import LabelStudioJson, Region
from backend.labelstudio.rle import encode_mask
from backend.masks.bounds import find_bounds, find_deepest_pixel
from backend.masks.metrics import boundary_iou, iou

BRUSH, KEYPOINT, RECTANGLE, IMAGE = "brush", "keypoint", "rectangle", "image"


@dataclass(frozen=True, slots=True)
class SampleTask:
    """An image and the task that Label Studio made of it."""

    task_id: int
    image: SampleImage


@dataclass(frozen=True, slots=True)
class AskedMask:
    """The answer to a click: the version that drew the mask, and how well the mask covers the true object."""

    version: str
    iou: float
    boundary_iou: float


def label_config(sample: SampleSet) -> str:
    """Return the labelling interface: a brush for masks, and a point and a rectangle as prompts."""
    labels = "".join(
        f'<Label value="{label}" background="{colour}"/>' for label, colour in sample.label_colours.items()
    )
    return f"""<View>
  <Image name="{IMAGE}" value="$image" zoom="true" zoomControl="true"/>
  <Header value="Brush"/>
  <BrushLabels name="{BRUSH}" toName="{IMAGE}">{labels}</BrushLabels>
  <Header value="Click on {sample.object_noun}, with Auto-Annotation on"/>
  <KeyPointLabels name="{KEYPOINT}" toName="{IMAGE}" smart="true">{labels}</KeyPointLabels>
  <Header value="Draw a box around {sample.object_noun}, with Auto-Annotation on"/>
  <RectangleLabels name="{RECTANGLE}" toName="{IMAGE}" smart="true">{labels}</RectangleLabels>
</View>
"""


def create_project(
    client: LabelStudio, sample: SampleSet, *, images: Sequence[SampleImage] | None = None
) -> tuple[int, tuple[SampleTask, ...]]:
    """Create the project and upload the images; return its id and its tasks, in the images' order.

    Args:
        client: of the Label Studio to create the project in.
        sample: its title and labels.
        images: the images to upload; None: all images of the sample.

    Raises:
        Upstream: Label Studio's tasks are not these images.
    """
    images = sample.read() if images is None else images
    project_id = int(client.create_project(sample.title, label_config(sample))["id"])
    client.import_images(project_id, {image.name: image.png for image in images})
    # Label Studio puts eight hexadecimal digits and a dash before the name of an upload.
    ids = {str(task["data"][IMAGE]).rpartition("/")[2][9:]: int(task["id"]) for task in client.tasks(project_id)}
    if sorted(ids) != sorted(image.name for image in images):
        raise Upstream(f"project {project_id} holds {sorted(ids)} after the upload, not the {len(images)} samples")
    return project_id, tuple(SampleTask(ids[image.name], image) for image in images)


def annotate(client: LabelStudio, task: SampleTask) -> None:
    """Submit every object of the image as a person's brush mask."""
    client.create_annotation(task.task_id, [_make_brush(mask) for mask in task.image.objects], lead_time=30.0)


def give_boxes(store: PredictionStore, tasks: Sequence[SampleTask]) -> None:
    """Store a box around every object, as a detector's predictions, for a batch to turn into masks."""
    for task in tasks:
        boxes = [_make_boxes(item) for item in task.image.objects]
        store.add_one({"task": task.task_id, "result": boxes, "score": 1.0, "model_version": "a detector"})


def ask_for_mask(client: LabelStudio, backend_id: int, task: SampleTask, *, number: int = 0) -> AskedMask:
    """Click on one object of a task as the editor does, and measure the mask that Label Studio passes on.

    Raises:
        Upstream: the answer is not a single region with a mask.
    """
    truth = task.image.objects[number]
    reply = client.backends.interactive(backend_id, task.task_id, {"result": [_make_clicks(truth)]})
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
    """Return the pixel centre (x, y) of an object farthest from its edge and the image's edge, image px."""
    pixel = find_deepest_pixel(item.mask)
    if pixel is None:
        raise ValueError(f"the mask of a sample {item.label} is empty: it has no inner point")
    return pixel.centre.x_px, pixel.centre.y_px


def _make_clicks(item: SampleObject) -> Region:
    (x_px, y_px), (height_px, width_px) = centre_px(item), item.mask.shape
    value = {"x": 100 * x_px / width_px, "y": 100 * y_px / height_px, "width": 0.25, "keypointlabels": [item.label]}
    return _region(item, from_name=KEYPOINT, kind="keypointlabels", value=value) | {"is_positive": True}


def _make_brush(item: SampleObject) -> Region:
    value = {"format": "rle", "rle": encode_mask(item.mask), "brushlabels": [item.label]}
    return _region(item, from_name=BRUSH, kind="brushlabels", value=value)


def _make_boxes(item: SampleObject) -> Region:
    bounds, (height_px, width_px) = find_bounds(item.mask), item.mask.shape
    if bounds is None:
        raise ValueError(f"the mask of a sample {item.label} is empty: it has no box")
    value: LabelStudioJson = {
        "x": 100 * bounds.x0_px / width_px,
        "y": 100 * bounds.y0_px / height_px,
        "width": 100 * bounds.width_px / width_px,
        "height": 100 * bounds.height_px / height_px,
        "rectanglelabels": [item.label],
    }
    return _region(item, from_name=RECTANGLE, kind="rectanglelabels", value=value)


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
