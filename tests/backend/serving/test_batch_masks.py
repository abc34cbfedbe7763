"""What a batch looks for in a task: rectangles first, then what the semantic head sees, then what stands out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend.labelstudio.label_config import parse_label_config
from backend.sam.automatic import AutomaticRules
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel, decoder_of, load_base, new_head
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
EAGER = AutomaticRules(points=3, least_score=0.0, least_area=0.0, most_area=1.0, most=5)
NO_SOURCE: Any = None


@pytest.fixture(scope="module")
def lively_base(tiny_sam_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """The tiny random SAM with larger weights: as it is born, its masks are empty."""
    base = load_base(str(tiny_sam_dir), cache_dir=tmp_path_factory.mktemp("cache"), device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in base.model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return base


@pytest.fixture
def snapshot(lively_base: BaseModel) -> Snapshot:
    predictor = Predictor(lively_base, decoder_of(lively_base, None), version="ours-v2")
    return Snapshot("ours-v2", predictor, number=1)


@pytest.fixture
def seeing(snapshot: Snapshot, lively_base: BaseModel) -> Snapshot:
    """As `snapshot`, with a semantic head that knows cells."""
    head = new_head(lively_base, labels=("Cell",))
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
        return encode(snapshot.predictor.base, Image.effect_noise((64, 48), 80).convert("RGB"))

    def decode(self, work: Callable[[], Any], *, priority: Priority, until_s: float) -> Any:
        self.decodes += 1
        self.turns.add((priority, until_s))
        return work()


@pytest.fixture
def machine() -> Machine:
    return Machine()


def masks_of(machine: Machine, snapshot: Snapshot, *, automatic: AutomaticRules | None = None) -> BatchMasks:
    return BatchMasks(machine=machine, snapshot=snapshot, automatic=automatic, semantic=SemanticRules(), until_s=1e12)


def image_of(*, boxed: bool) -> TaskImage:
    value = {"x": 10.0, "y": 10.0, "width": 60.0, "height": 70.0, "rectanglelabels": ["Cell"]}
    region = {"type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": value}
    task = {"id": 1, "data": {"image": "x"}, "annotations": [{"result": [region]}] if boxed else []}
    return TaskImage(task=task, config=CONFIG, images=NO_SOURCE)


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


def test_without_a_head_and_without_automatic_masks_there_is_nothing(machine: Machine, snapshot: Snapshot) -> None:
    assert masks_of(machine, snapshot).of(image_of(boxed=False)) == []
    assert machine.embeds == 0


def test_what_stands_out_carries_the_first_label_of_the_most_faithful_control(
    machine: Machine, snapshot: Snapshot
) -> None:
    placed = masks_of(machine, snapshot, automatic=EAGER).of(image_of(boxed=False))
    assert 1 <= len(placed) <= 5
    assert {(place.output.control.from_name, place.output.label) for place in placed} == {("brush", "Cell")}


def test_every_turn_is_a_batchs_with_its_deadline(machine: Machine, snapshot: Snapshot) -> None:
    masks = masks_of(machine, snapshot, automatic=EAGER)
    for boxed in (True, False):
        masks.of(image_of(boxed=boxed))
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

    placed = masks_of(machine, seeing).of(image_of(boxed=False))

    assert machine.decodes == decodes
    assert {place.output.label for place in placed} == {"Cell"}
