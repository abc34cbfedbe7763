"""Which control gets a mask: the one that knows the label, the most faithful shape, not the one it was drawn with."""

import pytest

from backend.errors import BadInput
from backend.labelstudio.controls.choice import Output, label_on, output_control, output_of, semantic_output
from backend.labelstudio.controls.regions import region_of
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.label_config import LabelConfig, parse_label_config
from backend.labelstudio.prompts.marks import Drawn
from backend.labelstudio.prompts.request import LabelledPrompt
from backend.masks.prompt import Box, Prompt

COIN = '<Label value="Coin"/>'


def config(*tags: str) -> LabelConfig:
    return parse_label_config(f'<View><Image name="image" value="$image"/>{"".join(tags)}</View>')


def tag(kind: str, name: str, *, labels: str = COIN, **attributes: str) -> str:
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<{kind} name="{name}" toName="image"{more}>{labels}</{kind}>'


def chosen(*tags: str, label: str | None = "Coin", drawn_with: str | None = None) -> str:
    return output_control(config(*tags), label=label, drawn_with=drawn_with).from_name


ALL = [
    tag("RectangleLabels", "rectangle"),
    tag("EllipseLabels", "ellipse"),
    tag("PolygonLabels", "polygon"),
    tag("BitmaskLabels", "bitmask"),
    tag("BrushLabels", "brush"),
    tag("KeyPointLabels", "keypoint"),
]


@pytest.mark.parametrize(
    ("leave_out", "takes"), [(0, "brush"), (1, "bitmask"), (2, "polygon"), (3, "ellipse"), (4, "rectangle")]
)
def test_the_most_faithful_shape_is_taken(leave_out: int, takes: str) -> None:
    assert chosen(*ALL[: 5 - leave_out], ALL[5]) == takes


def test_the_control_that_knows_the_label_goes_before_a_better_shape() -> None:
    brush = tag("BrushLabels", "brush", labels='<Label value="Other"/>')
    assert chosen(brush, tag("RectangleLabels", "rectangle")) == "rectangle"


def test_a_box_does_not_become_a_box_again_unless_there_is_nothing_else() -> None:
    boxes = tag("RectangleLabels", "boxes"), tag("RectangleLabels", "more")
    assert chosen(*boxes, drawn_with="boxes") == "more"
    assert chosen(boxes[0], drawn_with="boxes") == "boxes"
    assert chosen(tag("BrushLabels", "brush"), tag("PolygonLabels", "polygon"), drawn_with="brush") == "polygon"


def test_a_stroke_of_a_smart_brush_becomes_a_mask_and_never_a_box() -> None:
    brush, box = tag("BrushLabels", "brush"), tag("RectangleLabels", "box")
    assert chosen(brush, box, drawn_with="brush") == chosen(box, brush, drawn_with="brush") == "brush"
    assert chosen(brush, tag("EllipseLabels", "ellipse"), drawn_with="brush") == "brush"


def test_controls_without_labels_come_before_those_that_do_not_know_the_label() -> None:
    other = tag("BrushLabels", "other", labels='<Label value="Other"/>')
    assert chosen(other, tag("Polygon", "plain", labels="")) == "plain"
    assert chosen(other, tag("Polygon", "plain", labels=""), label=None) == "plain"


@pytest.mark.parametrize("label", [None, "Bus"])
def test_a_mask_comes_before_a_box_that_lists_no_labels(label: str | None) -> None:
    brush, box = tag("BrushLabels", "brush"), tag("Rectangle", "box", labels="")
    assert chosen(brush, box, label=label) == chosen(box, brush, label=label) == "brush"
    assert chosen(box, tag("RectangleLabels", "coins"), label=label) == "box"


def test_a_skipped_control_gets_nothing() -> None:
    skipped = tag("BrushLabels", "brush", model_skip="Yes")
    assert chosen(skipped, tag("PolygonLabels", "polygon")) == "polygon"
    with pytest.raises(BadInput, match="no control of the labelling interface can take a mask: add <BrushLabels>"):
        chosen(skipped)


def test_without_any_control_for_masks_the_next_step_is_told() -> None:
    with pytest.raises(BadInput, match="add <BrushLabels>"):
        chosen(tag("KeyPointLabels", "keypoint"))


def test_a_label_is_found_by_name_by_predicted_values_and_by_capitals() -> None:
    labels = '<Label value="Coin"/><Label value="Money" alias="money" predicted_values="penny, dime"/>'
    (control,) = config(tag("BrushLabels", "brush", labels=labels)).controls
    assert label_on(control, "Coin") == "Coin"
    assert label_on(control, "coin") == "Coin"
    assert label_on(control, "dime") == "money"


def test_a_label_that_a_control_does_not_know_gives_its_first_for_the_editor_shows_no_region_without_one() -> None:
    (control,) = config(tag("BrushLabels", "brush", labels='<Label value="Coin"/><Label value="Brick"/>')).controls
    assert label_on(control, "Foreground") == label_on(control, None) == "Coin"


def test_labels_that_come_from_the_tasks_data_are_taken_from_the_prompt() -> None:
    (control,) = config(tag("BrushLabels", "brush", labels="", value="$labels")).controls
    assert label_on(control, "Penny") == "Penny"
    (plain,) = config(tag("Brush", "brush", labels="")).controls
    assert label_on(plain, "Penny") is None


def test_labels_of_the_tasks_data_stand_beside_those_of_the_interface() -> None:
    (control,) = config(tag("BrushLabels", "brush", labels='<Label value="Coin"/>', value="$labels")).controls
    assert [label_on(control, label) for label in ("Coin", "coin", "Penny", None)] == ["Coin", "Coin", "Penny", "Coin"]


def test_what_refines_a_region_stays_on_its_control_under_its_id() -> None:
    project = config(tag("BrushLabels", "brush"), tag("PolygonLabels", "polygon"))
    size = Size(height_px=10, width_px=10)
    old = Drawn(region_of({"id": "old", "from_name": "polygon", "type": "polygonlabels"}), size)
    output = output_of(LabelledPrompt("Coin", Prompt(box=Box(0.0, 0.0, 1.0, 1.0)), refines=old), project)
    assert (output.control.from_name, output.label, output.region_id) == ("polygon", "Coin", "old")
    gone = Drawn(region_of({"id": "old", "from_name": "renamed", "type": "polygonlabels"}), size)
    output = output_of(LabelledPrompt("Coin", Prompt(box=Box(0.0, 0.0, 1.0, 1.0)), refines=gone), project)
    assert (output.control.from_name, output.region_id) == ("brush", "old")


def test_a_label_of_a_labels_tag_goes_to_the_controls_beside_it() -> None:
    project = config(
        '<Labels name="kind" toName="image"><Label value="Cell"/></Labels>',
        tag("Brush", "paint", labels=""),
        tag("BrushLabels", "tag", labels='<Label value="Vessel"/>'),
    )
    for label, name in (("Cell", "paint"), ("Vessel", "tag")):
        control = output_control(project, label=label)
        assert (control.from_name, label_on(control, label)) == (name, label)
        assert semantic_output(project, label=label) == Output(control, label)
    assert label_on(output_control(project, label="Cell"), "Gone") is None
    assert semantic_output(project, label="Gone") is None


ALIASES = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="cat" alias="1_brush"/><Label value="person" alias="2_brush"/>
</BrushLabels><KeyPointLabels name="point" toName="image"><Label value="cat"/><Label value="person"/></KeyPointLabels>
<RectangleLabels name="box" toName="image"><Label value="cat" alias="1_box"/><Label value="person" alias="2_box"/>
</RectangleLabels></View>"""


@pytest.mark.parametrize(
    ("label", "becomes"),
    [("cat", "1_brush"), ("person", "2_brush"), ("2_box", "2_brush"), ("2_brush", "2_brush"), ("dog", "1_brush")],
)
def test_a_label_is_known_by_its_alias_on_another_control(label: str, becomes: str) -> None:
    """label-studio-ml-backend#382: every control calls its labels otherwise."""
    config = parse_label_config(ALIASES)
    control = output_control(config, label=label)
    assert (control.from_name, label_on(control, label)) == ("brush", becomes)


def test_a_name_of_its_own_goes_before_an_alias_elsewhere() -> None:
    config = parse_label_config(
        '<View><Image name="image" value="$image"/><BrushLabels name="b" toName="image"><Label value="a"/>'
        '<Label value="b"/></BrushLabels><KeyPointLabels name="k" toName="image"><Label value="a" alias="b"/>'
        "</KeyPointLabels></View>"
    )
    control = output_control(config, label="b")
    assert (control.label_for("b"), control.label_for("a")) == ("b", "a")


def test_more_aliases_than_a_labelling_interface_has_are_refused() -> None:
    tags = "".join(
        f'<BrushLabels name="b{number}" toName="image">'
        + "".join(f'<Label value="{label}" alias="{label}-{number}"/>' for label in range(30))
        + "</BrushLabels>"
        for number in range(60)
    )
    with pytest.raises(BadInput, match="109800 pairs of aliases; at most 50000 are allowed"):
        parse_label_config(f'<View><Image name="image" value="$image"/>{tags}</View>')
