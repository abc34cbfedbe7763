"""The machine that clicks and batches share: tiers and lanes as the settings describe them."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.pictures import encode_image

from backend.errors import Busy
from backend.labelstudio.label_config import parse_label_config
from backend.masks.crop import Crop
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import Predictor
from backend.serving.machine import open_machine
from backend.serving.slot import Snapshot
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority, Traffic
from backend.settings import Settings


class Source:
    name = "a studio"

    def fetch(self, uri: str, *, task_id: int | None = None) -> bytes:
        return encode_image(Image.new("RGB", (32, 24)))


@pytest.fixture
def image() -> TaskImage:
    source: Any = Source()
    config = parse_label_config('<View><Image name="image" value="$image"/><Brush name="b" toName="image"/></View>')
    return TaskImage(task={"id": 1, "data": {"image": "x"}}, config=config, images=source)


def test_it_embeds_an_image_once_for_clicks_and_batches_and_parts_of_it_apart(
    tiny_base: BaseModel, image: TaskImage, tmp_path: Path
) -> None:
    machine = open_machine(tiny_base, Settings(cache_dir=tmp_path))
    snapshot = Snapshot("v1", Predictor(tiny_base, decoder_of(tiny_base, None), version="v1"), number=1)
    asked = {"snapshot": snapshot, "until_s": math.inf}
    click = machine.embed(image, priority=Priority.CLICK, **asked)
    batch = machine.embed(image, priority=Priority.BATCH, **asked)
    part = machine.embed(image, priority=Priority.CLICK, crop=Crop(0, 0, 16, 8), **asked)
    machine.close()
    assert torch.equal(click.features, batch.features)
    assert (part.width_px, part.height_px) == (16, 8)
    assert machine.store.counts.computed == 2


def test_the_settings_say_how_many_may_wait_and_the_lanes_share_the_traffic(
    tiny_base: BaseModel, tmp_path: Path
) -> None:
    traffic = Traffic()
    machine = open_machine(tiny_base, Settings(cache_dir=tmp_path, waiting=3, cache_mib=64), traffic=traffic)
    lanes = machine.lanes
    assert (lanes.encode._most, lanes.decode._most) == (3, 12)
    assert lanes.traffic is lanes.encode.traffic is lanes.decode.traffic is traffic
    machine.close()


def test_closed_it_refuses_what_comes(tiny_base: BaseModel, tmp_path: Path) -> None:
    machine = open_machine(tiny_base, Settings(cache_dir=tmp_path))
    assert machine.decode(lambda: 7, priority=Priority.CLICK, until_s=math.inf) == 7
    machine.close()
    with pytest.raises(Busy, match="stopping"):
        machine.decode(lambda: 7, priority=Priority.CLICK, until_s=math.inf)
