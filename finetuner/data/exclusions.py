"""What of the annotations was left out, and why: counted, with examples, and logged."""

import logging
from collections.abc import Mapping

from backend.registry.metrics import Exclusion

log = logging.getLogger(__name__)

_EXAMPLES = 5
_IN_A_SENTENCE = 3

Place = Mapping[str, int | str]
"""The ids of a task, an annotation and a region, as far as they are known, and what else tells of the place."""


class Exclusions:
    """What was left out: a count for every reason, and the first few places, for the manifest."""

    def __init__(self) -> None:
        self._places: dict[str, list[Place]] = {}
        self._counts: dict[str, int] = {}

    def add(self, reason: str, *, count: int = 1, **place: object) -> None:
        """Leave something out, `count` of them.

        `place`: the ids of `task`, `annotation`, `region`, and what else tells of this one; values that are neither
        numbers nor texts are dropped.
        """
        known = {key: value for key, value in place.items() if isinstance(value, int | str)}
        self._counts[reason] = self._counts.get(reason, 0) + count
        if len(examples := self._places.setdefault(reason, [])) < _EXAMPLES:
            examples.append(known)
        where = ", ".join(str(value) if name == "why" else f"{name} {value}" for name, value in known.items())
        log.info(
            "left out: %s (%s)",
            reason,
            where or "no id",
            extra={"event": "annotation.excluded", "reason": reason, **known},
        )

    def __len__(self) -> int:
        return sum(self._counts.values())

    def by_reason(self) -> tuple[Exclusion, ...]:
        """The reasons, the most frequent first, equally frequent ones in the order of the alphabet."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(
            Exclusion(reason=reason, count=count, examples=tuple(self._places[reason])) for reason, count in ordered
        )

    def sentence(self) -> str:
        """The three most frequent reasons, for a person, and what is told of the first place of each reason."""
        shown = [
            f"{exclusion.count} x {exclusion.reason}"
            + "".join(f" ({place['why']})" for place in exclusion.examples[:1] if "why" in place)
            for exclusion in self.by_reason()[:_IN_A_SENTENCE]
        ]
        return "; ".join(shown) if shown else "nothing was left out"
