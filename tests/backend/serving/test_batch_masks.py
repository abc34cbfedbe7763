"""What a batch looks for in a task: rectangles first, then what the semantic head sees, then what stands out."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.domains import set_apart
from support.pictures import draw_greys

from backend.errors import BadInput, Busy
from backend.labelstudio.label_config import LabelConfig, parse_label_config
from backend.sam.automatic import AutomaticRules
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel, decoder_of, new_head
from backend.sam.predictor import Embedding, Predictor, encode
from backend.sam.semantic.objects import SemanticMaps, SemanticRules
from backend.serving import batch_masks
from backend.serving.batch_masks import BatchMasks
from backend.serving.slot import Snapshot
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority

CONFIG = parse_label_config(
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Cell"/><Label value="Dirt"/></BrushLabels>'
    '<RectangleLabels name="box" toName="image"><Label value="Cell"/></RectangleLabels></View>'
)
ONE_LABEL = parse_label_config(
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Cell"/></BrushLabels>'
    '<RectangleLabels name="box" toName="image"><Label value="Cell"/></RectangleLabels></View>'
)
EAGER = AutomaticRules(points=3, least_score=0.0, least_area=0.0, most_area=1.0, most=5)
NO_SOURCE: Any = None


@pytest.fixture
def snapshot(tiny_base: BaseModel) -> Snapshot:
    predictor = Predictor(tiny_base, decoder_of(tiny_base, None), version="ours-v2")
    return Snapshot("ours-v2", predictor, number=1)


@pytest.fixture
def seeing(snapshot: Snapshot, tiny_base: BaseModel) -> Snapshot:
    """As `snapshot`, with a semantic head that knows cells."""
    head = new_head(tiny_base, labels=("Cell",))
    return replace(snapshot, predictor=replace(snapshot.predictor, semantic=head))


class Machine:
    """Encodes noise, decodes here and now, and notes the turns that were asked for."""

    def __init__(self) -> None:
        self.embeds, self.decodes, self.turns = 0, 0, set[tuple[Priority, float]]()

    def embed(
        self, image: TaskImage, *, snapshot: Snapshot, priority: Priority, until_s: float, crop: object = None
    ) -> Embedding:
        self.embeds += 1
        self.turns.add((priority, until_s))
        return encode(snapshot.predictor.base, draw_greys(64, 48))

    def decode(self, work: Callable[[], Any], *, priority: Priority, until_s: float) -> Any:
        self.decodes += 1
        self.turns.add((priority, until_s))
        return work()


@pytest.fixture
def machine() -> Machine:
    return Machine()


def masks_of(machine: Machine, snapshot: Snapshot, *, automatic: AutomaticRules | None = None) -> BatchMasks:
    return BatchMasks(machine=machine, snapshot=snapshot, automatic=automatic, semantic=SemanticRules(), until_s=1e12)


def image_of(*, boxed: bool, config: LabelConfig = CONFIG) -> TaskImage:
    value = {"x": 10.0, "y": 10.0, "width": 60.0, "height": 70.0, "rectanglelabels": ["Cell"]}
    region = {"type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": value}
    task = {"id": 1, "data": {"image": "x"}, "annotations": [{"result": [region]}] if boxed else []}
    return TaskImage(task=task, config=config, images=NO_SOURCE)


def test_what_can_be_looked_at_is_known_without_the_image(
    machine: Machine, snapshot: Snapshot, seeing: Snapshot
) -> None:
    bare, boxed = image_of(boxed=False), image_of(boxed=True)
    assert not masks_of(machine, snapshot).can_look_at(bare)
    assert masks_of(machine, snapshot).can_look_at(boxed)
    assert masks_of(machine, seeing).can_look_at(bare)
    assert masks_of(machine, snapshot, automatic=EAGER).can_look_at(bare)
    assert machine.embeds == 0


def test_rectangles_go_before_the_head_and_before_what_stands_out(machine: Machine, seeing: Snapshot) -> None:
    (placed,) = masks_of(machine, seeing, automatic=EAGER).of(image_of(boxed=True))
    assert (placed.output.control.from_name, placed.output.label) == ("brush", "Cell")
    assert placed.mask.mask.shape == (48, 64)
    assert (machine.embeds, machine.decodes) == (1, 1)


class LargeImages(Machine):
    """Says of its embeddings that they are of images of 12 megapixels."""

    def embed(self, image: TaskImage, **rest: Any) -> Embedding:
        return replace(super().embed(image, **rest), height_px=3000, width_px=4000)


def test_more_rectangles_than_the_most_are_cut_and_the_answer_says_so(
    machine: Machine, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_masks, "MOST_RECTANGLES", 2)
    boxes = [
        {
            "type": "rectanglelabels",
            "from_name": "box",
            "to_name": "image",
            "value": {"x": 5.0 + 30 * n, "y": 10.0, "width": 20.0, "height": 70.0, "rectanglelabels": ["Cell"]},
        }
        for n in range(3)
    ]
    for count, notes in ((2, [None, None]), (3, [batch_masks._TOO_MANY, None])):
        image = replace(image_of(boxed=True), task={"id": 1, "data": {}, "drafts": [{"result": boxes[:count]}]})
        assert [placed.note for placed in masks_of(machine, snapshot).of(image)] == notes


def test_memory_does_not_grow_with_the_number_of_boxes(snapshot: Snapshot) -> None:
    """A mask of 12 megapixels takes 12 MB: those of 24 boxes were all held until the last was drawn."""
    value = {"y": 10.0, "width": 20.0, "height": 30.0, "rectanglelabels": ["Cell"]}
    region = {"type": "rectanglelabels", "from_name": "box", "to_name": "image"}
    boxes = [{**region, "value": value | {"x": 3.0 * number}} for number in range(24)]
    image = TaskImage(task={"annotations": [{"result": boxes}]}, config=CONFIG, images=NO_SOURCE)
    masks, machine = 0, LargeImages()
    tracemalloc.start()
    try:
        for place in masks_of(machine, snapshot).of(image):
            masks += place.mask.mask.shape == (3000, 4000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (masks, machine.decodes) == (24, 5)
    assert peak < 200e6


def test_a_batch_whose_time_is_over_gives_the_rest_of_its_objects_up(
    machine: Machine, seeing: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    margin = np.full((1, 192, 256), 8, np.float32)
    maps = SemanticMaps(("Cell",), margin, margin / 10, frame=SAM_FRAME)
    monkeypatch.setattr(batch_masks, "semantic_maps", lambda *_, **__: maps)
    assert list(masks_of(machine, seeing).of(image_of(boxed=False)))
    late = replace(masks_of(machine, seeing), clock=lambda: 2e12)
    with pytest.raises(Busy, match="time is over"):
        list(late.of(image_of(boxed=False)))


def test_without_a_head_and_without_automatic_masks_there_is_nothing(machine: Machine, snapshot: Snapshot) -> None:
    assert list(masks_of(machine, snapshot).of(image_of(boxed=False))) == []
    assert machine.embeds == 0


def test_where_several_labels_are_possible_none_is_guessed(machine: Machine, snapshot: Snapshot) -> None:
    with pytest.raises(BadInput, match=r"has 2: train the project"):
        list(masks_of(machine, snapshot, automatic=EAGER).of(image_of(boxed=False)))
    assert machine.embeds == 0


def write_interface(labels: str, *, attributes: str = "") -> LabelConfig:
    """An interface with a brush alone."""
    return parse_label_config(
        f'<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image" {attributes}>{labels}'
        "</BrushLabels></View>"
    )


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (write_interface("", attributes='value="$labels"'), "takes its labels from the tasks"),
        (write_interface('<Label value="Cell"/>', attributes='value="$labels"'), "takes its labels from the tasks"),
        (write_interface(""), "has 0"),
    ],
    ids=["the tasks' labels", "the tasks' labels and one more", "no label at all"],
)
def test_where_the_interface_does_not_say_the_only_label_none_is_guessed(
    machine: Machine, snapshot: Snapshot, config: LabelConfig, why: str
) -> None:
    with pytest.raises(BadInput, match=f"automatic masks need a label, and the interface {why}: train"):
        list(masks_of(machine, snapshot, automatic=EAGER).of(image_of(boxed=False, config=config)))
    assert machine.embeds == 0


def test_a_rectangle_without_a_label_gives_no_region_that_the_editor_would_not_show(
    machine: Machine, snapshot: Snapshot
) -> None:
    image = image_of(boxed=True, config=write_interface("", attributes='value="$labels"'))
    value = image.task["annotations"][0]["result"][0]["value"]
    assert [place.output.label for place in masks_of(machine, snapshot).of(image)] == value["rectanglelabels"]
    value["rectanglelabels"] = []
    assert not list(masks_of(machine, snapshot).of(image))


@pytest.mark.parametrize(
    "beside", ["", '<Labels name="l" toName="image"><Label value="A"/><Label value="B"/></Labels>']
)
def test_what_stands_out_needs_no_label_on_a_control_without(machine: Machine, snapshot: Snapshot, beside: str) -> None:
    config = parse_label_config(
        f'<View><Image name="image" value="$image"/><Brush name="b" toName="image"/>{beside}</View>'
    )
    placed = list(masks_of(machine, snapshot, automatic=EAGER).of(image_of(boxed=False, config=config)))
    assert {(place.output.control.from_name, place.output.label) for place in placed} == {("b", None)}


@pytest.mark.parametrize("label", ["Bus", None])
def test_a_rectangle_whose_label_no_control_knows_gets_no_guessed_one(
    machine: Machine, snapshot: Snapshot, label: str | None
) -> None:
    image = image_of(boxed=True)
    value = image.task["annotations"][0]["result"][0]["value"]
    value["rectanglelabels"] = [label] if label else []
    config = parse_label_config(
        '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image">'
        '<Label value="Cell"/><Label value="Dirt"/></BrushLabels><Rectangle name="box" toName="image"/></View>'
    )
    placed = list(masks_of(machine, snapshot).of(replace(image, config=config)))
    assert [place.output.label for place in placed if place.output.control.has_labels] == []


def test_what_stands_out_carries_the_only_label_of_the_most_faithful_control(
    machine: Machine, snapshot: Snapshot
) -> None:
    placed = list(masks_of(machine, snapshot, automatic=EAGER).of(image_of(boxed=False, config=ONE_LABEL)))
    assert 1 <= len(placed) <= 5
    assert {(place.output.control.from_name, place.output.label) for place in placed} == {("brush", "Cell")}


def test_what_stands_out_is_no_box_because_boxes_need_no_label(machine: Machine, snapshot: Snapshot) -> None:
    config = parse_label_config(
        '<View><Image name="image" value="$image"/><Rectangle name="box" toName="image"/>'
        '<BrushLabels name="brush" toName="image"><Label value="Cell"/></BrushLabels></View>'
    )
    placed = list(masks_of(machine, snapshot, automatic=EAGER).of(image_of(boxed=False, config=config)))
    assert {(place.output.control.from_name, place.output.label) for place in placed} == {("brush", "Cell")}


def test_every_turn_is_a_batchs_with_its_deadline(machine: Machine, snapshot: Snapshot) -> None:
    masks = masks_of(machine, snapshot, automatic=EAGER)
    for boxed in (True, False):
        assert list(masks.of(image_of(boxed=boxed, config=ONE_LABEL)))
    assert machine.turns == {(Priority.BATCH, 1e12)}


@pytest.mark.parametrize(("apart", "decodes"), [(70.0, 2), (20.0, 1)], ids=["a neck", "none"])
def test_only_a_patch_with_a_neck_is_shown_to_the_decoder_after_the_head_has_looked(
    machine: Machine, seeing: Snapshot, monkeypatch: pytest.MonkeyPatch, apart: float, decodes: int
) -> None:
    rows, columns = np.mgrid[:192, :256].astype(np.float32)
    distance = np.minimum(np.hypot(rows - 90, columns - 80), np.hypot(rows - 90, columns - 80 - apart))
    margin = (40 - distance).clip(-8, 8)[None]
    maps = SemanticMaps(("Cell",), margin, 1 / (1 + np.exp(-margin)), frame=SAM_FRAME)
    monkeypatch.setattr(batch_masks, "semantic_maps", lambda *_, **__: maps)

    placed = list(masks_of(machine, seeing).of(image_of(boxed=False)))

    assert machine.decodes == decodes
    assert {place.output.label for place in placed} == {"Cell"}


class OneImage(Machine):
    """Sees the same noise in every task."""

    def __init__(self, seen: Embedding) -> None:
        super().__init__()
        self.seen = seen

    def embed(self, image: TaskImage, **_: Any) -> Embedding:
        return self.seen


def test_the_base_finds_what_stands_out_in_images_that_look_unlike_the_projects(
    snapshot: Snapshot, tiny_base: BaseModel
) -> None:
    decoder = decoder_of(tiny_base, None)
    for weight in decoder.parameters():
        weight.mul_(1.1)
    trained = replace(snapshot, predictor=Predictor(tiny_base, decoder, version="ours-v3"))
    noise = encode(tiny_base, draw_greys(64, 48))
    apart = replace(trained, predictor=set_apart(trained.predictor, inside=noise.with_maps(torch.neg), elsewhere=noise))
    whatever = replace(EAGER, most=3)
    image = image_of(boxed=False, config=ONE_LABEL)
    bases, ours, found = (
        [place.mask.predicted_iou for place in masks_of(OneImage(noise), asked, automatic=whatever).of(image)]
        for asked in (snapshot, trained, apart)
    )
    assert found == bases != ours
