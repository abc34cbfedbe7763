"""Counts and logs what a training left out of the annotations, by reason and with examples."""

import logging
from collections.abc import Mapping

from backend.registry.metrics import Exclusion

log = logging.getLogger(__name__)

_EXAMPLES = 5
_IN_A_SENTENCE = 3

Place = Mapping[str, int | str]
"""The known ids of a task, an annotation and a region, and further details such as `why`."""


class Exclusions:
    """What was left out, for the manifest: per reason the count and the first five places."""

    def __init__(self) -> None:
        self._places: dict[str, list[Place]] = {}
        self._counts: dict[str, int] = {}

    def add(self, reason: str, *, count: int = 1, **place: object) -> None:
        """Count and log something that is left out.

        Args:
            reason: the reason, as people read it.
            count: how many things.
            place: the ids of `task`, `annotation` and `region`, and further details; only numbers and texts are kept.
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
        """The reasons, the most frequent first; equally frequent ones in alphabetical order."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(
            Exclusion(reason=reason, count=count, examples=tuple(self._places[reason])) for reason, count in ordered
        )

    def sentence(self) -> str:
        """A sentence for people: the three most frequent reasons, each reason with its first `why`."""
        shown = [
            f"{exclusion.count} x {exclusion.reason}"
            + "".join(f" ({place['why']})" for place in exclusion.examples[:1] if "why" in place)
            for exclusion in self.by_reason()[:_IN_A_SENTENCE]
        ]
        return "; ".join(shown) if shown else "nothing was left out"
