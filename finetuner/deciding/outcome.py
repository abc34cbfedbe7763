"""What was measured of base, served model and candidate, on the same objects and prompts, and what follows from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np

from backend.registry.calibration import Calibration
from backend.registry.figures import PROMPTS, Comparison, Differences
from backend.registry.metrics import Verdict
from backend.sam.predictor import Decodes, Embedding
from backend.sam.scoring import expect_iou
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.deciding.promotion import Rival, judge
from finetuner.measuring.calibration import Values, fit
from finetuner.measuring.comparison import comparison, differences, label_differences
from finetuner.measuring.evaluation import Measured, measure, report

_CALIBRATED_ON = 64  # objects, with two prompts: a few seconds, and a pool of predictions has ten of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """All in the same order. `served` None: what is served is the base. `faults`: finetuner.deciding.smoke's.

    `fair_images`: digests of the images that what is served has not learnt from (folds.fair_images); it is compared on
    those alone. None: on all. `notes`: sentences on how all this was measured, for who reads the verdict.
    """

    base_name: str
    served_name: str
    base: tuple[Measured, ...]
    candidate: tuple[Measured, ...]
    served: tuple[Measured, ...] | None
    faults: tuple[str, ...] = ()
    fair_images: frozenset[str] | None = None
    notes: tuple[str, ...] = ()

    def verdict(self, config: TrainConfig) -> Verdict:
        """Whether the candidate may be served."""
        base = partial(_rival, self.base, self.candidate, config=config)
        if self.served is None:
            verdict = judge(base(name=self.served_name), faults=self.faults)
        else:
            served = _rival(*self._fair(self.served), name=self.served_name, config=config)
            verdict = judge(served, base=base(name=self.base_name), faults=self.faults)
        return verdict.with_reasons(*self.notes)

    def rescore(self, calibration: Calibration | None) -> "Compared":
        """The same, the candidate's scores as they are served: with the calibration that its checkpoint will carry."""
        if calibration is None:
            return self
        return replace(self, candidate=tuple(_score(mask, calibration) for mask in self.candidate))

    def figures(self, config: TrainConfig, *, calibration: Calibration | None) -> Comparison:
        """All models' figures and their differences; `calibration`: the candidate's."""
        rounds, seed = config.bootstrap_rounds, config.seed
        intervals = differences(self.base, self.candidate, rounds=rounds, seed=seed)
        calibrated = None if calibration is None else [calibration(mask.predicted_iou) for mask in self.candidate]
        figures = comparison(self.base, self.candidate, intervals=intervals, calibrated=calibrated)
        if self.served is None:
            return figures
        to_served = differences(*self._fair(self.served), rounds=rounds, seed=seed)
        return figures.model_copy(update={"served": report(self.served), "difference_to_served": to_served})

    def _fair(self, served: Sequence[Measured]) -> tuple[list[Measured], list[Measured]]:
        """What is served and the candidate, on the images where that comparison is fair."""
        images = {mask.image_sha256 for mask in served} if self.fair_images is None else self.fair_images
        of_served, of_candidate = (
            [mask for mask in measured if mask.image_sha256 in images] for measured in (served, self.candidate)
        )
        return of_served, of_candidate


def calibrate(
    predictor: Decodes, samples: Sequence[Sample], *, embedding: Callable[[Sample], Embedding]
) -> Calibration | None:
    """The map for a checkpoint's scores, from a few objects of these images, box and point.

    They validate, or in a small project have been learnt from. Never held-out objects: what the scores are worth is
    measured on those, and a map that has seen them could not be. They are few, too: on 34 nuclei images learnt from
    and 6 held out, a map from the former brought the calibration error of the latter from .102 to .060, maps
    cross-fitted over the latter to .068, at a lower correlation.
    So it is after a cross-validation too, where all images were learnt from: what its scores are worth is measured on
    the predictions of the folds' models.
    None where there are too few objects.
    """
    each_image = max(1, _CALIBRATED_ON // len(samples)) if samples else 0
    few = [replace(sample, objects=sample.objects[:each_image]) for sample in samples[:_CALIBRATED_ON]]
    return fit(*predictions(measure(predictor, few, embedding=embedding, clicks=0)))


def predictions(measured: Sequence[Measured]) -> tuple[Values, Values]:
    """Predicted and true IoU of every mask, as arrays."""
    pairs = np.array([(mask.predicted_iou, mask.values["iou"]) for mask in measured], np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _score(measured: Measured, calibration: Calibration) -> Measured:
    """A score is the expected IoU times the mask's stability (Predictor.mask_of); that of a model without the map."""
    expected = expect_iou(measured.predicted_iou)
    stability = measured.score / expected if expected else 0.0
    return replace(measured, score=calibration(measured.predicted_iou) * stability)


def _rival(rival: Sequence[Measured], candidate: Sequence[Measured], *, name: str, config: TrainConfig) -> Rival:
    bounds = {"rounds": config.bootstrap_rounds, "seed": config.seed}
    by_prompt: Differences = differences(rival, candidate, **bounds)
    by_label: dict[str, dict[str, dict[str, float]]] = {label: {} for label in sorted({mask.label for mask in rival})}
    for label, prompt in product(by_label, PROMPTS):
        ious = [mask.values["iou"] for mask in rival if (mask.label, mask.prompt) == (label, prompt)]
        by_label[label][prompt] = {"iou": float(np.mean(ious)), "n": len(ious)}
    return Rival(
        name=name, by_prompt=by_prompt, by_label=label_differences(rival, candidate, **bounds), labels=by_label
    )
