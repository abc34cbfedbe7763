"""Whether the candidate may be served: better than what is, and in nothing that matters worse; reasons in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.registry.figures import Differences, Interval
from backend.registry.metrics import Verdict

LEAST_GAIN = 0.002  # a mean gain below this is noise of the training itself
MARGIN = 0.02  # how far below zero an interval may reach where the candidate is not to be worse
LABEL_FALL = 0.05  # how far below what is served a label's floor is
LABEL_OBJECTS = 5  # held-out objects below which a label's figure says nothing
_JUDGED = {"iou": "IoU", "boundary_iou": "Boundary IoU"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """What the candidate is compared with, on the same held-out objects; all differences are candidate minus rival.

    `labels` are its own figures by label and prompt (`iou`, and `n` objects), `by_label` the differences.
    """

    name: str
    by_prompt: Differences
    by_label: Mapping[str, Differences]
    labels: Mapping[str, Mapping[str, Mapping[str, float]]]


def judge(served: Rival, *, base: Rival | None = None, faults: Sequence[str] = ()) -> Verdict:
    """Compare with what is served, and with the base where that is something else.

    Promoted if, with the box or the point, IoU and Boundary IoU both rise and the gain of at least one of them is sure
    (its interval lies above zero); if with neither prompt either falls by more than chance allows; if no label's IoU
    falls through its floor with either; and if there are no `faults`, which finetuner.deciding.smoke finds.
    """
    against = [*faults, *_worse(served), *_fallen(served)]
    if base is not None:
        against += _worse(base) + _fallen(base)
    gains = [prompt for prompt, found in served.by_prompt.items() if _is_gain(found)]
    if not gains:
        against.insert(len(faults), f"no certain gain over {served.name}")
    told = [f"{_JUDGED[metric]} against {served.name}: {_tell(served.by_prompt, metric)}" for metric in _JUDGED]
    # What moved is told either way: who reads why a candidate lost wants to know what it had gained.
    return Verdict(promote=not against, reasons=(*against, *told))


def _is_gain(found: Mapping[str, Interval]) -> bool:
    judged = [found[name] for name in _JUDGED]
    return all(interval.mean >= LEAST_GAIN for interval in judged) and any(interval.low > 0 for interval in judged)


def _worse(rival: Rival) -> list[str]:
    return [
        f"{prompt} prompts may have become worse than {rival.name}'s: {_JUDGED[name]} {_show(interval)}; the interval "
        f"has to stay above {_number(-MARGIN)}, the mean above {_number(-MARGIN / 2)}"
        for prompt, found in rival.by_prompt.items()
        for name, interval in found.items()
        if name in _JUDGED and (interval.mean < -MARGIN / 2 or interval.low < -MARGIN)
    ]


def _fallen(rival: Rival) -> list[str]:
    return [
        f"label {label!r} may lose {LABEL_FALL:.2f} IoU with {prompt} prompts against {rival.name}, and lost more: "
        f"{before['iou']:.3f} -> {before['iou'] + moved.mean:.3f}, {_show(moved)}"
        for label, by_prompt in rival.labels.items()
        for prompt, before in by_prompt.items()
        if before["n"] >= LABEL_OBJECTS and (moved := rival.by_label[label][prompt]["iou"]).mean < -LABEL_FALL
    ]


def _tell(differences: Differences, metric: str) -> str:
    """As in: point prompts +0.210 [+0.170, +0.250] (better), box prompts -0.030 [-0.050, -0.010] (worse)."""
    return ", ".join(
        f"{prompt} prompts {_show(found[metric])} ({_word(found[metric])})" for prompt, found in differences.items()
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
