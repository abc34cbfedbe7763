"""Chooses the control of a project that gets the mask of a prompt. No other module decides this."""

from dataclasses import dataclass

from backend.errors import BadInput
from backend.labelstudio.label_config import Control, LabelConfig
from backend.labelstudio.prompts.request import LabelledPrompt


@dataclass(frozen=True, slots=True)
class Output:
    """Where a mask goes: the control that draws it, its label there, and the id of the region that it replaces."""

    control: Control
    label: str | None
    region_id: str | None = None


def output_of(prompt: LabelledPrompt, config: LabelConfig) -> Output:
    """Return where the mask of a prompt goes. A prompt that refines a region keeps that region's control and id.

    Raises:
        BadInput: no control can take a mask.
    """
    refined = prompt.refines
    if refined is not None:
        for control in config.controls:
            if control.from_name == refined.from_name and control.shape.write is not None:
                return Output(control, label_on(control, prompt.label), refined.region_id)
    control = output_control(config, label=prompt.label, drawn_with=prompt.drawn_with)
    return Output(control, label_on(control, prompt.label), refined.region_id if refined is not None else None)


def output_control(config: LabelConfig, *, label: str | None, drawn_with: str | None = None) -> Control:
    """Return the control that draws a mask with this label.

    Candidates are all controls without `model_skip` whose shape can be written (a brush, a polygon, ...). The choice
    goes by, in this order:
    1. Controls that know the label come first.
    2. Masks come before ellipses and rectangles: a stroke of a smart brush points at a mask, never at a box.
    3. Of controls that do not know the label, those that list no labels (<Brush>) come first.
    4. The control that drew the prompt, `drawn_with`, comes last: a person draws a box to get something better.
    5. The most faithful shape comes first (`Shape.detail_rank`).
    6. The first control of the labelling interface comes first.

    Raises:
        BadInput: no control can take a mask.
    """
    able = [control for control in config.controls if control.shape.write is not None and not control.is_skipped]
    if not able:
        raise BadInput(
            "no control of the labelling interface can take a mask: add <BrushLabels>, <BitmaskLabels>, "
            "<PolygonLabels>, <EllipseLabels> or <RectangleLabels> with a <Label>, without model_skip"
        )

    def rank(control: Control) -> tuple[bool, bool, bool, bool, int]:
        is_strange, shape = control.label_for(label) is None, control.shape
        has_others = is_strange and bool(control.labels)
        return is_strange, not shape.is_mask, has_others, control.from_name == drawn_with, shape.detail_rank

    return min(able, key=rank)


def semantic_output(config: LabelConfig, *, label: str | None) -> Output | None:
    """Return where an object goes to which a model gave this label; None if the labelling interface lost the label.

    A model's label is never replaced by another. A prompt's label may be: its annotator sees the region at once. An
    object without a label goes where a prompt without a label would.

    Raises:
        BadInput: no control can take a mask.
    """
    control = output_control(config, label=label)
    is_labelled = control.has_labels or bool(control.labels_beside)
    if label is not None and is_labelled and control.labels and control.label_for(label) is None:
        return None
    return Output(control, label_on(control, label))


def label_on(control: Control, label: str | None) -> str | None:
    """Return the label that a region on this control carries for a prompt's label; None if it carries none.

    A label that the control does not know becomes the control's first label: the annotator sees it and can change it.
    Without any label, the editor would not show the region at all. A control that lists no labels takes them from the
    task's data, so the prompt's label is right. A control without labels of its own takes the labels of the <Labels>
    tags beside it.
    """
    if not control.has_labels:
        # The label of a <Labels> tag, which a region may lack.
        return control.label_for(label)
    return control.label_for(label) or (control.labels[0] if control.labels else label)
