"""Requests of Label Studio: bodies recorded from a real one (tests/data/payloads), and clicks in the same form."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from support.pictures import encode_image

PAYLOADS = Path(__file__).resolve().parents[1] / "data" / "payloads"
COINS: str = json.loads((PAYLOADS / "00-project-created.json").read_text())["label_config"]


def read_payload(name: str) -> dict[str, Any]:
    """The body of a recorded request."""
    return json.loads((PAYLOADS / name).read_text())["body"]


def draw_blocks(seed: int, *, size: tuple[int, int] = (96, 64), orientation: int | None = None) -> bytes:
    """A JPEG of coloured blocks, different for every seed; `orientation` is EXIF's."""
    blocks = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    image = Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    return encode_image(image, "JPEG", quality=95, exif=exif)


def write_request(project: dict[str, Any], task: dict[str, Any], *regions: dict[str, Any]) -> dict[str, Any]:
    """The body of POST /predict for an annotator's prompts on the task."""
    return {
        "tasks": [task],
        "project": f"{project['id']}.1795418479",
        "label_config": COINS,
        "params": {"login": None, "password": None, "context": {"result": list(regions)}},
    }


def write_click(project_id: int, image: str, click: dict[str, Any], *, label_config: str) -> dict[str, Any]:
    """The body of POST /predict for a click on the image of a project's first task."""
    return {
        "tasks": [{"id": 1, "data": {"image": image}}],
        "project": f"{project_id}.1",
        "label_config": label_config,
        "params": {"context": {"result": [click]}},
    }


def click_at(x: float, y: float, *, label: str = "Coin", positive: bool = True) -> dict[str, Any]:
    """A keypoint of COINS; `x` and `y` in per cent of the image."""
    return {
        "type": "keypointlabels",
        "from_name": "kp",
        "to_name": "image",
        "is_positive": positive,
        "value": {"x": x, "y": y, "width": 0.3, "keypointlabels": [label]},
    }


def read_mask(region: dict[str, Any]) -> np.ndarray:
    """The mask of a brush region, bool (height, width)."""
    from backend.labelstudio.rle import decode_mask

    return decode_mask(region["value"]["rle"], height_px=region["original_height"], width_px=region["original_width"])
