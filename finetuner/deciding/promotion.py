"""Judges whether the candidate may be served: it must be better, and must not lose anything important."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.registry.figures import Differences, Interval
from backend.registry.metrics import Verdict
from finetuner.measuring.comparison import LEAST_GAIN, MARGIN

LABEL_FALL = 0.05  # the IoU that a label may lose against the served model
LABEL_OBJECTS = 5  # with fewer held-out objects, a label's figure means nothing
_JUDGED = {"iou": "IoU", "boundary_iou": "Boundary IoU"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A model that the candidate is compared with on the same held-out objects.

    Attributes:
        name: the model's name in the verdict.
        by_prompt: candidate minus rival, by prompt and metric.
        by_label: the same by label.
        labels: the rival's own figures by label and prompt: `iou`, and `n` objects.
    """

    name: str
    by_prompt: Differences
    by_label: Mapping[str, Differences]
    labels: Mapping[str, Mapping[str, Mapping[str, float]]]


def judge(served: Rival, *, base: Rival | None = None, faults: Sequence[str] = ()) -> Verdict:
    """Judge the candidate against the served model, and against the base if that is another model.

    The candidate is promoted if all of these hold:
    - with the box or with the point, IoU and Boundary IoU both rise, and at least one gain is certain (its interval
      lies above zero);
    - with neither prompt does either measure fall by more than chance allows;
    - no label loses more than LABEL_FALL with either prompt;
    - deciding.smoke finds no `faults`.
    """
    against = [*faults, *_worse(served), *_fallen(served)]
    if base is not None:
        against += _worse(base) + _fallen(base)
    gains = [prompt for prompt, intervals in served.by_prompt.items() if _is_gain(intervals)]
    if not gains:
        against.insert(len(faults), f"no certain gain over {served.name}")
    moved = [f"{_JUDGED[metric]} against {served.name}: {_describe(served.by_prompt, metric)}" for metric in _JUDGED]
    # The reasons always include the differences: a reader of a refusal wants to know the candidate's gains too.
    return Verdict(promote=not against, reasons=(*against, *moved))


def _is_gain(intervals: Mapping[str, Interval]) -> bool:
    judged = [intervals[name] for name in _JUDGED]
    return all(interval.mean >= LEAST_GAIN for interval in judged) and any(interval.low > 0 for interval in judged)


def _worse(rival: Rival) -> list[str]:
    return [
        f"{prompt} prompts may be worse than {rival.name}'s: {_JUDGED[name]} {_show(interval)}; the interval must stay "
        f"above {_number(-MARGIN)}, the mean above {_number(-MARGIN / 2)}"
        for prompt, intervals in rival.by_prompt.items()
        for name, interval in intervals.items()
        if name in _JUDGED and (interval.mean < -MARGIN / 2 or interval.low < -MARGIN)
    ]


def _fallen(rival: Rival) -> list[str]:
    return [
        f"label {label!r} lost more than {LABEL_FALL:.2f} IoU with {prompt} prompts against {rival.name}: "
        f"{before['iou']:.3f} -> {before['iou'] + moved.mean:.3f}, {_show(moved)}"
        for label, by_prompt in rival.labels.items()
        for prompt, before in by_prompt.items()
        if before["n"] >= LABEL_OBJECTS and (moved := rival.by_label[label][prompt]["iou"]).mean < -LABEL_FALL
    ]


def _describe(differences: Differences, metric: str) -> str:
    """For example: point prompts +0.210 [+0.170, +0.250] (better), box prompts -0.030 [-0.050, -0.010] (worse)."""
    return ", ".join(
        f"{prompt} prompts {_show(intervals[metric])} ({_word(intervals[metric])})"
        for prompt, intervals in differences.items()
    )


def _word(interval: Interval) -> str:
    if interval.low <= 0 <= interval.high:
        return "perhaps better" if interval.mean > 0 else "perhaps worse" if interval.mean < 0 else "the same"
    return "better" if interval.low > 0 else "worse"


def _show(interval: Interval) -> str:
    return f"{_number(interval.mean)} [{_number(interval.low)}, {_number(interval.high)}]"


def _number(value: float) -> str:
    """Signed, to three decimals."""
    return f"{value:+.3f}"
