"""README's few rows of results, read out of the tables in docs/results.md: no figure is typed twice."""

import re
from dataclasses import dataclass

_GAIN = re.compile(r"(?P<value>\S+) \((?P<gain>.+)\)")
_COMMIT = r"[0-9a-f]{7,}\+?"
_MEASURED = re.compile(rf"[Oo]n (?P<machine>(?:\d+ cores|one )[^;]*); commit (?P<commit>{_COMMIT}(?:, {_COMMIT})*)")


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a figure stands in docs/results.md: its block, the beginning of its row's title, its column's heading.

    `share`: of the trained weights, in tables that have a row for several.
    """

    block: str
    row: str
    column: str
    share: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the summary; `before` is what `after` is compared with, if anything."""

    title: str
    after: Cell
    before: Cell | None = None


def _method(title: str, row: str, *, is_compared: bool = True) -> Line:
    base = Cell("methods", row, "mobile-sam") if is_compared else None
    return Line(title, Cell("methods", row, "decoder"), base)


def _served(title: str, column: str, *, block: str = "tiles", row: str = "nuclei") -> Line:
    before, after = (Cell(block, row, column, share=share) for share in ("0", "0.75, as served"))
    return Line(title, after, before)


def _sixty(title: str, column: str) -> Line:
    title = f"breast ultrasound, 60 images learnt, {title}"
    return _served(title, column, block="sixty-lesions", row="sixty-lesions")


def _official(title: str, row: str, *, block: str = "official") -> Line:
    return Line(title, Cell(block, row, "samloop"), Cell(block, row, "official backend"))


def _gpu(title: str, row: str) -> Line:
    return Line(title, Cell("gpu", row, "samloop"), Cell("gpu", row, "transformers"))


LINES = (
    _served("nuclei on 40 other images, one click: IoU", "one click"),
    _served("nuclei on 40 other images, a box: IoU", "box"),
    _sixty("one click: IoU", "one click"),
    _sixty("a box: IoU", "box"),
    _sixty("a box: Boundary IoU", "box, Boundary IoU"),
    _method("nuclei held out, one click: Boundary IoU", "one click, Boundary IoU"),
    _method("nuclei held out: clicks to IoU .85, at most 8", "clicks to IoU .85"),
    Line("nuclei, no prompt: mean IoU of the semantic head", Cell("semantic", "decoder", "mean IoU")),
    _method("nuclei: seconds of the whole training", "seconds of training", is_compared=False),
    _official("first click on an image, against the official backend", "the first click"),
    _official("next click on that image", "the next click"),
    _official("a click back on an image", "a click back"),
    _official("first click, on a processor with AVX2 alone", "the first click", block="official-avx2"),
    _official("next click there", "the next click", block="official-avx2"),
    _official("first click, on a processor slow at bfloat16", "the first click", block="official-int8"),
    _official("next click on such a processor", "the next click", block="official-int8"),
    _gpu("one click on a GPU, against transformers' decoder alone", "1 click"),
    _gpu("an image through ViT-B on a GPU, against transformers", "ViT-B, encoder, an image alone"),
    Line(
        "a step of the decoder's training, against transformers",
        Cell("step", "samloop", "A step"),
        Cell("step", "transformers", "A step"),
    ),
)


def summary(results: str) -> str:
    """README's table of the results in `results`, the text of docs/results.md.

    A line whose figure is absent is left out: a benchmark may have run for some methods only.
    """
    rows = ["| What | Before | samloop | Difference [95 %] | Commit |", "| --- | --- | --- | --- | --- |"]
    machines: dict[str, None] = {}
    for line in LINES:
        after, before = _cell(results, line.after), line.before and _cell(results, line.before)
        measured = _MEASURED.search(block(results, line.after.block))
        if after is None or measured is None:
            continue
        compared = _GAIN.fullmatch(after)
        value, gain = (compared["value"], compared["gain"]) if compared else (after, "")
        rows.append(f"| {line.title} | {before or ''} | {value} | {gain} | {measured['commit']} |")
        machines[measured["machine"]] = None
    return "\n".join(rows) + f"\n\nMeasured on {'; on '.join(machines)}."


def block(page: str, name: str) -> str:
    """What stands between the marks of this name; empty where there are none."""
    return page.partition(f"<!-- {name}: ")[2].partition(" -->")[2].partition(f"<!-- /{name} -->")[0].strip("\n")


def _cell(results: str, wanted: Cell) -> str | None:
    """The text of one cell of the first table in a block, or None."""
    lines = [line for line in block(results, wanted.block).splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    if not table or wanted.column not in table[0]:
        return None
    column = table[0].index(wanted.column)
    rows = (row for row in table[1:] if row[0].startswith(wanted.row))
    if wanted.share is not None:
        rows = (row for row in rows if row[table[0].index("share")] == wanted.share)
    return next((row[column] for row in rows), None)
