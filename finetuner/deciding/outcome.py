"""Gathers the measurements of base, served model and candidate on the same objects, and derives verdict and figures."""

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

_CALIBRATED_ON = 64  # objects, with two prompts each object: a few seconds, and about ten predictions per pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The measurements of all models, in the same order.

    Attributes:
        base_name: the base's name in the verdict.
        served_name: the served model's name in the verdict.
        base: the base's measurements.
        candidate: the candidate's.
        served: the served model's; None if the base is served.
        faults: the candidate's faults from deciding.smoke.
        fair_images: digests of the images on which to compare with the served model (folds.fair_images); None for all.
        notes: sentences on how all this was measured, for the readers of the verdict.
        follows_first: whether the served version is a first version, which the candidate is to replace.
    """

    base_name: str
    served_name: str
    base: tuple[Measured, ...]
    candidate: tuple[Measured, ...]
    served: tuple[Measured, ...] | None
    faults: tuple[str, ...] = ()
    fair_images: frozenset[str] | None = None
    notes: tuple[str, ...] = ()
    follows_first: bool = False

    def verdict(self, config: TrainConfig) -> Verdict:
        """Whether the candidate may be served.

        After a first version the gain over the base has to be certain, and nothing may be worse than the first version:
        a few held-out images do not show for certain what ten minutes add to one, and a first version must not keep out
        what would be promoted without it.
        """
        base = partial(_rival, self.base, self.candidate, config=config)
        if self.served is None:
            verdict = judge(base(name=self.served_name), faults=self.faults)
        else:
            served = _rival(*self._fair(self.served), name=self.served_name, config=config)
            of_base = base(name=self.base_name)
            gaining, keeping = (of_base, served) if self.follows_first else (served, of_base)
            verdict = judge(gaining, base=keeping, faults=self.faults)
        return verdict.with_reasons(*self.notes)

    def rescore(self, calibration: Calibration | None) -> "Compared":
        """The measurements with the candidate's scores as they will be served, by its checkpoint's calibration."""
        if calibration is None:
            return self
        return replace(self, candidate=tuple(_score(mask, calibration) for mask in self.candidate))

    def figures(self, config: TrainConfig, *, calibration: Calibration | None) -> Comparison:
        """The figures of all models and their differences; `calibration` is the candidate's."""
        rounds, seed = config.bootstrap_rounds, config.seed
        intervals = differences(self.base, self.candidate, rounds=rounds, seed=seed)
        calibrated = None if calibration is None else [calibration(mask.predicted_iou) for mask in self.candidate]
        figures = comparison(self.base, self.candidate, intervals=intervals, calibrated=calibrated)
        if self.served is None:
            return figures
        to_served = differences(*self._fair(self.served), rounds=rounds, seed=seed)
        return figures.model_copy(update={"served": report(self.served), "difference_to_served": to_served})

    def _fair(self, served: Sequence[Measured]) -> tuple[list[Measured], list[Measured]]:
        """The measurements of the served model and of the candidate, on the images where their comparison is fair."""
        images = {mask.image_sha256 for mask in served} if self.fair_images is None else self.fair_images
        of_served, of_candidate = (
            [mask for mask in measured if mask.image_sha256 in images] for measured in (served, self.candidate)
        )
        return of_served, of_candidate


def calibrate(
    predictor: Decodes, samples: Sequence[Sample], *, embedding: Callable[[Sample], Embedding]
) -> Calibration | None:
    """Fit the calibration of a checkpoint's scores on a few objects of these images, with box and point prompts.

    The images are validation images, or in a small project training images. They are never held-out ones, on which the
    reliability of the scores is measured; those are too few as well. With 34 training and 6 held-out images of nuclei,
    a calibration from the training images lowered the calibration error on the held-out ones from .102 to .060;
    calibrations cross-fitted over the held-out images lowered it to .068, at a lower correlation.
    After a cross-validation, where the final model has learnt from all images, the reliability is measured on the
    predictions of the folds' models.

    Returns:
        The calibration; None if there are too few objects.
    """
    per_image = max(1, _CALIBRATED_ON // len(samples)) if samples else 0
    few = [replace(sample, objects=sample.objects[:per_image]) for sample in samples[:_CALIBRATED_ON]]
    return fit(*predictions(measure(predictor, few, embedding=embedding, clicks=0)))


def predictions(measured: Sequence[Measured]) -> tuple[Values, Values]:
    """The predicted and the true IoU of every mask, two arrays (n,)."""
    pairs = np.array([(mask.predicted_iou, mask.values["iou"]) for mask in measured], np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _score(measured: Measured, calibration: Calibration) -> Measured:
    """Replace the expected IoU in a score, which is the expected IoU times the mask's stability (Predictor.mask_of)."""
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
