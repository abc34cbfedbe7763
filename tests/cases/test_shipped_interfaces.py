"""Labelling interfaces that Label Studio ships: a click goes to the right control, or a sentence says what to add."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backend.errors import BadInput
from backend.labelstudio.controls.choice import label_on, output_control
from backend.labelstudio.controls.results import regions_of_mask
from backend.labelstudio.label_config import Control, LabelConfig, parse_label_config
from backend.labelstudio.tags import parse_tags, read_kind
from finetuner.config import Rules
from finetuner.data.annotations import objects_of, read_images
from finetuner.data.exclusions import Exclusions

SHIPPED = Path(__file__).resolve().parents[2] / ".venv-label-studio"
FOLDERS = ("annotation_templates", "core/examples")
SNOW = '<Labels name="kind" toName="image"><Label value="Snow"/><Label value="Haze"/></Labels>'
IMAGE = '<Image name="image" value="$image"/>'
MASK = np.zeros((30, 40), dtype=bool)
MASK[5:25, 8:30] = True


def read_shipped() -> dict[str, str]:
    """The labelling interfaces in Label Studio's package, by their files."""
    (package,) = SHIPPED.glob("lib/python*/site-packages/label_studio")
    files = [file for folder in FOLDERS for file in sorted((package / folder).rglob("config.xml"))]
    return {str(file.relative_to(package)): file.read_text() for file in files}


def read_config(xml: str) -> tuple[LabelConfig | None, str]:
    """The interface, or None and why it is refused."""
    try:
        return parse_label_config(xml), ""
    except BadInput as fault:
        return None, str(fault)


def choose_control(image: LabelConfig, tool: Control, label: str | None) -> tuple[Control | None, str]:
    """The control for the answer to a click with this label, or None and why there is none."""
    try:
        return output_control(image, label=label, drawn_with=tool.from_name), ""
    except BadInput as fault:
        return None, str(fault)


def list_clicks(config: LabelConfig) -> Iterator[tuple[LabelConfig, Control, str | None]]:
    """Every label of every tool of every image."""
    for image in (config, *config.others):
        for tool in (control for control in image.controls if control.shape.point is not None):
            yield from ((image, tool, label) for label in tool.labels or (None,))


@pytest.mark.label_studio
def test_every_shipped_interface_is_read_or_refused_with_what_to_add() -> None:
    answered, refused = 0, 0
    for name, xml in read_shipped().items():
        config, why = read_config(xml)
        shows_images = any(read_kind(tag) == "image" for tag in parse_tags(xml).iter())
        assert (config is not None) == shows_images, name
        assert config is not None or 'add <Image name="image"' in why, name
        refused += config is None
        for image, tool, label in list_clicks(config) if config is not None else ():
            target, why = choose_control(image, tool, label)
            if target is None:
                assert "add <BrushLabels>" in why, name
                continue
            offering = [control for control in image.controls if control.shape.write and label in control.labels]
            assert target.to_name == image.image_name, name
            assert not offering or (target in offering and label_on(target, label) == label), name
            answered += 1
    assert (answered >= 10, refused >= 30) == (True, True)


BRUSH, WAND = '<Brush name="b" toName="image" smart="false"/>', '<MagicWand name="w" toName="image"/>'
OUTLINES = '<Polygon name="p" toName="image"/><Ellipse name="e" toName="image"/>'
FILM = '<Labels name="other" toName="image"><Label value="Film"/></Labels>'


def write_labels(tag: str, name: str, within: str = '<Label value="Snow"/>') -> str:
    return f'<{tag} name="{name}" toName="image">{within}</{tag}>'


@pytest.mark.parametrize(
    ("tags", "label", "control", "labelled_by"),
    [
        (SNOW + BRUSH + WAND, "Haze", "b", "kind"),
        (SNOW + WAND, "Snow", "w", "kind"),
        (BRUSH + '<KeyPoint name="k" toName="image" smartOnly="true"/>' + SNOW, "Snow", "b", "kind"),
        (SNOW + FILM + OUTLINES, "Film", "p", "other"),
        (write_labels("BitmaskLabels", "m"), "Snow", "m", "m"),
        (write_labels("BrushLabels", "b", '<View><Label value="Snow"/></View><View/>'), "Snow", "b", "b"),
        (write_labels("VectorLabels", "v") + write_labels("PolygonLabels", "p"), "Snow", "p", "p"),
        (write_labels("brushlabels", "b").lower().replace("snow", "Snow"), "Snow", "b", "b"),
    ],
)
def test_a_mask_goes_where_the_documentations_examples_hold_it_and_teaches_its_label(
    tags: str, label: str, control: str, labelled_by: str
) -> None:
    config = parse_label_config(f"<View>{IMAGE}{tags}</View>")
    target = output_control(config, label=label)
    shown = label_on(target, label)
    results = regions_of_mask(MASK, control=target, label=shown, score=0.9, model_version="v")
    assert {result["from_name"] for result in results} == {control, labelled_by}
    perhaps = {
        "id": results[0]["id"],
        "from_name": "c",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": []},
    }
    task = {"id": 1, "data": {"image": "/a.png"}, "annotations": [{"id": 1, "result": [*results, perhaps]}]}
    exclusions, rules = Exclusions(), Rules(labels=config.labels, other_names=config.other_names)
    (image,) = read_images(task, config=config, exclusions=exclusions)
    (learnt,) = objects_of(image, height_px=30, width_px=40, rules=rules, exclusions=exclusions)
    assert learnt.label == label
