"""Which program should run mobile-sam's encoder on this CPU.

python tests/benchmarks/engines.py [--print] [--rounds N]

Our own layers in every arithmetic that they have here, beside the same weights in plain PyTorch, in torch.compile
(which needs a C++ compiler), and in ONNX Runtime and OpenVINO. OpenVINO needs `pip install openvino nncf`; what is
missing is left out. All take turns, on all cores. Masks are compared with those of plain PyTorch: of boxes and clicks
on every object of a quarter of the demo's nuclei and photographs. NNCF looks at another half to choose its ranges. The
table goes into docs/results.md.
"""

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from unittest import mock

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `samloop` does; read once, when torch is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnxruntime
import torch
import torch._inductor.config
from benchmarks.exports import Picture, demo, photographs
from benchmarks.pages import commit, machine, say, write_result
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from backend.files.own_process import prepare_process
from backend.masks.metrics import iou
from backend.masks.prompt import Prompt
from backend.sam.canvas import pixels_on_canvas
from backend.sam.export.onnx_encoder import PIXELS, write_encoder
from backend.sam.layers.arithmetic import has_fast_bfloat16
from backend.sam.layers.int8_linear import activation_bits
from backend.sam.loading import BaseModel, load_base
from backend.sam.predictor import Embedding, Predictor, base_predictor, encode
from backend.settings import Settings
from finetuner.data.objects import LabelledMask
from finetuner.data.prompting import farthest_inner_point

SEEN, COMPARED = 2, 4  # every second picture is looked at by NNCF; of the others every second is compared
PLAIN = "plain PyTorch, float32"
Encode = Callable[[Tensor], Tensor]  # the pixels of a canvas to features


@dataclass(frozen=True, slots=True)
class Engine:
    """A way to encode, and how long it took to get it ready, s."""

    name: str
    encode: Encode
    ready_s: float


def timed(name: str, make: Callable[[], Encode], pixels: Tensor) -> Engine:
    """Make an engine, and let it encode once."""
    began = time.perf_counter()
    encode_pixels = make()
    encode_pixels(pixels)
    return Engine(name, encode_pixels, time.perf_counter() - began)


def ours(base: BaseModel) -> Encode:
    """Our layers, as they are served."""
    dtype = next(base.model.vision_encoder.parameters()).dtype

    def run(pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return base.family.encode(base.model.vision_encoder, pixels.to(dtype))[0].float()

    return run


def plainly(base: BaseModel) -> Encode:
    """The same layers without strips and fused operations, which is what a trace of them records."""
    with torch.no_grad():
        traced = torch.jit.trace(
            lambda pixels: base.family.encode(base.model.vision_encoder, pixels)[0],
            torch.zeros(1, 3, base.frame.canvas_px, base.frame.canvas_px),
            check_trace=False,
        )

    def run(pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return traced(pixels)

    return run


def compiled(base: BaseModel) -> Encode:
    """torch.compile of plain PyTorch, with weights laid out for this processor. It cannot compile fused operations."""
    torch._inductor.config.freezing = True
    canvas = torch.zeros(1, 3, base.frame.canvas_px, base.frame.canvas_px)
    with torch.no_grad(), mock.patch("torch.jit.is_tracing", return_value=True):
        graph = make_fx(lambda pixels: base.family.encode(base.model.vision_encoder, pixels)[0])(canvas)
    module = torch.compile(graph)

    def run(pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return module(pixels)

    return run


def in_onnxruntime(graph: Path) -> Encode:
    """ONNX Runtime, with its own optimisations."""
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    return lambda pixels: torch.from_numpy(session.run(None, {PIXELS: pixels.numpy()})[0])


def in_openvino(graph: Path, *, seen: Sequence[Tensor] = (), exact: Sequence[str] = ()) -> Encode:
    """OpenVINO in float32; with images to choose ranges by, in int8 but for the kinds of layers that stay `exact`."""
    openvino = importlib.import_module("openvino")
    core = openvino.Core()
    model = core.read_model(graph)
    if seen:
        nncf = importlib.import_module("nncf")
        model = nncf.quantize(
            model,
            nncf.Dataset(seen, lambda pixels: {PIXELS: pixels.numpy()}),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(seen),
            ignored_scope=nncf.IgnoredScope(types=list(exact), validate=False),
        )
    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    ready = core.compile_model(model, "CPU", hints)
    return lambda pixels: torch.from_numpy(ready([pixels.numpy()])[0].copy())


def engines(
    base: BaseModel, *, load: Callable[[str], BaseModel], graph: Path, seen: Sequence[Tensor]
) -> Iterator[Engine]:
    """Every engine that this machine has, plain PyTorch first. `base` is in float32."""
    write_encoder(base.model, graph, family=base.family)
    makers: dict[str, Callable[[], Encode]] = {
        PLAIN: lambda: plainly(base),
        "samloop, float32": lambda: ours(base),
        "samloop, int8": lambda: ours(load("int8")),
        "samloop, bfloat16": lambda: ours(load("bfloat16")),
        "torch.compile, float32": lambda: compiled(base),
        "ONNX Runtime, float32": lambda: in_onnxruntime(graph),
        "OpenVINO, float32": lambda: in_openvino(graph),
        "OpenVINO, int8": lambda: in_openvino(graph, seen=seen),
        "OpenVINO, int8 but for convolutions": lambda: in_openvino(
            graph, seen=seen, exact=("Convolution", "GroupConvolution")
        ),
    }
    if activation_bits("cpu") is None:
        makers.pop("samloop, int8")
    if not has_fast_bfloat16(torch.device("cpu")):
        makers.pop("samloop, bfloat16")
    for name, make in makers.items():
        try:
            engine = timed(name, make, seen[0])
        except ImportError as fault:
            say(f"{name} is left out: {fault}")
            continue
        say(f"{name}: ready after {engine.ready_s:.1f} s")
        yield engine


def measure_s(several: Sequence[Engine], pixels: Tensor, *, rounds: int) -> dict[str, float]:
    """The median seconds of an encoding, by the engine's name."""
    taken: dict[str, list[float]] = {engine.name: [] for engine in several}
    for _ in range(rounds):
        for engine in several:
            began = time.perf_counter()
            engine.encode(pixels)
            taken[engine.name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the masks of engines are compared by: an image on the canvas, and prompts."""

    pixels: Tensor
    embedding: Embedding
    prompts: list[Prompt]

    @classmethod
    def of(cls, picture: Picture, *, base: BaseModel) -> "Asked":
        """Ask for a box and a click on every object of a picture."""
        objects = [LabelledMask.of(mask, label=None) for _, mask in picture.objects]
        boxes = [Prompt(box=item.bounds.box) for item in objects]
        clicks = [Prompt(clicks=(farthest_inner_point(item),)) for item in objects]
        return cls(pixels_on_canvas(picture.image, frame=base.frame), encode(base, picture.image), boxes + clicks)

    def answers(self, engine: Engine, *, predictor: Predictor) -> list[np.ndarray]:
        """The masks by this engine's features."""
        features = engine.encode(self.pixels).contiguous(memory_format=torch.channels_last)
        return [found.mask for found in predictor.decode(replace(self.embedding, features=features), self.prompts)]


def row(engine: Engine, *, seconds: dict[str, float], agreement: Sequence[float]) -> str:
    """A line of the table."""
    values = np.array(agreement)
    return (
        f"| {engine.name} | {seconds[engine.name] * 1e3:.0f} ms | {seconds[PLAIN] / seconds[engine.name]:.2f} |"
        f" {engine.ready_s:.0f} s | {values.mean():.4f} | {(values < 0.9).mean():.1%} |"
    )


def main() -> None:
    """Measure, and write the table into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="write nothing into docs/results.md")
    parser.add_argument("--rounds", type=int, default=9)
    given, measured = parser.parse_args(), commit()
    prepare_process()

    def load(dtype: str) -> BaseModel:
        return load_base("mobile-sam", cache_dir=Settings().cache.dir, device="cpu", dtype=dtype)

    base = load("float32")
    pictures = list(chain(demo(), photographs()))
    seen = [pixels_on_canvas(picture.image, frame=base.frame) for picture in pictures[::SEEN]]
    with tempfile.TemporaryDirectory() as folder:
        several = list(engines(base, load=load, graph=Path(folder) / "encoder.onnx", seen=seen))
        seconds = measure_s(several, seen[0], rounds=given.rounds)
        lines = [
            "| encoder | an image | times as fast | ready after | mean IoU of masks | below 0.9 |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        predictor = base_predictor(base)
        asked = [Asked.of(picture, base=base) for picture in pictures[1::COMPARED]]
        plain = [mask for one in asked for mask in one.answers(several[0], predictor=predictor)]
        for engine in several:
            own = [mask for one in asked for mask in one.answers(engine, predictor=predictor)]
            agreement = [iou(mask, other) for mask, other in zip(own, plain, strict=True)]
            lines.append(row(engine, seconds=seconds, agreement=agreement))
            say(lines[-1])
    lines += ["", f"`mobile-sam`, {len(plain)} masks. On {machine()}; commit {measured}."]
    if not given.print:
        write_result("engines", "\n".join(lines))


if __name__ == "__main__":
    main()
