"""What of the annotations was left out, and why: counted, with examples, and logged."""

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

_EXAMPLES = 5


class Exclusions:
    """What was left out: a count for each reason, and the first few places, for the manifest."""

    def __init__(self) -> None:
        self._places: dict[str, list[dict[str, Any]]] = {}
        self._counts: dict[str, int] = {}

    def add(self, reason: str, *, count: int = 1, **place: object) -> None:
        """Leave something out, `count` of them.

        `place`: the ids of `task`, `annotation`, `region`, and what else tells of this one.
        """
        known = {key: value for key, value in place.items() if isinstance(value, int | str)}
        self._counts[reason] = self._counts.get(reason, 0) + count
        if len(kept := self._places.setdefault(reason, [])) < _EXAMPLES:
            kept.append(known)
        where = ", ".join(str(value) if name == "why" else f"{name} {value}" for name, value in known.items())
        log.info(
            "left out: %s (%s)",
            reason,
            where or "no id",
            extra={"event": "annotation.excluded", "reason": reason, **known},
        )

    def __len__(self) -> int:
        return sum(self._counts.values())

    def to_json(self) -> tuple[Mapping[str, Any], ...]:
        """`{"reason", "count", "examples"}`, the most frequent first."""
        ordered = sorted(self._counts.items(), key=lambda each: (-each[1], each[0]))
        return tuple({"reason": reason, "count": count, "examples": self._places[reason]} for reason, count in ordered)

    def sentence(self) -> str:
        """The three most frequent reasons, for a person, and what the first place of each tells."""
        shown = [
            f"{each['count']} x {each['reason']}"
            + "".join(f" ({told['why']})" for told in each["examples"][:1] if "why" in told)
            for each in self.to_json()[:3]
        ]
        return "; ".join(shown) if shown else "nothing was left out"
