"""Whether a semantic head may pre-annotate batches: compared with what answers them now, an empty answer included."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from backend.registry.figures import Interval
from finetuner.measuring.comparison import LEAST_GAIN, MARGIN
from finetuner.semantic.measuring import LabelOnImage

EMPTY_ANSWER = "an empty answer"
_METRICS = {"iou": "IoU", "boundary_iou": "Boundary IoU"}
_Key = tuple[str, str]  # digest of the image, label


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadVerdict:
    """A head against what answers batches now, on the same held-out images.

    `against` names that. `differences` are by metric, head minus that, with bootstrap intervals over images.
    """

    against: str
    differences: Mapping[str, Interval]

    @property
    def is_gain(self) -> bool:
        """Whether IoU and Boundary IoU both rise, and the gain of at least one of them is certain."""
        intervals = self.differences.values()
        return all(interval.mean >= LEAST_GAIN for interval in intervals) and any(
            interval.low > 0 for interval in intervals
        )

    @property
    def is_worse(self) -> bool:
        """Whether either may have fallen by more than chance allows, as deciding.promotion judges prompts."""
        return any(interval.mean < -MARGIN / 2 or interval.low < -MARGIN for interval in self.differences.values())

    @property
    def sentence(self) -> str:
        """The differences, for who reads the verdict."""
        told = (f"{_METRICS[name]} {_show(interval)}" for name, interval in self.differences.items())
        return f"against {self.against}, which answers batches now: {', '.join(told)}"


def judge_head(  # noqa: PLR0913 - all by name
    head: Sequence[LabelOnImage],
    served: Sequence[LabelOnImage] | None,
    *,
    served_name: str,
    images: AbstractSet[str],
    rounds: int,
    seed: int = 0,
) -> HeadVerdict:
    """Compare a head with what answers batches now, image by image.

    An image counts with the mean over the labels that people or either of the two see on it; where nobody sees any, an
    empty answer is right.

    Args:
        head: what the head finds (measuring.measure_semantic).
        served: what the served head finds on the same images; None: batches get no region without a prompt.
        served_name: what to call the version whose head is served.
        images: digests of all held-out images, at least one, those without an object too.
        rounds: of the bootstrap.
        seed: of its draws.
    """
    ours, theirs = ({(found.image_sha256, found.label): found for found in side} for side in (head, served or ()))
    drawn = {key for side in (ours, theirs) for key, found in side.items() if found.truth_px}
    keys = {image: {key for key in {*ours, *theirs} if key[0] == image} for image in sorted(images)}
    differences = {
        metric: _bootstrap(
            [
                _mean(ours, of_image, drawn=drawn, metric=metric) - _mean(theirs, of_image, drawn=drawn, metric=metric)
                for of_image in keys.values()
            ],
            rounds=rounds,
            seed=seed,
        )
        for metric in _METRICS
    }
    return HeadVerdict(against=EMPTY_ANSWER if served is None else f"{served_name}'s head", differences=differences)


def _mean(
    found: Mapping[_Key, LabelOnImage], keys: AbstractSet[_Key], *, drawn: AbstractSet[_Key], metric: str
) -> float:
    values = [_value(found.get(key), is_drawn=key in drawn, metric=metric) for key in keys]
    return float(np.mean(values)) if values else 1.0


def _value(found: LabelOnImage | None, *, is_drawn: bool, metric: str) -> float:
    """How well a label was found on an image; 1 where it is rightly unseen, 0 where people alone drew it."""
    if found is None:
        return 0.0 if is_drawn else 1.0
    return found.boundary_iou if metric == "boundary_iou" else found.iou


def _bootstrap(differences: Sequence[float], *, rounds: int, seed: int) -> Interval:
    values = np.asarray(differences, np.float64)
    drawn = np.random.default_rng(seed).integers(len(values), size=(rounds, len(values)))
    low, high = np.percentile(values[drawn].mean(1), (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high))


def _show(interval: Interval) -> str:
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
