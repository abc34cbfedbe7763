"""`make results`: runs the commands that README names, and writes the tables of what they print between README's marks.

python tests/benchmarks/results.py ../shared/data/nuclei [--only methods semantic curve photographs] [--methods decoder]

Thirty-five minutes on two cores; each part is one table between marks of its own. Every training begins without any
embedding, so that its seconds hold the encoding. With `--methods` README's tables have those methods alone.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.exports import photographs, write
from benchmarks.point_policy import base_by_policy
from benchmarks.readme import commit, machine, say, write_block
from benchmarks.trainings import Bench, Trained

METHODS = ("decoder", "lora", "conv-lora")
# A training's bound: together they keep `make results` at 35 minutes on two cores. `samloop train` itself takes 600.
SECONDS = {"methods": 180.0, "semantic": 90.0, "curve": 60.0, "photographs": 60.0}
SEMANTIC_METHODS = ("decoder", "conv-lora")
CURVE_IMAGES = (2, 5, 10, 20, 32)
SETS = {
    "methods": "40 microscopy images with 387 annotated nuclei (BBBC038, Kaggle Data Science Bowl 2018 stage 1, CC0)",
    "photographs": "The 20 photographs of `samloop demo` (`python tests/benchmarks/exports.py photographs OUT`)",
}


@dataclass(frozen=True, slots=True)
class Row:
    """`of` a report (evaluate's base or candidate); `difference`: prompt and metric, where there is an interval."""

    title: str
    of: Callable[[dict[str, Any]], float]
    digits: int = 3
    difference: tuple[str, str] | None = None


def _metric(title: str, prompt: str, name: str) -> Row:
    return Row(title, lambda report: report[prompt][name], difference=(prompt, name))


def _after(clicks: int) -> Row:
    return Row(f"one click + {clicks} corrections, IoU", lambda report: report["clicks"][str(clicks)])


ROWS = (
    _metric("one click, IoU", "point", "iou"),
    _metric("one click, Boundary IoU", "point", "boundary_iou"),
    _metric("one click, over-area", "point", "over_area"),
    _metric("one click, HD95 in px", "point", "hd95_px"),
    Row("clicks to IoU .85 (at most 8)", lambda report: report["clicks_to"]["0.85"]["clicks"], digits=2),
    Row("within 8 clicks there", lambda report: report["clicks_to"]["0.85"]["reached"], digits=2),
    _metric("box, IoU", "box", "iou"),
    _metric("box, Boundary IoU", "box", "boundary_iou"),
    _metric("box, over-area", "box", "over_area"),
    *map(_after, (1, 3, 7)),
)


def comparison(trained: Sequence[Trained]) -> str:
    """The base beside every method, a row a measure."""
    base = trained[0].report["base"]
    lines = [_line("", "mobile-sam", *(each.method for each in trained)), _line(*["---"] * (len(trained) + 2))]
    for row in ROWS:
        cells = [_cell(row, each.report) for each in trained]
        lines.append(_line(row.title, f"{row.of(base):.{row.digits}f}", *cells))
    lines += [
        _line("parameters trained", "", *(f"{each.parameters:,}" for each in trained)),
        _line("seconds of training, all in", "", *(f"{each.train_s:.0f}" for each in trained)),
        _line("promoted", "", *("yes" if each.manifest["verdict"]["promote"] else "no" for each in trained)),
    ]
    return "\n".join(lines)


def _cell(row: Row, report: dict[str, Any]) -> str:
    value = f"{row.of(report['candidate']):.{row.digits}f}"
    if row.difference is None:
        return value
    prompt, name = row.difference
    mean, low, high = report["difference"][prompt][name]
    return f"{value} ({mean:+.3f} [{low:+.3f}, {high:+.3f}])"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def methods_part(bench: Bench, methods: Sequence[str]) -> str:
    trained = [bench.trained(method, evaluated=True) for method in methods]
    return _measured_on(SETS["methods"], trained[0]) + comparison(trained) + policies(bench.export)


def photographs_part(bench: Bench, methods: Sequence[str]) -> str:
    write(photographs(), bench.export.parent)
    trained = [bench.trained(method, evaluated=True) for method in methods]
    return _measured_on(SETS["photographs"], trained[0]) + comparison(trained) + policies(bench.export)


def policies(export: Path) -> str:
    """What the base gets by the ways of segment-anything to choose among its masks, for who measures against those."""
    found = base_by_policy(export)
    single, three = found["the single mask"], found["best of three by predicted IoU"]
    return (
        f"\n\nOne click's IoU of `mobile-sam` is {single:.3f} by its single mask and {three:.3f} by the best of three"
        " by predicted IoU; the table has ours (`backend/sam/policy.py`), for base and fine-tuned alike."
    )


def _measured_on(what: str, trained: Trained) -> str:
    images, objects = trained.report["images"], trained.report["objects"]
    return f"{what}, measured on the {images} images ({objects} objects) held out by a hash of what they show:\n\n"


def semantic_part(bench: Bench, methods: Sequence[str]) -> str:
    """By what `samloop train` puts into the manifest."""
    rows = [_line("", "mean IoU", "mean Boundary IoU", "parameters trained", "seconds"), _line(*["---"] * 5)]
    for each in (bench.trained(method, head="semantic", SAMLOOP_UNLABELLED="unknown") for method in methods):
        figures = each.manifest["metrics"]["candidate"]["semantic"]
        if figures is None:
            raise SystemExit(f"{each.method}: `samloop train --head semantic` measured no semantic head")
        cells = (f"{figures['iou']:.3f}", f"{figures['boundary_iou']:.3f}")
        rows.append(_line(each.method, *cells, f"{each.parameters:,}", f"{each.train_s:.0f}"))
    told = (
        "The same held-out images without any prompt (`--head semantic`; `SAMLOOP_UNLABELLED=unknown`, since at most"
        " ten nuclei an image are annotated):\n\n"
    )
    return told + "\n".join(rows)


CURVES = (
    _metric("one click, IoU", "point", "iou"),
    _metric("one click, Boundary IoU", "point", "boundary_iou"),
    _metric("box, IoU", "box", "iou"),
)


def curve_part(bench: Bench) -> str:
    """What few images teach, by the figures that `samloop train` puts into the manifest."""
    everything = bench.trained("decoder")
    metrics = everything.manifest["metrics"]
    rows = [_line("images learnt from", *(row.title for row in CURVES), "decodes", "seconds"), _line(*["---"] * 6)]
    rows.append(_line("none: mobile-sam", *(f"{row.of(metrics['base']):.3f}" for row in CURVES), "", ""))
    counts = [count for count in CURVE_IMAGES if count < len(metrics["split"]["learnt"])]
    for each in (*(bench.trained_on(count, of=everything) for count in counts), everything):
        found = each.manifest["metrics"]
        cells = [_cell(row, found) for row in CURVES]
        rows.append(
            _line(str(len(found["split"]["learnt"])), *cells, str(found["ended_at"]["decodes"]), f"{each.train_s:.0f}")
        )
    return "What few images teach, with `--method decoder`:\n\n" + "\n".join(rows)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nuclei", type=Path, help="a folder with export.json and images/")
    parser.add_argument("--only", nargs="+", choices=("methods", "semantic", "curve", "photographs"), metavar="PART")
    parser.add_argument("--methods", nargs="+", choices=METHODS, metavar="METHOD", default=METHODS)
    parser.add_argument("--seconds", type=float, help="a training's bound, in place of each part's own")
    given = parser.parse_args()
    measured = commit()  # now: the working tree may move on while this runs
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sets = dict.fromkeys(SECONDS, given.nuclei) | {"photographs": folder / "photographs"}
        benches = {
            part: Bench(sets[part] / "export.json", _made(folder / part), given.seconds or seconds)
            for part, seconds in SECONDS.items()
        }
        semantic = [each for each in SEMANTIC_METHODS if each in given.methods]
        parts: dict[str, Callable[[Bench], str]] = {
            "methods": lambda bench: methods_part(bench, given.methods),
            "semantic": lambda bench: semantic_part(bench, semantic),
            "curve": curve_part,
            "photographs": lambda bench: photographs_part(bench, given.methods),
        }
        for name in given.only or parts:
            began = time.monotonic()
            table, bound_s = parts[name](benches[name]), benches[name].seconds
            minutes = (time.monotonic() - began) / 60
            told = f"At most {bound_s:g} s a training; {minutes:.0f} minutes in all on {machine()}; commit {measured}."
            text = f"{table}\n\n{told}"
            say(f"\n{text}")
            write_block(name, text)


if __name__ == "__main__":
    main()
