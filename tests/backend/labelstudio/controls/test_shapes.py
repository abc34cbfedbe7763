"""A shape is one file: every table of shapes is derived from the folder."""

from pathlib import Path

import numpy as np
import pytest

from backend.labelstudio.controls import shapes
from backend.labelstudio.controls.choice import output_control
from backend.labelstudio.controls.regions import mask_of_region
from backend.labelstudio.controls.results import regions_of_mask
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.export import recover_config
from backend.labelstudio.label_config import LabelConfig, parse_label_config
from backend.labelstudio.prompts.existing import existing_under
from backend.labelstudio.prompts.request import prompts_from_context
from backend.masks.prompt import Click

TOY = '''
"""<Halfplane>, <HalfplaneLabels>: all that is left of a column."""

import numpy as np

from backend.labelstudio.controls.shape import Shape


def _read(value, size):
    return np.broadcast_to(np.arange(size.width_px) < value["column"], (size.height_px, size.width_px)).copy()


def _write(mask, *, tolerance_px):
    return [{"column": int(mask[0].sum())}]


SHAPE = Shape(name="halfplane", field="column", read=_read, write=_write, detail_rank=0, is_mask=True)
'''
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Sea"/></BrushLabels>'
    '<HalfplaneLabels name="half" toName="image"><Label value="Sea"/></HalfplaneLabels></View>'
)
MASK = np.broadcast_to(np.arange(8) < 3, (6, 8)).copy()
FRAME = {"height_px": 6, "width_px": 8}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabelConfig:
    """A project with a control that one file in the folder of shapes tells of."""
    (tmp_path / "halfplane.py").write_text(TOY)
    monkeypatch.setattr(shapes, "__path__", [*shapes.__path__, str(tmp_path)])
    for name, shape in shapes.load_shapes().items():
        monkeypatch.setitem(shapes.SHAPES, name, shape)
    return parse_label_config(CONFIG)


def test_one_file_is_a_control_that_takes_masks(project: LabelConfig) -> None:
    control = output_control(project, label="Sea")
    assert control.from_name == "half", "the lowest rank is the most faithful shape"
    (region,) = regions_of_mask(MASK, control=control, label="Sea", score=1.0, model_version="v1")
    assert (region["type"], region["value"]) == ("halfplanelabels", {"column": 3, "halfplanelabels": ["Sea"]})
    assert np.array_equal(mask_of_region(region, **FRAME), MASK)


def test_one_file_is_a_region_that_clicks_refine(project: LabelConfig) -> None:
    region = {"id": "r", "type": "halfplanelabels", "value": {"column": 3, "halfplanelabels": ["Sea"]}}
    click = {"type": "keypointlabels", "value": {"x": 90, "y": 50, "keypointlabels": ["Sea"]}, "is_positive": False}
    (labelled,) = prompts_from_context({"result": [region, click]}, config=project, **FRAME)
    assert np.array_equal(labelled.prompt.mask, MASK)
    task = {"annotations": [{"result": [region]}]}
    assert existing_under(task, click=Click(1.0, 1.0), label="Sea", size=Size(**FRAME)) is not None


def test_one_file_is_a_control_that_an_export_shows(project: LabelConfig) -> None:
    region = {"type": "halfplane", "from_name": "half", "to_name": "image", "value": {"column": 3}}
    config = recover_config([{"data": {"image": "a.png"}, "annotations": [{"result": [region]}]}])
    assert [control.kind for control in config.controls] == ["halfplane"]


def test_masks_go_to_the_most_faithful_shape_first() -> None:
    written = [name for name, shape in shapes.SHAPES.items() if shape.write is not None]
    assert written == ["brush", "magicwand", "bitmask", "polygon", "ellipse", "rectangle"]


@pytest.mark.parametrize("kind", ["choices", "labels", "brushlabelslabels", "", None, 5])
def test_what_draws_nothing_has_no_shape(kind: object) -> None:
    assert shapes.shape_of_kind(kind) is None
