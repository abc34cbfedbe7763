"""The most memory that a server with a base holds, and a training of it; a new process measures either."""

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from PIL import Image
from skimage import data

from backend.errors import BadInput
from backend.files.children import keep_freed_memory
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Embedding, Predictor, encode
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.methods import new_method
from finetuner.methods.base import Method
from finetuner.training.loop import promptable_pace
from finetuner.training.weights import TrainedWeights

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
    keep_freed_memory()  # as `samloop` does
    torch.set_num_threads(1)
