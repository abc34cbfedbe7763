"""`make results`: runs the commands that docs/results.md names, and writes the tables of what they print there.

python tests/benchmarks/results.py ../shared/data/nuclei [--only PART...] [--methods decoder]

Fifty minutes on two quiet cores. A part is one table between marks of its own, written anew after every training,
so that its rows stand if a later training fails. Trainings end by the recipe's bound on work, or by a number of epochs;
neither depends on how busy the machine is, and the seconds are the last resort. Every training begins without any
embedding, so that its seconds hold the encoding. A training that two parts need is done once. With `--methods` the
tables have those methods only.
"""

import argparse
import itertools
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.exports import photographs, write
from benchmarks.pages import commit, machine, say, write_result
from benchmarks.quality import base_by_policy
from benchmarks.synthetic import synthetic
from benchmarks.trainings import Bench, Trained

from backend.amounts import write_amount

METHODS = ("decoder", "lora", "conv-lora")
# A training's last resort, by the set. The head has a fifth of the nuclei's; the decoder 600, as in `samloop train`.
SECONDS = {"nuclei": 750.0, "photographs": 120.0}
CURVE_SECONDS = 75.0
PHOTOGRAPHS_EPOCHS = 3
PARTS = ("methods", "curve", "semantic", "synthetic", "photographs")
# The nuclei's trainings make the semantic head beside the decoder, which it leaves as it is: one training for both.
WITH_HEAD = {"head": "semantic", "SAMLOOP_UNLABELLED": "unknown"}
CURVE_IMAGES = (2, 5, 10, 20, 32)
SETS = {
    "methods": "40 microscopy images with 387 annotated nuclei (BBBC038, Kaggle Data Science Bowl 2018 stage 1, CC0)",
    "photographs": "The 20 photographs of `samloop demo --sample photographs` "
    "(`python tests/benchmarks/exports.py photographs OUT`)",
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
    return Row(f"one click + {write_amount(clicks, 'correction')}, IoU", lambda report: report["clicks"][str(clicks)])


ROWS = (
    _metric("one click, IoU", "point", "iou"),
    _metric("one click, Boundary IoU", "point", "boundary_iou"),
    _metric("one click, over-area", "point", "over_area"),
    _metric("one click, HD95 in px", "point", "hd95_px"),
    Row("clicks to IoU .85 (at most 8)", lambda report: report["clicks_to"]["0.85"]["clicks"], digits=2),
    Row("share of objects that get there", lambda report: report["clicks_to"]["0.85"]["reached"], digits=2),
    _metric("box, IoU", "box", "iou"),
    _metric("box, Boundary IoU", "box", "boundary_iou"),
    _metric("box, over-area", "box", "over_area"),
    *map(_after, (1, 3, 7)),
)


def comparison(trained: Sequence[Trained]) -> str:
    """The base beside every method, a row a measure."""
    base = trained[0].report["base"]
    lines = [_line("", "mobile-sam", *(one.method for one in trained)), _line(*["---"] * (len(trained) + 2))]
    for row in ROWS:
        cells = [_cell(row, one.report) for one in trained]
        lines.append(_line(row.title, f"{row.of(base):.{row.digits}f}", *cells))
    lines += [
        _line("parameters trained", "", *(f"{one.parameters:,}" for one in trained)),
        _line("seconds of training, with encoding and measuring", "", *(f"{one.train_s:.0f}" for one in trained)),
        _line("promoted", "", *("yes" if one.manifest["verdict"]["promote"] else "no" for one in trained)),
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


def compared_part(what: str, bench: Bench, methods: Sequence[str], **options: Any) -> Iterator[str]:
    """Yield the table of the methods after every training, a column longer."""
    trained: list[Trained] = []
    for one in bench.several(methods, evaluated=True, **options):
        trained.append(one)
        yield _measured_on(what, trained[0]) + comparison(trained)
    if trained:
        yield _measured_on(what, trained[0]) + comparison(trained) + policies(bench.export)


def methods_part(bench: Bench, methods: Sequence[str]) -> Iterator[str]:
    yield from compared_part(SETS["methods"], bench, methods, **WITH_HEAD)


def photographs_part(bench: Bench, methods: Sequence[str]) -> Iterator[str]:
    write(photographs(), bench.export.parent)
    yield from compared_part(SETS["photographs"], bench, methods, epochs=PHOTOGRAPHS_EPOCHS)


def policies(export: Path) -> str:
    """The base's IoU by segment-anything's ways to choose among its masks, for readers who compare with those."""
    found = base_by_policy(export)
    single, three = found["the single mask"], found["best of three by predicted IoU"]
    return (
        f"\n\nWith one click, `mobile-sam` reaches an IoU of {single:.3f} by its single mask, and {three:.3f} by the"
        " best of three by predicted IoU. The table has the mask that samloop chooses (`backend/sam/policy.py`), for"
        " the base and for trained models alike."
    )


def _measured_on(what: str, trained: Trained) -> str:
    images, objects = trained.report["images"], trained.report["objects"]
    return f"{what}, measured on the {images} images ({objects} objects) held out by a hash of what they show:\n\n"


def semantic_part(bench: Bench, methods: Sequence[str]) -> Iterator[str]:
    """Yield the semantic head's table, by the figures that `samloop train` puts into the manifest."""
    rows = [_line("", "mean IoU", "mean Boundary IoU", "parameters of the head", "seconds"), _line(*["---"] * 5)]
    told = (
        "The same held-out images without any prompt (`--head semantic`; `SAMLOOP_UNLABELLED=unknown`, since at most"
        " ten nuclei an image are annotated):\n\n"
    )
    for trained in bench.several(methods, **WITH_HEAD):
        figures = trained.manifest["metrics"]["candidate"]["semantic"]
        if figures is None:
            raise SystemExit(f"{trained.method}: `samloop train --head semantic` measured no semantic head")
        cells = (f"{figures['iou']:.3f}", f"{figures['boundary_iou']:.3f}")
        rows.append(_line(trained.method, *cells, f"{trained.head_parameters:,}", f"{trained.train_s:.0f}"))
        yield told + "\n".join(rows)


CURVES = (
    _metric("one click, IoU", "point", "iou"),
    _metric("one click, Boundary IoU", "point", "boundary_iou"),
    _metric("box, IoU", "box", "iou"),
)


def curve_part(bench: Bench) -> Iterator[str]:
    """What few images teach, by the figures that `samloop train` puts into the manifest."""
    everything = bench.trained("decoder", **WITH_HEAD)
    metrics = everything.manifest["metrics"]
    rows = [_line("images learnt from", *(row.title for row in CURVES), "decodes", "seconds"), _line(*["---"] * 6)]
    rows.append(_line("none: mobile-sam", *(f"{row.of(metrics['base']):.3f}" for row in CURVES), "", ""))
    told = "What few images teach, with `--method decoder` (seconds without encoding and measuring):\n\n"
    counts = [count for count in CURVE_IMAGES if count < len(metrics["split"]["learnt"])]
    for trained in itertools.chain(
        (bench.trained_on(count, of=everything, seconds=min(CURVE_SECONDS, bench.seconds)) for count in counts),
        (everything,),
    ):
        found = trained.manifest["metrics"]
        cells = [_cell(row, found) for row in CURVES]
        decodes, seconds = found["ended_at"]["decodes"], found["ended_at"]["seconds"]
        rows.append(_line(str(len(found["split"]["learnt"])), *cells, str(decodes), f"{seconds:.0f}"))
        yield told + "\n".join(rows)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _took(minutes: float) -> str:
    """A part may have needed no training of its own."""
    return f"{minutes:.0f} minutes in all" if minutes >= 0.5 else "By trainings that another table needed too,"


def run(parts: Mapping[str, Callable[[], Iterator[str]]], *, told: Callable[[float], str]) -> list[str]:
    """Write every part's table into docs/results.md as it grows; return the names of the parts that failed.

    A part that fails ends no other. `told`: what stands below a table, given the minutes that its part took.
    """
    failed = []
    for name, part in parts.items():
        began, text = time.monotonic(), ""
        try:
            for table in part():
                text = f"{table}\n\n{told((time.monotonic() - began) / 60)}"
                write_result(name, text)
        except (Exception, SystemExit):  # noqa: BLE001 - the next part is measured whatever this one met
            traceback.print_exc()
            failed.append(name)
        say(f"\n{text}")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nuclei", type=Path, help="a folder with export.json and images/")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, metavar="METHOD", default=METHODS)
    parser.add_argument("--seconds", type=float, help="a training's bound, in place of its set's own")
    given = parser.parse_args()
    measured = commit()  # now: the working tree may move on while this runs
    with tempfile.TemporaryDirectory() as temporary:
        nuclei, photos = (
            Bench(folder / "export.json", _made(Path(temporary) / name), given.seconds or SECONDS[name])
            for name, folder in (("nuclei", given.nuclei), ("photographs", Path(temporary) / "set" / "photographs"))
        )
        parts: dict[str, Callable[[], Iterator[str]]] = {
            "methods": lambda: methods_part(nuclei, given.methods),
            "curve": lambda: curve_part(nuclei),
            "semantic": lambda: semantic_part(nuclei, given.methods),
            "synthetic": lambda: iter([synthetic()]),
            "photographs": lambda: photographs_part(photos, given.methods),
        }
        failed = run(
            {name: parts[name] for name in given.only or parts},
            told=lambda minutes: f"{_took(minutes)} on {machine()}; commit {measured}.",
        )
    failed += nuclei.failed + photos.failed
    if failed:
        raise SystemExit(f"failed, and not in docs/results.md: {', '.join(failed)}")


if __name__ == "__main__":
    main()
