"""Whether the candidate may be served: better than what is, and in nothing that matters worse; reasons in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetuner.evaluation import Differences, Interval

LEAST_GAIN = 0.002  # a mean gain below this is noise of the training itself
MARGIN = 0.02  # how far below zero an interval may reach where the candidate is not to be worse
LABEL_FALL = 0.05  # the most that one label's IoU may fall
LABEL_OBJECTS = 5  # measured objects below which a label's figure says nothing
_JUDGED = ("iou", "boundary_iou")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reasons` are sentences: why the candidate is better, or all that speaks against it."""

    promote: bool
    reasons: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """All reasons in one line."""
        return "; ".join(self.reasons)

    def to_json(self) -> dict[str, Any]:
        """`{"promote", "reasons"}`."""
        return {"promote": self.promote, "reasons": list(self.reasons)}


def judge(
    against_served: Differences,
    *,
    served: str,
    served_labels: Mapping[str, Mapping[str, float]],
    candidate_labels: Mapping[str, Mapping[str, float]],
    against_base: Differences | None = None,
) -> Verdict:
    """Compare on the same held-out objects with what is served, and with the base where that is something else.

    Promoted if, with the box or the point, IoU and Boundary IoU both rise and the gain of at least one of them is sure
    (its interval lies above zero); if with neither prompt either falls by more than chance allows; and if no label
    falls.
    """
    against = _worse(against_served, than=served) + _fallen(served_labels, candidate_labels, than=served)
    if against_base is not None:
        against += _worse(against_base, than="the base model")
    gains = [told for prompt, found in against_served.items() if (told := _gain(prompt, found, over=served))]
    if not gains:
        against.insert(0, f"no sure gain over {served}: {_told(against_served)}")
    return Verdict(promote=not against, reasons=tuple(against or gains))


def _gain(prompt: str, found: Mapping[str, Interval], *, over: str) -> str | None:
    judged = [found[name] for name in _JUDGED]
    if all(each.mean >= LEAST_GAIN for each in judged) and any(each.low > 0 for each in judged):
        return f"better than {over} with a {prompt}: {_told({prompt: found})}"
    return None


def _worse(differences: Differences, *, than: str) -> list[str]:
    return [
        f"worse than {than} with a {prompt}: {_name(name)} {_shown(each)}"
        for prompt, found in differences.items()
        for name, each in found.items()
        if name in _JUDGED and (each.mean < -MARGIN / 2 or each.low < -MARGIN)
    ]


def _fallen(
    served: Mapping[str, Mapping[str, float]], candidate: Mapping[str, Mapping[str, float]], *, than: str
) -> list[str]:
    return [
        f"label {label!r} falls below {than}: IoU {before['iou']:.3f} -> {candidate[label]['iou']:.3f}"
        for label, before in served.items()
        if before["n"] >= LABEL_OBJECTS and candidate[label]["iou"] < before["iou"] - LABEL_FALL
    ]


def _told(differences: Differences) -> str:
    parts: Sequence[str] = [
        f"{prompt} {_name(name)} {_shown(found[name])}" for prompt, found in differences.items() for name in _JUDGED
    ]
    return ", ".join(parts)


def _name(metric: str) -> str:
    return {"iou": "IoU", "boundary_iou": "Boundary IoU"}[metric]


def _shown(each: Interval) -> str:
    return f"{each.mean:+.3f} [{each.low:+.3f}, {each.high:+.3f}]"
