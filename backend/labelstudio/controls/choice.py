"""Which control of a project gets the mask of a prompt: the one place that knows."""

from dataclasses import dataclass

from backend.errors import BadInput
from backend.labelstudio.label_config import Control, LabelConfig
from backend.labelstudio.prompts.request import LabelledPrompt


@dataclass(frozen=True, slots=True)
class Output:
    """Where a mask goes: its control, the label that it carries there, and the id of the region that it replaces."""

    control: Control
    label: str | None
    region_id: str | None = None


def output_of(prompt: LabelledPrompt, config: LabelConfig) -> Output:
    """Return where the mask of a prompt goes: what refines a region stays on that region's control, under its id.

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
    """Return the control that a mask with this label is sent to.

    Of all controls whose shape can be written (a brush, a polygon, ...), without `model_skip`: those that know the
    label come first, then those that list none (<Brush>), then the rest. Among equals, the control `drawn_with`, the
    one that the prompt came from, is the last: a box is drawn to get something better than a box. Then the most
    faithful shape is taken (`Shape.detail_rank`), and of two of one shape the first in the config.

    Raises:
        BadInput: there is none.
    """
    able = [control for control in config.controls if control.shape.write is not None and not control.is_skipped]
    if not able:
        raise BadInput(
            "the labelling config has nothing that a mask can be sent to: add <BrushLabels>, <BitmaskLabels>, "
            "<PolygonLabels>, <EllipseLabels> or <RectangleLabels> with a <Label>, without model_skip"
        )

    def rank(control: Control) -> tuple[int, bool, int]:
        knows = 0 if control.label_for(label) is not None else 1 if not control.labels else 2
        return knows, control.from_name == drawn_with, control.shape.detail_rank

    return min(able, key=rank)


def semantic_output(config: LabelConfig, *, label: str | None) -> Output | None:
    """Return where an object goes that a model found under this label; None where the config has the label no longer.

    Unlike a prompt's label, which somebody chose a moment ago, a model's is not replaced by another. Objects without a
    label go as prompts without one.

    Raises:
        BadInput: no control can take a mask.
    """
    control = output_control(config, label=label)
    is_labelled = control.has_labels or bool(control.labels_beside)
    if label is not None and is_labelled and control.labels and control.label_for(label) is None:
        return None
    return Output(control, label_on(control, label))


def label_on(control: Control, label: str | None) -> str | None:
    """Return the label that a region on this control carries for a prompt's label; None where it carries none.

    A label that the control does not know gives the control's first: the annotator sees it and can change it, while the
    editor does not show a region of such a control without a label at all. Where the config lists no labels, they come
    from the task's data, and the prompt's is one of them. A control without labels of its own takes those of the
    <Labels> tags beside it.
    """
    if not control.has_labels:
        # Of a <Labels> tag beside the control, which a region may do without.
        return control.label_for(label)
    return control.label_for(label) or (control.labels[0] if control.labels else label)
