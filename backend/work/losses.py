"""The loss curves of a running training, thinned for a page. The worker writes them; the status reads them."""

from collections.abc import Mapping

from pydantic import JsonValue

MOST_POINTS = 120  # a curve; a page cannot show more
PROMPTS, SEMANTIC = "prompts", "semantic head"
Curve = tuple[tuple[float, float], ...]  # step and loss, in the order of the steps


class LossCurves:
    """Collects a curve for the masks from prompts and another for the semantic head; their losses differ in kind."""

    def __init__(self) -> None:
        self._points: dict[str, list[tuple[float, float]]] = {}
        self._every: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._training: dict[str, object] = {}

    def note(self, figures: Mapping[str, object]) -> None:
        """Add the loss in a progress report, if it has any.

        The next fold of a cross-validation starts new curves, and so does the long training after a first version.
        """
        step, loss = figures.get("step"), figures.get("loss")
        if not isinstance(step, int | float) or not isinstance(loss, int | float):
            return
        name = SEMANTIC if figures.get("head") == "semantic" else PROMPTS
        training = figures.get("part"), figures.get("training")
        if name not in self._points or self._training[name] != training:
            self._points[name], self._every[name], self._told[name] = [], 1, 0
            self._training[name] = training
        if self._told[name] % self._every[name] == 0:
            self._points[name].append((float(step), float(loss)))
        self._told[name] += 1
        if len(self._points[name]) > MOST_POINTS:
            del self._points[name][1::2]
            self._every[name] *= 2

    def to_json(self) -> dict[str, list[list[float]]]:
        """`{"prompts": [[step, loss], ...], "semantic head": ...}`; a curve without points is left out."""
        return {name: [list(point) for point in points] for name, points in self._points.items()}


def read_losses(curves: JsonValue) -> dict[str, Curve]:
    """Parse what `to_json` wrote to Redis. Points of another shape are left out."""
    if not isinstance(curves, dict):
        return {}
    return {
        name: tuple(point for row in rows if (point := _parse_point(row)) is not None)
        for name, rows in curves.items()
        if name in {PROMPTS, SEMANTIC} and isinstance(rows, list)
    }


def _parse_point(row: JsonValue) -> tuple[float, float] | None:
    match row:
        case [int() | float() as step, int() | float() as loss]:
            return float(step), float(loss)
        case _:
            return None
