"""Writes masks as the prediction that Label Studio shows or stores, for clicks and batches alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backend.labelstudio.controls.choice import Output
from backend.labelstudio.controls.results import explain_absence, prediction, regions_of_mask
from backend.labelstudio.payloads import Prediction, Region
from backend.masks.prompt import Click
from backend.sam.cleaning import clean_mask
from backend.sam.predictor import PredictedMask
from backend.sam.scoring import task_score

POINTS_AT_NOTHING = (
    "no prompt points at an object: click on an object with a smart tool, or click with the background tool inside of "
    "a region that is there"
)
TOO_SMALL = "the mask is too small for an outline: zoom in and draw a box, or add a <BrushLabels> control"


@dataclass(frozen=True, slots=True)
class PlacedMask:
    """A mask of the upright image, with its control and label.

    `clicks` are the clicks that the mask answers, image px. `note` is what the answer's reader should know.
    """

    output: Output
    mask: PredictedMask
    clicks: tuple[Click, ...] = ()
    note: str | None = None


def draw_prediction(
    placed: Iterable[PlacedMask],
    *,
    model_version: str,
    polygon_tolerance_px: float,
    specks_px: int = 0,
    is_interactive: bool = False,
) -> Prediction:
    """Write masks as a prediction, with the shapes that their controls draw.

    The prediction's score, in [0, 1], counts only the masks that it shows, and is 0 without any. Empty masks, and masks
    below their control's threshold, are not shown. The masks' notes form the prediction's `note`. Label Studio ignores
    that; its editor shows a note in the details of the mask's first region (`meta.text`). Where a click's answer shows
    nothing at all, or the model sees no object at a prompt, `note` says why.

    Args:
        placed: the masks, in the order of their regions; a mask is computed only when the mask before it is written.
        model_version: the version that made the masks.
        polygon_tolerance_px: how far a polygon's outline may be from the mask's, image px.
        specks_px: islands and holes smaller than this area, in image px, are left out (`sam.cleaning`).
        is_interactive: whether the editor asked by a click; it then adds the label of a <Labels> tag itself.
    """
    regions: list[Region] = []
    scores: list[float] = []
    notes: list[str] = []
    absent: list[float] = []
    why_nothing, prompts = POINTS_AT_NOTHING, 0
    for place in placed:
        prompts += 1
        if place.mask.is_absent:
            absent.append(place.mask.object_score or 0.0)
        mask = clean_mask(place.mask, specks_px=specks_px, clicks=place.clicks).mask
        drawn = regions_of_mask(
            mask,
            control=place.output.control,
            label=place.output.label,
            score=place.mask.score,
            model_version=model_version,
            polygon_tolerance_px=polygon_tolerance_px,
            region_id=place.output.region_id,
            is_interactive=is_interactive,
        )
        if place.note is not None:
            notes.append(place.note)
            for region in drawn[:1]:
                region["meta"]["text"] = [place.note]
        if not drawn:
            reason = explain_absence(mask, control=place.output.control, score=place.mask.score)
            why_nothing = reason or TOO_SMALL
        regions += drawn
        scores += [place.mask.score] if drawn else []
    if absent:
        notes.append(_tell_absent(absent, prompts=prompts))
    if is_interactive and not regions and not notes:
        notes.append(why_nothing)
    answer = prediction(regions, model_version=model_version, score=task_score(scores))
    return {**answer, "note": " ".join(notes)} if notes else answer


def _tell_absent(scores: Sequence[float], *, prompts: int) -> str:
    """Say that prompts with these object scores, among so many, got no mask, and what to do."""
    where = "there" if prompts == 1 else f"at {len(scores)} of {prompts} prompts"
    return (
        f"the model sees no object {where} (object score {max(scores):.1f}, and a mask needs one above 0): click on "
        "the middle of the object, draw a box around it, or draw it by hand and train"
    )


def add_note(drawn: Prediction, note: str) -> Prediction:
    """Return the prediction with a further note, which the editor shows in the details of the first region."""
    first, *others = drawn["result"]
    meta = first["meta"]
    told = {**first, "meta": {**meta, "text": [*meta.get("text", ()), note]}}
    return {**drawn, "result": [told, *others], "note": " ".join(filter(None, (drawn.get("note"), note)))}


def empty_prediction(model_version: str) -> Prediction:
    """Return a prediction without regions, of score 0."""
    return prediction([], model_version=model_version, score=0.0)
