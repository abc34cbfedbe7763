"""From figures to coordinates of small charts. chart.html draws them, so that colours follow the reader's theme.

The frame is the chart's own units, WIDTH x HEIGHT: origin at the top left, x to the right, y down. The page scales it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jinja2 import BaseLoader, ChoiceLoader, PackageLoader

Point = tuple[float, float]

WIDTH, HEIGHT = 420.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 12.0, 34.0
_TICKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line: `(x, y)` points in the data's units. `style` is a class of the template's style sheet."""

    name: str
    style: str
    points: tuple[Point, ...]
    has_dots: bool = False
    counts: tuple[int, ...] | None = None  # how many values a point stands for; the area of its dot shows it
    intervals: tuple[tuple[float, float, float], ...] = ()  # x, low and high, drawn as whiskers


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a line in the chart's units."""

    x: float
    y: float
    radius: float = 3.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A series in the chart's units: an SVG path, the dots on it, and an SVG path of all whiskers."""

    name: str
    style: str
    path: str
    dots: tuple[Dot, ...]
    whiskers: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A mark on an axis at `at` in the chart's units."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Everything the template needs to draw one chart of WIDTH x HEIGHT units."""

    title: str
    x_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    diagonal: str | None = None
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    bottom: float = HEIGHT - _BOTTOM
    top: float = _TOP


def add_charts(templates: BaseLoader) -> BaseLoader:
    """Return a loader whose templates can `{% from "chart.html" import draw %}`."""
    return ChoiceLoader([templates, PackageLoader("backend.charts", ".")])


def draw_chart(  # noqa: PLR0913 - all but two by name
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_range: tuple[float, float] | None = None,
    has_diagonal: bool = False,
    has_whole_x: bool = False,
) -> Chart | None:
    """Scale the series to the chart. Return None where no series has a finite point.

    Args:
        title: what the chart shows.
        series: the lines, in the data's units; points that are not finite are left out.
        x_label: the horizontal axis's name.
        y_range: values that the vertical axis reaches at least.
        has_diagonal: whether the line y = x is drawn.
        has_whole_x: whether the horizontal axis marks whole numbers only, as for epochs.
    """
    finite = [(line, [point for point in line.points if all(map(math.isfinite, point))]) for line in series]
    points = [point for _, placed in finite for point in placed]
    if not points:
        return None
    x_low, x_high = _widen(min(x for x, _ in points), max(x for x, _ in points))
    ends = [end for line in series for _, *interval in line.intervals for end in interval if math.isfinite(end)]
    ys = [*(y for _, y in points), *ends, *(y_range or ())]
    y_low, y_high = _widen(min(ys), max(ys))
    if has_diagonal:
        x_low, x_high = min(x_low, 0.0), max(x_high, 1.0)

    def place(point: Point) -> Point:
        x = _LEFT + (point[0] - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)
        y = HEIGHT - _BOTTOM - (point[1] - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM)
        return round(x, 2), round(y, 2)

    x_ticks = [x for x in place_ticks(x_low, x_high) if not has_whole_x or x.is_integer()]
    corners = max(x_low, y_low), min(x_high, y_high)
    return Chart(
        title=title,
        x_label=x_label,
        x_ticks=tuple(Tick(at=place((x, y_low))[0], text=_format(x)) for x in x_ticks),
        y_ticks=tuple(Tick(at=place((x_low, y))[1], text=_format(y)) for y in place_ticks(y_low, y_high)),
        lines=tuple(
            replace(
                _draw_line(line, [place(point) for point in placed]),
                whiskers=_draw_whiskers([(place((x, low)), place((x, high))) for x, low, high in line.intervals]),
            )
            for line, placed in finite
            if placed
        ),
        diagonal=_draw_path([place((end, end)) for end in corners]) if has_diagonal else None,
    )


def place_ticks(low: float, high: float) -> tuple[float, ...]:
    """Return two to seven round numbers within the range, in rising order. The range must not be empty."""
    step = 10.0 ** math.floor(math.log10((high - low) / _TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= _TICKS + 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(index * step, 12) for index in range(first, last + 1))


def place_whisker(interval: Sequence[float], *, reach: float) -> tuple[float, float, float]:
    """Return mean, low and high of `interval` as positions on a bar, in [0, 100].

    0 stands for `-reach` and 100 for `+reach`. Values beyond stand at the bar's ends.
    """
    mean, low, high = (50 + 50 * max(-1.0, min(1.0, value / reach)) for value in interval)
    return round(mean, 2), round(low, 2), round(high, 2)


def _draw_line(series: Series, placed: Sequence[Point]) -> Line:
    dots = tuple(Dot(x, y) for x, y in placed) if series.has_dots or len(placed) == 1 else ()
    if series.counts is not None and len(series.counts) == len(dots):
        most = max(series.counts)
        dots = tuple(
            Dot(dot.x, dot.y, round(1.5 + 6 * math.sqrt(count / most), 2))
            for dot, count in zip(dots, series.counts, strict=True)
        )
    return Line(name=series.name, style=series.style, path=_draw_path(placed), dots=dots)


def _draw_path(points: Sequence[Point]) -> str:
    return "M" + " L".join(f"{x:g} {y:g}" for x, y in points)


def _draw_whiskers(ends: Sequence[tuple[Point, Point]]) -> str:
    return "".join(f"M{x:g} {low:g}V{high:g}" for (x, low), (_, high) in ends if math.isfinite(low + high))


def _widen(low: float, high: float) -> tuple[float, float]:
    """Return the range, widened to one unit where it was empty."""
    return (low, high) if high - low > 1e-9 else (low - 0.5, high + 0.5)


def _format(value: float) -> str:
    return f"{value:g}"
