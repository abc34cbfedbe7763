"""From masks to the prediction that Label Studio shows or stores: the same for clicks and for batches."""

from collections.abc import Iterable
from dataclasses import dataclass

from backend.labelstudio.controls.choice import Output
from backend.labelstudio.controls.results import prediction, regions_of_mask
from backend.labelstudio.payloads import Prediction, Region
from backend.masks.prompt import Click
from backend.sam.cleaning import clean_mask
from backend.sam.predictor import PredictedMask
from backend.sam.scoring import task_score


@dataclass(frozen=True, slots=True)
class PlacedMask:
    """A mask over the upright image, and the control and label that it goes to.

    `clicks`: those that the mask answers, in px of the image. `note`: what whoever reads the answer is to know.
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
    """The prediction that shows the masks as their controls draw them.

    Its score, in [0, 1], is that of the masks that are shown: an empty mask, and one below its control's threshold,
    does not count. Without regions it is 0. The notes of masks stand in the prediction's `note`; Label Studio passes
    over that, so its editor shows a note in the details of the mask's first region (`meta.text`).

    Args:
        placed: the masks, in the order of their regions; a mask is taken when the one before is drawn.
        model_version: the version that made them.
        polygon_tolerance_px: how far a polygon's outline may be from its mask's (image px).
        specks_px: islands and holes of fewer pixels of the image are left out: `sam.cleaning`.
        is_interactive: whether the editor gets it for a click: then it adds the label of a <Labels> tag by itself.
    """
    regions: list[Region] = []
    scores: list[float] = []
    notes: list[str] = []
    for place in placed:
        drawn = regions_of_mask(
            clean_mask(place.mask, specks_px=specks_px, clicks=place.clicks).mask,
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
        regions += drawn
        scores += [place.mask.score] if drawn else []
    answer = prediction(regions, model_version=model_version, score=task_score(scores))
    return {**answer, "note": " ".join(notes)} if notes else answer


def empty_prediction(model_version: str) -> Prediction:
    """A prediction without regions, of score 0."""
    return prediction([], model_version=model_version, score=0.0)
