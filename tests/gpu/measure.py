"""Prints what samloop costs on this machine's GPU, beside transformers' own path in bfloat16, as the goals are put.

python tests/gpu/measure.py [--nuclei FOLDER] [--only NAME...] | tee FILE
python tests/gpu/measure.py --table FILE... --commit COMMIT     write what was printed into docs/results.md

Encoders and decoders have random weights: their time does not depend on them. What is measured over HTTP does, since
masks of random weights are noise, and slow to send: there the model is that of SAMLOOP_MODEL. FOLDER holds export.json
and images/, to train on; without it that part is left out.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import requests
import torch
from benchmarks.clients import Clients, project
from benchmarks.pages import write_result
from fakes.serving import served
from PIL import Image
from skimage import data
from support.small_base import VITS
from torch.utils.flop_counter import FlopCounterMode
from transformers import SamConfig, SamModel

from backend.amounts import write_amount
from backend.masks.prompt import Click, Prompt
from backend.sam.automatic import AutomaticRules, automatic_masks
from backend.sam.canvas import pixels_on_canvas
from backend.sam.families.mobile import MobileSamModel, mobile_sam_config
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Predictor, encode, prompt_tensors
from backend.settings import Settings
from finetuner.context import TrainingContext
from finetuner.data.folds import Training
from finetuner.methods import new_method
from finetuner.offline import read_samples
from finetuner.presets import config_of
from finetuner.progress import silent
from finetuner.training.run import TrainingRun

DEVICE = torch.device(os.environ.get("SAMLOOP_DEVICE", "cuda"))
IMAGE = Image.fromarray(data.coffee()).resize((1024, 768))
BATCH = 16
SIZES = {"ViT-B": VITS["base"], "ViT-H": VITS["huge"]}


def ms(work: Callable[[], object], *, times: int = 10) -> float:
    """Median of some runs after three to warm up, in ms, the device's work included."""
    taken = []
    for _ in range(times + 3):
        wait()
        began = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[3:]) * 1e3


def wait() -> None:
    """Until the device has done all that it was given."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def say(what: str, ours: str, theirs: str = "", goal: str = "") -> None:
    """Print a row of the table."""
    sys.stdout.write(f"| {what} | {ours} | {theirs} | {goal} |\n")
    sys.stdout.flush()


def clicks(count: int) -> list[Prompt]:
    """Clicks all over the image."""
    chance = np.random.default_rng(0)
    return [Prompt(clicks=(Click(float(x), float(y)),)) for x, y in chance.uniform(0, 768, (count, 2))]


@contextmanager
def random_model(name: str) -> Iterator[Path]:
    """The folder of a model of this size with random weights."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, torch.device(DEVICE):
        if name == "TinyViT":
            MobileSamModel(mobile_sam_config()).save_pretrained(folder)
        else:
            SamModel(SamConfig(vision_config=dict(SIZES[name]))).save_pretrained(folder)
        with torch.device("cpu"):
            yield Path(folder)


def open_base(folder: Path) -> BaseModel:
    """The model as it is served on the device."""
    return load_base(str(folder), cache_dir=folder, device=DEVICE.type, dtype="auto")


def matmul_peak() -> float:
    """TFLOP/s of a product of two matrices in bfloat16."""
    side = 8192 if DEVICE.type == "cuda" else 512
    one, other = (torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / ms(lambda: one @ other) / 1e9


def measure_encoder(name: str, *, peak: float) -> None:
    """An image alone and in batches; what transformers' ViT takes in bfloat16 with its fused attention."""
    goals = {"TinyViT": ("<= 3 ms", ">= 700/s"), "ViT-B": ("<= 4 ms", ">= 350/s"), "ViT-H": ("", ">= 45 % of the peak")}
    with random_model(name) as folder:
        base = open_base(folder)
        plain = None if name == "TinyViT" else SamModel.from_pretrained(folder, dtype=torch.bfloat16).to(DEVICE).eval()
    encoder = base.model.vision_encoder
    pixels = pixels_on_canvas(IMAGE, frame=SAM_FRAME).to(DEVICE, next(encoder.parameters()).dtype)
    many = pixels.repeat(BATCH, 1, 1, 1)

    def ours(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return base.graphs.run("bench", lambda given: base.family.encode(encoder, given), images)

    with torch.no_grad():
        theirs = [0.0, 0.0]
        flops = 0
        if plain is not None:
            half = many.bfloat16()
            theirs = [ms(lambda: plain.vision_encoder(half[:1])), ms(lambda: plain.vision_encoder(half), times=3)]
            with FlopCounterMode(display=False) as counter:
                plain.vision_encoder(half[:1])
            flops = counter.get_total_flops()
        alone, together = ms(lambda: ours(pixels)), ms(lambda: ours(many), times=5)
    share = f", {flops * BATCH / together / 1e9:.0f} TFLOP/s, {flops * BATCH / together / 1e9 / peak:.0%} of the peak"
    of_theirs = [f"{theirs[0]:.1f} ms", f"{BATCH / theirs[1] * 1e3:.0f}/s"] if plain is not None else ["", ""]
    say(f"{name}, encoder, an image alone", f"{alone:.2f} ms", of_theirs[0], goals[name][0])
    text = f"{BATCH / together * 1e3:.0f}/s{share if flops else ''}"
    say(f"{name}, encoder, in batches of {BATCH}", text, of_theirs[1], goals[name][1])
    say(f"{name}, an image of 1024x768 from Pillow to its embedding", f"{ms(lambda: encode(base, IMAGE)):.1f} ms")


def measure_clicks() -> None:
    """Clicks until their masks lie in main memory, and every object of an image; transformers' decoder alone."""
    goals = {1: "<= 4 ms", 64: "<= 15 ms", 256: "<= 50 ms"}
    with random_model("ViT-B") as folder:
        base = open_base(folder)
        plain = SamModel.from_pretrained(folder, dtype=torch.bfloat16).to(DEVICE).eval()
    predictor, seen = Predictor(base, decoder_of(base, None), version="bench"), encode(base, IMAGE)
    features = seen.features.bfloat16()
    for count in (1, 16, 64, 256):
        prompts = clicks(count)
        given = prompt_tensors(prompts, seen, frame=SAM_FRAME).to(DEVICE)
        points, labels = given.points, given.labels
        assert points is not None
        assert labels is not None
        half = points.bfloat16()
        with torch.inference_mode():
            theirs = ms(
                lambda p=half, t=labels: plain(image_embeddings=features, input_points=p, input_labels=t), times=5
            )
        taken = ms(lambda prompts=prompts: predictor.decode(seen, prompts), times=5)
        say(
            f"{write_amount(count, 'click')} to masks of 1024x768",
            f"{taken:.1f} ms",
            f"{theirs:.1f} ms",
            goals.get(count, ""),
        )
    taken = ms(lambda: automatic_masks(predictor, seen, rules=AutomaticRules()), times=3)
    say("automatic masks of an image", f"{taken:.0f} ms")


def measure_http() -> None:
    """Clicks in the UI, from the request to the answer."""
    images = []
    for angle in range(12):
        file = io.BytesIO()
        IMAGE.rotate(angle).save(file, "JPEG")
        images.append(file.getvalue())
    with (
        tempfile.TemporaryDirectory() as work,
        project(images) as (studio, project_id, tasks),
        served(
            Path(work) / "samloop",
            environ={
                "LABEL_STUDIO_URL": studio.url,
                "LABEL_STUDIO_API_KEY": studio.token,
                "SAMLOOP_DEVICE": DEVICE.type,
                "SAMLOOP_PREWARM": "0",
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            },
        ) as server,
        requests.Session() as session,
    ):
        annotators = Clients(server.url, project_id=project_id, tasks=tasks)
        cold, warm = [], []
        for number in range(len(tasks)):
            for into, click in ((cold, 0), (warm, 1), (warm, 2)):
                answer = annotators.click(session, (number, click))
                if answer.status != requests.codes.ok:
                    raise SystemExit(f"a click was answered {answer.status}")
                into.append(answer.seconds * 1e3)
    model = Path(Settings.from_env().sam.model or "the default model").name
    say(f"{model}, a first click on an image over HTTP", f"{statistics.median(cold[3:]):.0f} ms", goal="<= 40 ms")
    say(f"{model}, a further click over HTTP", f"{statistics.median(warm[6:]):.1f} ms", goal="<= 12 ms")


def measure_training(nuclei: Path) -> None:
    """The decoder's training by the preset of this device."""
    settings = Settings.from_env()
    config = config_of(settings)
    context = TrainingContext.open(settings, config=config, progress=silent)
    samples = read_samples(nuclei / "export.json", nuclei / "images", settings=settings, context=context)
    for method in ("decoder", "lora"):
        training = Training(number=1, count=1, train=tuple(samples), held_out=(), config=config)
        run = TrainingRun(
            new_method(method, context.base, config=config),
            training,
            embeddings=context.embeddings,
            unfinished=None,
            progress=silent,
        )
        began = time.perf_counter()
        ended = run.train()
        wait()
        taken = time.perf_counter() - began
        goal = ">= 1500/s" if method == "decoder" else ""
        say(
            f"a training of {method}, {config.images_per_step} images x {config.objects_per_step} objects a step",
            f"{ended.decodes / taken:.0f} objects/s, {ended.decodes} in {taken:.1f} s",
            goal=goal,
        )


def write_table(files: Sequence[Path], *, commit: str) -> None:
    """Write the rows that were printed into docs/results.md."""
    lines = [line for path in files for line in path.read_text().splitlines()]
    rows = dict.fromkeys(line for line in lines if line.startswith("|"))
    (machine,) = {line.partition(", commit")[0] for line in lines if ", commit" in line}
    notes = dict.fromkeys(line for line in lines if "without its kernel" in line)
    note = " Attention ran without its kernel, which failed its check then." if notes else ""
    write_result("gpu", "\n".join([*rows, "", f"On one {machine}; commit {commit}.{note}"]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nuclei", type=Path)
    parser.add_argument("--only", nargs="*", default=["tiny", "vit-b", "vit-h", "clicks", "http", "training"])
    parser.add_argument("--table", nargs="*", type=Path)
    parser.add_argument("--commit")
    given = parser.parse_args()
    if given.table:
        write_table(given.table, commit=given.commit)
        return
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else DEVICE.type
    peak = matmul_peak()
    sys.stdout.write(f"{name}, torch {torch.__version__}, commit {head.stdout.strip() or 'unknown'}; ")
    sys.stdout.write(f"a product of matrices in bfloat16 reaches {peak:.0f} TFLOP/s.\n\n")
    sys.stdout.write("| What | samloop | transformers | Goal |\n| --- | --- | --- | --- |\n")
    parts: dict[str, Callable[[], None]] = {
        "tiny": lambda: measure_encoder("TinyViT", peak=peak),
        "vit-b": lambda: measure_encoder("ViT-B", peak=peak),
        "vit-h": lambda: measure_encoder("ViT-H", peak=peak),
        "clicks": measure_clicks,
        "http": measure_http,
        "training": lambda: None if given.nuclei is None else measure_training(given.nuclei),
    }
    for part in given.only:
        parts[part]()


if __name__ == "__main__":
    main()
