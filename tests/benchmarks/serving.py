"""`make bench`: what a click costs and where the time goes, written into docs/results.md.

python tests/benchmarks/serving.py [--print]

The parts are measured in this process, the clicks and the batch over HTTP on a server of its own.
"""

import copy
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `samloop` does; read once, when torch is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import requests
import torch
from benchmarks.clients import CONFIG, Clients, project
from benchmarks.pages import commit, machine, write_result
from fakes.serving import Served, served
from PIL import Image
from skimage import data
from support.small_base import VITS
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from backend.amounts import write_amount
from backend.files.own_process import prepare_process
from backend.labelstudio.rle import decode_mask, encode_mask
from backend.masks.polygons import polygons_of_mask
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.canvas import mask_of_logits, pixels_on_canvas
from backend.sam.frame import SAM_FRAME
from backend.sam.layers.fused_attention import fuse_attention
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Predictor, encode, prompt_tensors
from backend.settings import Settings

COFFEE = Image.fromarray(data.coffee())
PROMPTS = [Prompt(box=Box(100.0 + 10 * i, 60.0, 300.0 + 10 * i, 300.0)) for i in range(16)]
# Multiplications and additions: measured by torch.utils.flop_counter, and of the decoder as transformers computes it.
TINY_VIT_GFLOP, VIT_B_GFLOP, PROMPT_GFLOP = 77.5, 742.0, 3.6


def ms(work: Callable[[], object], *, times: int = 5) -> float:
    """Median of some runs after one to warm up, in ms."""
    work()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e3


def peak_gflops(dtype: torch.dtype) -> float:
    """What a multiplication of square matrices reaches."""
    one, other = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    return 2 * 2048**3 / ms(lambda: one @ other, times=7) / 1e6


def encoders(exact: BaseModel, base: BaseModel, peak: float) -> list[tuple[str, str, str]]:
    """TinyViT with its weights, ViT-B with random ones of the usual size, on which time does not depend."""
    rows = []
    pixels = pixels_on_canvas(COFFEE, frame=SAM_FRAME)
    plain_vit = SamVisionEncoder(SamVisionConfig(**VITS["base"])).eval().requires_grad_(requires_grad=False)
    fast_vit = copy.deepcopy(plain_vit)
    fuse_attention(fast_vit)
    fast_vit.to(base.encoder_dtype)
    half = pixels.to(base.encoder_dtype)
    with torch.no_grad():
        for name, gflop, plain, fast, times in (
            ("TinyViT", TINY_VIT_GFLOP, exact.model.vision_encoder, lambda: encode(base, COFFEE), 5),
            ("ViT-B", VIT_B_GFLOP, plain_vit, lambda: fast_vit(half), 2),
        ):
            # TinyViT is ours alone, so its plain way is the paper's order: every map in one piece.
            with mock.patch("backend.sam.layers.tiny_vit.STRIP_NUMBERS", 1 << 40):
                slow_ms = ms(lambda plain=plain: plain(pixels.contiguous()), times=2)
            fast_ms = ms(fast, times=times)
            share, whose = gflop / fast_ms * 1e3 / peak, "plain" if name == "TinyViT" else "transformers"
            rows.append(
                (f"encoder, {name}", f"{fast_ms:.0f} ms", f"{against(slow_ms, fast_ms, whose)}; {share:.0%} of peak")
            )
    return rows


def decoder(exact: BaseModel, base: BaseModel, peak: float) -> list[tuple[str, str, str]]:
    """One prompt and sixteen, against transformers' decoder in float32."""
    rows, seen = [], encode(base, COFFEE)
    predictor = Predictor(base, decoder_of(base, None), version="bench")
    theirs, encoder = exact.model.mask_decoder, exact.model.prompt_encoder
    for count in (1, 16):
        with torch.inference_mode():
            tensors = prompt_tensors(PROMPTS[:count], seen, frame=SAM_FRAME)
            sparse, dense = encoder(input_points=None, input_labels=None, input_boxes=tensors.boxes, input_masks=None)
            slow_ms = ms(
                lambda sparse=sparse, dense=dense: theirs(
                    image_embeddings=seen.features,
                    image_positional_embeddings=exact.image_positions,
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense[:1],
                    multimask_output=True,
                ),
                times=2,
            )
            parts = [prompt_tensors(PROMPTS[first : first + 4], seen, frame=SAM_FRAME) for first in range(0, count, 4)]
            if count == 1:
                parts = [tensors]
            fast_ms = ms(lambda parts=parts: [predictor.four_masks(seen, part) for part in parts])
        share = count * PROMPT_GFLOP / fast_ms * 1e3 / peak
        rows.append(
            (
                f"decoder, {write_amount(count, 'prompt')}",
                f"{fast_ms:.0f} ms",
                f"{against(slow_ms, fast_ms)}; {share:.0%} of peak",
            )
        )
    return rows


def around(base: BaseModel) -> list[tuple[str, str, str]]:
    """What a warm click costs beside the decoder, at two sizes."""
    predictor = Predictor(base, decoder_of(base, None), version="bench")
    (found,) = predictor.decode(encode(base, COFFEE), [Prompt(clicks=(Click(300.0, 170.0),))])
    logits, rows = torch.from_numpy(found.low_res_logits), []
    for height, width in ((768, 1024), (3000, 4000)):
        size = {"height_px": height, "width_px": width}
        mask = mask_of_logits(logits, frame=SAM_FRAME, **size)
        rle = encode_mask(mask)
        enlarge, encoded, text = (
            ms(lambda size=size: mask_of_logits(logits, frame=SAM_FRAME, **size)),
            ms(lambda mask=mask: encode_mask(mask)),
            ms(lambda rle=rle: json.dumps(rle)),
        )
        outline, most = (
            ms(lambda shape=shape: polygons_of_mask(shape, tolerance_px=0.5)) for shape in (mask, disc(height, width))
        )
        rows.append(
            (f"mask to polygons, {width}x{height}", f"{outline:.1f} ms", f"of a disc that fills it {most:.0f} ms")
        )
        rows.append(
            (
                f"mask to JSON, {width}x{height}",
                f"{enlarge + encoded + text:.1f} ms",
                f"enlarging {enlarge:.1f} ms, RLE {encoded:.1f} ms, JSON {text:.1f} ms",
            )
        )
    return rows


def disc(height: int, width: int) -> np.ndarray:
    """An ellipse that touches all four sides."""
    ys, xs = np.ogrid[:height, :width]
    return np.hypot(2 * ys / height - 1, 2 * xs / width - 1) < 1


def rle() -> list[tuple[str, str, str]]:
    """A disc with an antialiased edge, 4000x3000."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()):
        from label_studio_sdk.converter import brush
    ys, xs = np.mgrid[:3000, :4000]
    alpha = np.clip((900 - np.hypot(ys - 1500, xs - 2000)) * 100 + 128, 0, 255).astype(np.uint8)
    code = encode_mask(alpha)
    ours, theirs = ms(lambda: encode_mask(alpha)), ms(lambda: brush.mask2rle(alpha), times=2)
    back, theirs_back = (
        ms(lambda: decode_mask(code, height_px=3000, width_px=4000)),
        ms(lambda: brush.decode_rle(code), times=2),
    )
    return [
        (
            "RLE encode, 4000x3000 antialiased",
            f"{ours:.1f} ms",
            f"label-studio-sdk {theirs:.0f} ms: {theirs / ours:.0f} times",
        ),
        (
            "RLE decode, the same",
            f"{back:.1f} ms",
            f"label-studio-sdk {theirs_back:.0f} ms: {theirs_back / back:.0f} times",
        ),
    ]


def against(slow_ms: float, fast_ms: float, whose: str = "transformers") -> str:
    """How many times as fast as the same in float32."""
    return f"{whose} float32 {slow_ms:.0f} ms: {slow_ms / fast_ms:.1f} times"


def jpeg(width_px: int, height_px: int, *, tint: int = 0) -> bytes:
    """The cup of coffee at that size; `tint` makes another image of it."""
    file = io.BytesIO()
    pixels = np.asarray(COFFEE.resize((width_px, height_px)))
    Image.fromarray(np.clip(pixels.astype(int) + tint, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def over_http(base: BaseModel, settings: Settings) -> list[tuple[str, str, str]]:
    """Clicks and a batch as Label Studio posts them."""
    predictor, seen = Predictor(base, decoder_of(base, None), version="bench"), encode(base, COFFEE)
    decode_ms = ms(
        lambda: predictor.four_masks(seen, prompt_tensors([Prompt(clicks=(Click(9.0, 9.0),))], seen, frame=SAM_FRAME)),
        times=15,
    )
    encode_ms = ms(lambda: encode(base, COFFEE))
    images = [jpeg(1024, 768), jpeg(4000, 3000), *(jpeg(600, 400, tint=number) for number in range(1, 9))]
    with (
        tempfile.TemporaryDirectory() as folder,
        project(images) as (studio, project_id, tasks),
        served(
            Path(folder),
            environ={"LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": studio.token, "SAMLOOP_PREWARM": "0"},
            weights=settings.cache.dir / "weights",
        ) as server,
        requests.Session() as session,
    ):
        clients, rows = Clients(server.url, project_id=project_id, tasks=tasks), []
        for number, size in ((0, "1024x768"), (1, "4000x3000")):
            cold_ms = clients.click(session, (number, 0)).seconds * 1e3
            warm_ms = ms(lambda number=number: clients.click(session, (number, 0)), times=15)
            rows.append(
                (f"cold click over HTTP, {size}", f"{cold_ms:.0f} ms", f"{encode_ms:.0f} ms of it in the encoder")
            )
            around_ms = warm_ms - decode_ms
            rows.append(
                (f"warm click over HTTP, {size}", f"{warm_ms:.0f} ms", f"{around_ms:.0f} ms of it outside the decoder")
            )
        rows.append(batch(server, session, tasks[2:], encode_ms=encode_ms))
        rows.append(("memory of the server", f"{server.memory_bytes() >> 20} MiB", "after the rows above"))
    return rows


def batch(
    server: Served, session: requests.Session, tasks: list[dict[str, Any]], *, encode_ms: float
) -> tuple[str, str, str]:
    """The row of a batch of new images with two rectangles an image."""
    value = {"x": 30.0, "y": 20.0, "width": 40.0, "height": 50.0, "rectanglelabels": ["Coin"]}
    boxes = [
        {"type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": value | {"x": x}}
        for x in (10.0, 50.0)
    ]
    body = {
        "tasks": [task | {"annotations": [{"result": boxes}]} for task in tasks],
        "project": "1.1",
        "label_config": CONFIG.replace(
            "</View>", '<RectangleLabels name="box" toName="image"><Label value="Coin"/></RectangleLabels></View>'
        ),
        "params": {"context": None},
    }
    began = time.perf_counter()
    reply = session.post(f"{server.url}/predict", json=body, timeout=100)
    image_ms = (time.perf_counter() - began) / len(tasks) * 1e3
    assert all(len(prediction["result"]) == 2 for prediction in reply.json()["results"]), reply.text[:500]
    return (
        f"batch of {len(tasks)}, two rectangles an image",
        f"{image_ms:.0f} ms an image",
        f"the encoder alone {encode_ms:.0f} ms",
    )


def main() -> None:
    """Measure all of it, and write the block `bench`."""
    prepare_process()  # as `samloop` does
    measured, settings = commit(), Settings()
    exact, base = (
        load_base("mobile-sam", cache_dir=settings.cache.dir, device="cpu", dtype=d) for d in ("float32", "auto")
    )
    peak32, peak = peak_gflops(torch.float32), peak_gflops(base.encoder_dtype)
    rows = [
        *over_http(base, settings),
        *encoders(exact, base, peak),
        *decoder(exact, base, peak),
        *around(base),
        *rle(),
    ]
    table = "\n".join(
        ["| What | Time | Against |", "| --- | --- | --- |", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    )
    name = str(base.encoder_dtype).removeprefix("torch.")
    text = f"""{table}

`mobile-sam` in {name}, unless a row says otherwise; ViT-B has random weights. In the same run, a multiplication of
matrices peaks at {peak32:.0f} GFLOP/s in float32, and at {peak:.0f} in {name}. On {machine()}; commit {measured}."""
    sys.stdout.write(text + "\n")
    if "--print" not in sys.argv:
        write_result("bench", text)


if __name__ == "__main__":
    main()
