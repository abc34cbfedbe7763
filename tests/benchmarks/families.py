"""`make bench`: what every published base costs on this machine, written into docs/models.md.

python tests/benchmarks/families.py [--print] [--only NAME,NAME]

Weights are random, and of the usual size: time and memory do not depend on such weights. Beside ours stands the same as
plain transformers computes it: in float32, on a GPU in bfloat16. Seconds are those that one core works, so that other
work on the machine does not count; on a GPU they are those until the GPU has done its work. `edgetam` needs timm, and
is left out where that is missing.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `samloop` does; read once, when torch is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from benchmarks.base_memory import BOXES, CLICK, COFFEE
from benchmarks.pages import commit, machine, write_block
from benchmarks.real_sizes import build, list_rows, look_plainly

from backend.files.own_process import prepare_process
from backend.sam.canvas import pixels_on_canvas
from backend.sam.embeddings.memory import halve
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Predictor, encode, prompt_tensors
from finetuner.methods import new_method

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
MODELS = Path(__file__).resolve().parents[2] / "docs" / "models.md"
_LONG_S = 10.0  # what takes longer is measured once


@dataclass(frozen=True, slots=True)
class Row:
    """What a base costs: s, and ours beside transformers' plain path."""

    name: str
    encoder_s: tuple[float, float]
    decoder_s: tuple[float, float]
    click_s: float
    step_s: tuple[float, float]
    cached_mib: int

    def __str__(self) -> str:
        encoder, decoder, step = (_beside(*pair) for pair in (self.encoder_s, self.decoder_s, self.step_s))
        return (
            f"| `{self.name}` | {encoder} | {decoder} | {self.click_s * 1e3:.0f} ms | {step} | {self.cached_mib} MiB |"
        )


def median_s(work: Callable[[], object], *, times: int) -> float:
    """Median seconds of some runs after one to warm up; of that one alone where it takes long."""
    first_s = work_s(work)
    return first_s if first_s > _LONG_S else statistics.median(work_s(work) for _ in range(times))


def work_s(work: Callable[[], object]) -> float:
    """The seconds that this process's one core works; with a GPU, those until the GPU has done its work."""
    clock = time.process_time if DEVICE.type == "cpu" else time.perf_counter
    began = clock()
    work()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def plainly() -> torch.autocast:
    """The arithmetic of transformers' plain path: float32, on a GPU bfloat16."""
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=DEVICE.type == "cuda")


def measure(name: str, folder: Path) -> Row:
    """Write the base, and take its times."""
    plain = build(name)
    plain.save_pretrained(folder)
    plain.to(DEVICE)
    base = load_base(str(folder), cache_dir=folder.parent, device=DEVICE.type)
    pixels = pixels_on_canvas(COFFEE, frame=base.frame).contiguous().to(DEVICE)
    looks: list[Any] = []
    ours_s = median_s(lambda: looks.append(encode(base, COFFEE)), times=2)
    with plainly():
        encoder_s = ours_s, median_s(lambda: looks.append(look_plainly(plain, pixels)), times=1)
    ours, seen = looks[0], looks[-1]
    served = Predictor(base, decoder_of(base, None), version="bench")
    tensors = prompt_tensors(BOXES[:1], ours, frame=base.frame).to(DEVICE)
    with torch.no_grad():
        ours_s = median_s(lambda: served.four_masks(ours, tensors), times=5)
        with plainly():
            decoder_s = ours_s, median_s(lambda: plain(input_boxes=tensors.boxes, **seen), times=3)
        click_s = median_s(lambda: served.decode(ours, [CLICK]), times=5)
    return Row(name, encoder_s, decoder_s, click_s, steps_s(base, plain, ours, seen), halve(ours).nbytes >> 20)


def steps_s(base: BaseModel, plain: Any, ours: Any, seen: dict[str, Any]) -> tuple[float, float]:
    """A pass of six boxes through the decoder and back: by the method `decoder`, and by transformers."""
    method = new_method("decoder", base)
    boxes = prompt_tensors(BOXES, ours, frame=base.frame).to(DEVICE).boxes

    def learn() -> None:
        logits, scores = method.decode(ours, BOXES)
        (logits.square().mean() + scores.mean()).backward()

    def learn_plain() -> None:
        with plainly():
            out = plain(input_boxes=boxes, **seen)
        (out.pred_masks.square().mean() + out.iou_scores.mean()).backward()

    return median_s(learn, times=3), median_s(learn_plain, times=2)


def _beside(ours_s: float, plain_s: float) -> str:
    shown = f"{ours_s:.2f} s" if ours_s >= 0.5 else f"{ours_s * 1e3:.0f} ms"
    return f"{shown} ({plain_s / ours_s:.1f} times)"


def main() -> None:
    """Measure the bases that are asked for, and write the block `families`, or that of a GPU."""
    prepare_process()  # as `samloop` does
    if DEVICE.type == "cpu":
        torch.set_num_threads(1)
    measured, rows = commit(), list_rows(measure)
    header = "| Base | Encoder, an image | Decoder, a box | Warm click | Step of six boxes | In the cache |"
    table = "\n".join([header, "| --- | --- | --- | --- | --- | --- |", *rows])
    what, theirs, where = "Seconds that one core works", "in float32", machine()
    if DEVICE.type == "cuda":
        what, theirs = "Seconds until the GPU has done its work", "in bfloat16"
        where = f"one {torch.cuda.get_device_name()}, torch {torch.__version__}"
    text = f"""{table}

{what}; in brackets, how many times as fast as transformers' plain path {theirs}. What takes over
{_LONG_S:.0f} s was run once. Random weights of real size, on {where}; commit {measured}."""
    sys.stdout.write(text + "\n")
    if "--print" not in sys.argv:
        write_block(MODELS, "families" if DEVICE.type == "cpu" else "families-gpu", text)


if __name__ == "__main__":
    main()
