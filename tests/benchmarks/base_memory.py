"""What memory every published base needs, written into docs/models.md.

python tests/benchmarks/base_memory.py [--print] [--only NAME,NAME]

A new process loads the base as a server does, and answers a click on a new image; another takes a step of LoRA, or of
the decoder where the encoder takes no adapter. The most that either held counts. Weights are random and of real size.
`edgetam` needs timm, and is left out where that is missing. `backend.sam.weights` has the same numbers for
`samloop doctor`.
"""

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from benchmarks.pages import commit, machine, write_block
from benchmarks.real_sizes import build, list_rows
from PIL import Image
from skimage import data

from backend.errors import BadInput
from backend.files.own_process import prepare_process
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Embedding, Predictor, encode
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.methods import new_method
from finetuner.methods.base import Method
from finetuner.training.loop import promptable_pace
from finetuner.training.weights import TrainedWeights

MODELS = Path(__file__).resolve().parents[2] / "docs" / "models.md"
COFFEE = Image.fromarray(data.coffee())
CLICK = Prompt(clicks=(Click(300.0, 170.0),))
BOXES = [Prompt(box=Box(100.0 + 10 * number, 60.0, 300.0 + 10 * number, 300.0)) for number in range(6)]
_STATUS = Path("/proc/self/status")


def measure_memory(folder: Path) -> tuple[int, int]:
    """Return the peaks, in MiB, of a process that answers a click, and of a process that takes a step of training."""
    return _measure_alone(answer_click, folder), _measure_alone(train_step, folder)


def answer_click(folder: Path) -> int:
    """Load the base as a server does, and answer a click on a new image. Returns this process's peak in MiB."""
    base = load_base(str(folder), cache_dir=folder.parent, device="cpu")
    Predictor(base, decoder_of(base, None), version="bench").decode(encode(base, COFFEE), [CLICK])
    return read_peak_mib()


def train_step(folder: Path) -> int:
    """Take a step of LoRA, or of the decoder where the encoder takes no adapter. Returns this process's peak in MiB."""
    base = load_base(str(folder), cache_dir=folder.parent, device="cpu")
    method = _begin(base, TrainConfig(adapter_joins=0.0))
    weights = TrainedWeights(method.trainable(), pace=promptable_pace(TrainConfig(), encoder=method.pace))
    sample = Sample(image_sha256="0" * 64, height_px=COFFEE.height, width_px=COFFEE.width, objects=())
    method.begin_step(1, done=0.5)
    logits, ious = method.decode(method.embed(sample, embeddings=Coffee(base), learns=True), BOXES)
    (logits.square().mean() + ious.mean()).backward()
    method.carry_back()
    weights.move(1e-5)
    return read_peak_mib()


class Coffee:
    """The only image, as `finetuner.methods.base.Views`."""

    def __init__(self, base: BaseModel) -> None:
        self._base = base

    def __call__(self, sample: Sample) -> Embedding:
        return encode(self._base, COFFEE)

    def picture(self, sample: Sample) -> Image.Image:
        return COFFEE


def read_peak_mib() -> int:
    """Return the most memory that this process has held, in MiB. `getrusage` would count its parent's too."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) >> 10


def _begin(base: BaseModel, config: TrainConfig) -> Method:
    try:
        return new_method("lora", base, config=config)
    except BadInput:
        return new_method("decoder", base, config=config)


def _measure_alone(work: Callable[[Path], int], folder: Path) -> int:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare) as pool:
        return pool.submit(work, folder).result()


def _prepare() -> None:
    prepare_process()  # as `samloop` does
    torch.set_num_threads(1)


def measure_row(name: str, folder: Path) -> str:
    """The row of the table for one base."""
    build(name).save_pretrained(folder)
    server_mib, training_mib = measure_memory(folder)
    return f"| `{name}` | {server_mib:,} MiB | {training_mib:,} MiB |"


def main() -> None:
    """Measure the bases that are asked for, and write the block `memory`."""
    measured, rows = commit(), list_rows(measure_row)
    text = "\n".join(["| Base | A server | A training |", "| --- | --- | --- |", *rows]) + (
        "\n\nThe most that a process held: after a click on a new image, and after a step of LoRA on an image with six "
        f"boxes\n(of the decoder, for `edgetam`). Random weights of real size, on {machine()}; commit {measured}."
    )
    sys.stdout.write(text + "\n")
    if "--print" not in sys.argv:
        write_block(MODELS, "memory", text)


if __name__ == "__main__":
    main()
