"""From figures to coordinates of small charts. chart.html draws them, so that colours follow the reader's theme.

The frame is the chart's own units, WIDTH x HEIGHT: origin at the top left, x to the right, y down. The page scales it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
    drawn = [(line, _keep_finite(line.points)) for line in series]
    axes = _fit_axes(
        [point for _, points in drawn for point in points],
        whiskers=[end for line in series for _, *interval in line.intervals for end in interval],
        y_range=y_range or (),
        x_range=(0.0, 1.0) if has_diagonal else (),
    )
    if axes is None:
        return None
    x_ticks = [x for x in place_ticks(*axes.x_range) if not has_whole_x or x.is_integer()]
    (x_low, x_high), (y_low, y_high) = axes.x_range, axes.y_range
    ends = max(x_low, y_low), min(x_high, y_high)
    return Chart(
        title=title,
        x_label=x_label,
        x_ticks=tuple(Tick(at=axes.place((x, y_low))[0], text=_format(x)) for x in x_ticks),
        y_ticks=tuple(Tick(at=axes.place((x_low, y))[1], text=_format(y)) for y in place_ticks(y_low, y_high)),
        lines=tuple(_draw_line(line, points, axes=axes) for line, points in drawn if points),
        diagonal=_draw_path([axes.place((end, end)) for end in ends]) if has_diagonal else None,
    )


@dataclass(frozen=True, slots=True)
class _Axes:
    """The values that the axes reach: low and high, in the data's units, low below high."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def place(self, point: Point) -> Point:
        """Move a point from the data's units to the chart's."""
        (x_low, x_high), (y_low, y_high) = self.x_range, self.y_range
        x = _LEFT + (point[0] - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)
        y = HEIGHT - _BOTTOM - (point[1] - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM)
        return round(x, 2), round(y, 2)


def _keep_finite(points: Iterable[Point]) -> list[Point]:
    return [point for point in points if all(map(math.isfinite, point))]


def _fit_axes(
    points: Sequence[Point], *, whiskers: Iterable[float], y_range: Sequence[float], x_range: Sequence[float]
) -> _Axes | None:
    """Return axes that hold all points, the finite ends of whiskers, and both ranges; None without a point."""
    if not points:
        return None
    xs = _widen([x for x, _ in points])
    ys = [*(y for _, y in points), *filter(math.isfinite, whiskers), *y_range]
    return _Axes(_widen([*xs, *x_range]), _widen(ys))


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


def _draw_line(series: Series, points: Sequence[Point], *, axes: _Axes) -> Line:
    placed = [axes.place(point) for point in points]
    dots = tuple(Dot(x, y) for x, y in placed) if series.has_dots or len(placed) == 1 else ()
    if series.counts is not None and len(series.counts) == len(dots):
        most = max(series.counts)
        dots = tuple(
            Dot(dot.x, dot.y, round(1.5 + 6 * math.sqrt(count / most), 2))
            for dot, count in zip(dots, series.counts, strict=True)
        )
    whiskers = _draw_whiskers([(axes.place((x, low)), axes.place((x, high))) for x, low, high in series.intervals])
    return Line(name=series.name, style=series.style, path=_draw_path(placed), dots=dots, whiskers=whiskers)


def _draw_path(points: Sequence[Point]) -> str:
    return "M" + " L".join(f"{x:g} {y:g}" for x, y in points)


def _draw_whiskers(ends: Sequence[tuple[Point, Point]]) -> str:
    return "".join(f"M{x:g} {low:g}V{high:g}" for (x, low), (_, high) in ends if math.isfinite(low + high))


def _widen(values: Sequence[float]) -> tuple[float, float]:
    """Return the values' range, widened to one unit where it was empty."""
    low, high = min(values), max(values)
    return (low, high) if high - low > 1e-9 else (low - 0.5, high + 0.5)


def _format(value: float) -> str:
    return f"{value:g}"
