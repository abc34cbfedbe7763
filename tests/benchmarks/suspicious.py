"""Does the data page find wrong annotations, and leave right ones alone?

python tests/benchmarks/suspicious.py NUCLEI [--seconds 60] [--folder DIR]

NUCLEI is a folder with export.json and images/ (exports.py builds it). Two trainings, on either half of the images, and
every object is judged by the model that has not seen its image: as it was annotated, and with a mistake planted:
shifted by 30 % of its box, merged with its nearest neighbour, or only a half of it. DIR keeps the two checkpoints.
Writes into docs/results.md how many planted mistakes are found, how many right annotations are doubted, and the
precision where one annotation in ten is wrong; beside it what other thresholds would give.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from benchmarks.pages import commit, machine, say, write_result

from backend.labelstudio.export_file import read_export
from backend.registry.review_file import ReviewedObject
from backend.review.masks.suspicion import LEAST_DOUBT, SURER, doubt_annotation
from backend.sam.predictor import predictor_of
from backend.settings import Settings
from finetuner.context import TrainingContext
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.measuring.evaluation import measure
from finetuner.offline import read_samples, train_export
from finetuner.presets import config_of
from finetuner.progress import silent
from finetuner.report.review import review_objects

KINDS = ("as annotated", "shifted", "merged", "half")
OTHERS = (0.1, 0.2, 0.25)  # thresholds of the older rule
_SHIFT, _WRONG_SHARE = 0.3, 0.1


def plant(sample: Sample, *, kind: str, rng: np.random.Generator) -> Sample:
    """The image with this mistake in every object that can have it."""
    planted = [_spoil(item, sample.objects, kind=kind, rng=rng) for item in sample.objects]
    return replace(sample, objects=tuple(item for item in planted if item is not None))


def _spoil(
    item: LabelledMask, others: Sequence[LabelledMask], *, kind: str, rng: np.random.Generator
) -> LabelledMask | None:
    match kind:
        case "shifted":
            return _shift(item, rng)
        case "merged":
            return _merge(item, others)
        case "half":
            return _halve(item, rng)
        case _:
            return item


def _shift(item: LabelledMask, rng: np.random.Generator) -> LabelledMask | None:
    height, width = item.crop_shape
    angle = rng.uniform(0, 2 * np.pi)
    down, right = round(_SHIFT * height * np.sin(angle)), round(_SHIFT * width * np.cos(angle))
    moved = np.zeros((item.height_px, item.width_px), bool)
    rows, columns = np.nonzero(item.mask)
    rows, columns = rows + down, columns + right
    inside = (rows >= 0) & (rows < item.height_px) & (columns >= 0) & (columns < item.width_px)
    moved[rows[inside], columns[inside]] = True
    return LabelledMask.of(moved, label=item.label) if moved.any() else None


def _merge(item: LabelledMask, others: Sequence[LabelledMask]) -> LabelledMask | None:
    """With the nearest other object, where that is no farther than the object is long."""
    distances = [(float(np.hypot(*np.subtract(_middle(other), _middle(item)))), other) for other in others]
    near = [(far, other) for far, other in distances if other is not item and far <= 2 * max(item.crop_shape)]
    if not near:
        return None
    return LabelledMask.of(item.mask | min(near, key=lambda pair: pair[0])[1].mask, label=item.label)


def _middle(item: LabelledMask) -> tuple[float, float]:
    bounds = item.bounds
    return (bounds.y0_px + bounds.y1_px) / 2, (bounds.x0_px + bounds.x1_px) / 2


def _halve(item: LabelledMask, rng: np.random.Generator) -> LabelledMask | None:
    """Cut across its longer side."""
    height, width = item.crop_shape
    half, first = item.mask.copy(), bool(rng.integers(2))
    axis = slice(item.bounds.y0_px + height // 2, None) if first else slice(None, item.bounds.y0_px + height // 2)
    if height >= width:
        half[axis] = False
    else:
        middle = item.bounds.x0_px + width // 2
        half[:, slice(middle, None) if first else slice(None, middle)] = False
    return LabelledMask.of(half, label=item.label) if half.any() else None


def judge(nuclei: Path, *, seconds: float, folder: Path) -> Iterator[tuple[str, ReviewedObject]]:
    """For every kind of mistake every object as the review pages get it, from the model that has not seen its image."""
    tasks = read_export(nuclei / "export.json")
    settings = Settings.from_env().replace(forgetting=False, method="decoder", head="promptable")
    halves = {"even": tasks[::2], "odd": tasks[1::2]}
    for name, half in halves.items():
        (folder / f"{name}.json").write_text(json.dumps(half))
        if not (folder / name).exists():
            train_export(folder / f"{name}.json", nuclei / "images", folder / name, settings=settings, seconds=seconds)
        say(f"trained on the {name} images")
    context = TrainingContext.open(settings, config=config_of(settings), progress=silent)
    for learnt, asked in (("even", "odd"), ("odd", "even")):
        predictor = predictor_of(context.base, folder / learnt)
        samples = read_samples(folder / f"{asked}.json", nuclei / "images", settings=settings, context=context)
        for number, kind in enumerate(KINDS):
            rng = np.random.default_rng(number)
            spoilt = [planted for sample in samples if (planted := plant(sample, kind=kind, rng=rng)).objects]
            found = measure(predictor, spoilt, embedding=context.embeddings, clicks=0)
            yield from ((kind, item) for item in review_objects(spoilt, base=found, candidate=found))
            say(f"{kind}: measured on the {asked} images")


def by_box(item: ReviewedObject, *, least: float) -> bool:
    """The older rule: the box alone."""
    drawn = item.drawn["box", "candidate"]
    return drawn.predicted_iou - drawn.iou >= least


def write_table(judged: Sequence[tuple[str, ReviewedObject]]) -> str:
    """The table: a row a rule, the share of every kind that it doubts."""
    rules: Mapping[str, Callable[[ReviewedObject], bool]] = {
        f"box {LEAST_DOUBT}, or click {LEAST_DOUBT} and {SURER} surer (the data page)": lambda item: (
            doubt_annotation(item) is not None
        ),
        **{f"box {least} alone": lambda item, least=least: by_box(item, least=least) for least in OTHERS},
    }
    counts = Counter(kind for kind, _ in judged)
    rows = [
        "| Rule | " + " | ".join(f"{kind} ({counts[kind]})" for kind in KINDS) + " | precision |",
        "| --- |" + " --- |" * (len(KINDS) + 1),
    ]
    for title, rule in rules.items():
        doubted = Counter(kind for kind, item in judged if rule(item))
        shares = [doubted[kind] / counts[kind] for kind in KINDS]
        recall, alarms = float(np.mean(shares[1:])), shares[0]
        right = _WRONG_SHARE * recall
        precision = right / (right + (1 - _WRONG_SHARE) * alarms) if right else 0.0
        cells = [f"{100 * share:.1f} %" for share in shares]
        rows.append(f"| {title} | {' | '.join(cells)} | {100 * precision:.0f} % |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nuclei", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="of either training")
    parser.add_argument("--folder", type=Path, help="keeps the two checkpoints")
    given = parser.parse_args()
    measured = commit()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        table = write_table(list(judge(given.nuclei, seconds=given.seconds, folder=folder)))
    say(table)
    text = (
        "Share of annotations that a rule doubts: of the nuclei as they were annotated, and of nuclei with planted "
        "mistakes. Precision is the share of doubted annotations that are wrong, if one annotation in ten has one of "
        f"these mistakes.\n\n{table}\n\n"
        "The thresholds were chosen on these objects, for few false alarms. "
        f"`python tests/benchmarks/suspicious.py`, {given.seconds:.0f} s of training on either half, on {machine()}; "
        f"commit {measured}."
    )
    write_result("suspicious", text)


if __name__ == "__main__":
    main()
