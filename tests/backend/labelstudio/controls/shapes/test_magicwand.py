"""The magic wand's masks are a brush's."""

import numpy as np

from backend.labelstudio.controls.choice import output_of
from backend.labelstudio.controls.regions import regions_of
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.controls.shapes.magicwand import SHAPE
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.prompts.request import prompts_from_context

CONFIG = parse_label_config(
    '<View><Image name="image" value="$image"/><Labels name="kind" toName="image"><Label value="Cloud"/></Labels>'
    '<MagicWand name="wand" toName="image"/><KeyPoint name="point" toName="image" smart="true"/></View>'
)
SIZE = Size(height_px=6, width_px=8)


def test_its_region_has_the_label_beside_it() -> None:
    mask = np.random.default_rng(0).random((6, 8)) > 0.5
    (value,) = SHAPE.write(mask, tolerance_px=0.0)
    drawn = {"id": "r", "type": "magicwand", "from_name": "wand", "to_name": "image", "value": value}
    named = drawn | {"type": "labels", "from_name": "kind", "value": value | {"labels": ["Cloud"]}}
    (region,) = regions_of([drawn, named])
    assert region.label == "Cloud"
    assert np.array_equal(region.mask(SIZE), mask)


def test_it_takes_masks_where_no_other_control_does() -> None:
    click = {"id": "k", "type": "keypoint", "from_name": "point", "to_name": "image", "value": {"x": 50, "y": 50}}
    (prompt,) = prompts_from_context({"result": [click]}, height_px=6, width_px=8, config=CONFIG)
    assert output_of(prompt, CONFIG).control.from_name == "wand"
