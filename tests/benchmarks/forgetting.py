"""What replay and views change on nuclei, and what a training forgets; writes a table into docs/results.md.

python tests/benchmarks/forgetting.py ../shared/data/nuclei [--decodes 1200] [--seeds 0 1] [--rows plain replay views]

Every row is a training with the same number of decodes, measured on the same held-out images and on unrelated
photographs. All of it runs in this process and caches the embeddings, so a row costs its training only.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pages import commit, machine, say, write_result

from backend.sam.predictor import base_predictor
from backend.settings import Settings
from finetuner.context import TrainingContext
from finetuner.data.dataset import Dataset, assemble
from finetuner.measuring.comparison import comparison, differences
from finetuner.measuring.evaluation import Measured, measure
from finetuner.measuring.forgetting import measure_forgetting
from finetuner.methods import new_method
from finetuner.offline import read_samples
from finetuner.presets import config_of
from finetuner.progress import silent
from finetuner.training.loop import Trainer
from finetuner.training.replay import load_replay, mix
from finetuner.training.run import seed_all

ROWS: dict[str, dict[str, Any]] = {
    "plain": {"views": 1, "replay": 0.0},
    "replay": {"views": 1, "replay": 0.25},
    "views": {"views": 4, "replay": 0.0},
}
HEADINGS = (
    "`SAMLOOP_VIEWS`",
    "`SAMLOOP_REPLAY`",
    "seed",
    "steps",
    "nuclei, one click",
    "nuclei, box",
    "unrelated photographs, one click",
    "unrelated photographs, box",
    "core-seconds",
)


def trained_row(context: TrainingContext, dataset: Dataset, before: tuple[Measured, ...]) -> tuple[str, ...]:
    """Train as the context's config says; return the cells of its row: IoUs, and their differences to the base's."""
    config, plain = context.config, base_predictor(context.base)
    others = {"plain": plain, "embeddings": context.embeddings, "folder": context.generic_in, "config": config}
    replayed, began_s = load_replay(**others), time.process_time()
    seed_all(config.seed)
    method = new_method(config.method, context.base, config=config)
    seen = partial(method.seen, embeddings=context.embeddings, learns=True)
    visited = mix(dataset.train, replayed, share=config.replay)
    *_, last = Trainer(method, visited, config=config, embedding=seen).steps()
    took_s, candidate = time.process_time() - began_s, method.predictor(version="candidate")
    after = measure(candidate, dataset.held_out, embedding=context.embeddings.suiting(candidate), clicks=0)
    learnt = comparison(before, after, intervals=differences(before, after)).to_json()
    measured = measure_forgetting(candidate, **others)
    assert measured is not None, "the config asks for it"
    forgot = measured.to_json()
    cells = [_cell(told, prompt) for told in (learnt, forgot) for prompt in ("point", "box")]
    return (
        str(config.views),
        f"{config.replay:g}",
        str(config.seed),
        str(last.step),
        *cells,
        f"{took_s:.0f}",
    )


def _cell(told: dict[str, Any], prompt: str) -> str:
    mean, low, high = told["difference"][prompt]["iou"]
    return f"{told['candidate'][prompt]['iou']:.3f} ({mean:+.3f} [{low:+.3f}, {high:+.3f}])"


def table(nuclei: Path, *, rows: list[str], seeds: list[int], decodes: int) -> Iterator[str]:
    """Yield the table after every training."""
    settings = Settings.from_env()
    config = replace(config_of(settings), seconds=1e6, decodes=decodes, forgetting=True)
    context = TrainingContext.open(settings, config=config, progress=silent)
    samples = read_samples(nuclei / "export.json", nuclei / "images", settings=settings, context=context)
    dataset = assemble(samples, share=config.held_out_share, exclusions=context.exclusions)
    before = measure(
        base_predictor(context.base), dataset.held_out, embedding=context.embeddings.by(context.base), clicks=0
    )
    lines = [_line(*HEADINGS), _line(*["---"] * len(HEADINGS))]
    for seed in seeds:
        for row in rows:
            changed = replace(context, config=replace(config, seed=seed, **ROWS[row]))
            lines.append(_line(*trained_row(changed, dataset, before)))
            yield "\n".join(lines)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nuclei", type=Path, help="a folder with export.json and images/")
    parser.add_argument("--decodes", type=int, default=1200, help="of a training (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    given = parser.parse_args()
    measured = commit()  # now: the working tree may move on while this runs
    told = (
        "IoU after a training by `decoder`, and its difference to `mobile-sam`, on held-out nuclei and on unrelated "
        "photographs. On the photographs, the masks that `mobile-sam` draws by itself count as true; the training "
        "replays none of these photographs:"
    )
    where = f"{given.decodes} decodes a training, on {machine()}; commit {measured}."
    for text in table(given.nuclei, rows=given.rows, seeds=given.seeds, decodes=given.decodes):
        say(text)
        write_result("forgetting", f"{told}\n\n{text}\n\n{where}")


if __name__ == "__main__":
    main()
