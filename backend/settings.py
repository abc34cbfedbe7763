"""One frozen Settings, read from the environment once; every fault is told at once.

README's table of settings is made from the fields here (`samloop settings --markdown`; a test holds the two together).
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from backend.errors import SettingsError


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("is not an http(s) URL; write for example http://localhost:8080")
    if "@" in parts.netloc:
        raise ValueError("carries a user name or password; leave them out")
    return text.rstrip("/")


def _redis_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"redis", "rediss", "unix"} and parts.port != 0
    except ValueError:  # its words may hold a piece of a password
        usable = False
    if not usable:
        raise ValueError(
            "is not a redis://, rediss:// or unix:// URL; a password's / # ? and @ must be encoded"
        ) from None
    return text


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"is none of {', '.join(allowed)}")
        return text

    return parse


def _integer(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,12}", text) or not lowest <= int(text) <= highest:
            raise ValueError(f"is not a whole number from {lowest} to {highest}")
        return int(text)

    return parse


def _number(lowest: float, highest: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not lowest <= value <= highest:
            raise ValueError(f"is not a number from {lowest} to {highest}")
        return value

    return parse


def _flag(text: str) -> bool:
    if text.lower() not in {"1", "0", "true", "false", "yes", "no"}:
        raise ValueError("is not true or false")
    return text.lower() in {"1", "true", "yes"}


def _path(text: str) -> Path:
    text = text.removeprefix("file://") if text.startswith("file:///") else text
    if "://" in text:
        raise ValueError("is a URL; this version keeps it in a folder: name a path, or a file:///folder")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as fault:
        raise ValueError("names the home of a user who has none here") from fault


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(_path(part) for part in text.split(os.pathsep) if part)


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "samloop"


def _setting(variable: str, parse: Callable[[str], Any], default: Any, text: str, *, secret: bool = False) -> Any:  # noqa: ANN401 - as dataclasses.field
    metadata = {"variable": variable, "parse": parse, "text": text, "secret": secret}
    if callable(default):
        return field(default_factory=default, metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that the environment decides. Secrets are not in its repr."""

    label_studio_url: str | None = _setting(
        "LABEL_STUDIO_URL", _http_url, None, "where Label Studio answers; else what `/setup` told"
    )
    label_studio_api_key: str | None = _setting(
        "LABEL_STUDIO_API_KEY",
        str,
        None,
        "legacy token or personal access token; sent to LABEL_STUDIO_URL alone",
        secret=True,
    )
    redis_url: str | None = _setting(
        "REDIS_URL", _redis_url, None, "the queue; absent: the embedded Valkey", secret=True
    )
    backend_url: str = _setting(
        "SAMLOOP_BACKEND_URL", _http_url, "http://127.0.0.1:9090", "where Label Studio reaches the backend"
    )
    public_url: str | None = _setting(
        "SAMLOOP_PUBLIC_URL",
        _http_url,
        None,
        "where browsers reach the backend, for links to the review pages; absent: SAMLOOP_BACKEND_URL",
    )
    label_studio_public_url: str | None = _setting(
        "SAMLOOP_LABEL_STUDIO_PUBLIC_URL",
        _http_url,
        None,
        "where browsers reach Label Studio, for links into it; absent: LABEL_STUDIO_URL",
    )
    model_dir: Path = _setting(
        "MODEL_DIR", _path, lambda: _xdg("XDG_DATA_HOME", ".local/share") / "models", "the registry of checkpoints"
    )
    queue_dir: Path = _setting(
        "SAMLOOP_QUEUE_DIR",
        _path,
        lambda: _xdg("XDG_DATA_HOME", ".local/share") / "queue",
        "the embedded Valkey's data",
    )
    basic_auth_user: str | None = _setting("BASIC_AUTH_USER", str, None, "user that Label Studio must name")
    basic_auth_pass: str | None = _setting("BASIC_AUTH_PASS", str, None, "its password", secret=True)
    model: str | None = _setting(
        "SAMLOOP_MODEL",
        str,
        None,
        "`mobile-sam`, `sam-vit-base|large|huge`, a Hugging Face id, a `save_pretrained` or a checkpoint folder; "
        "absent: `mobile-sam` on a CPU, `sam-vit-base` on a GPU",
    )
    annotators: str = _setting(
        "SAMLOOP_ANNOTATORS",
        _one_of("latest", "majority"),
        "latest",
        "whose annotation of a task is learnt from: the latest (ground truth first), or a majority vote of all masks",
    )
    rectangle_masks: bool = _setting(
        "SAMLOOP_RECTANGLE_MASKS", _flag, default=False, text="learn from rectangles as if they were masks"
    )
    device: str = _setting("SAMLOOP_DEVICE", _one_of("auto", "cpu", "cuda", "mps"), "auto", "where the model runs")
    dtype: str = _setting(
        "SAMLOOP_DTYPE",
        _one_of("auto", "float32", "bfloat16"),
        "auto",
        "the arithmetic of serving; auto: bfloat16 where the processor or GPU is fast at it, else float32",
    )
    method: str = _setting(
        "SAMLOOP_METHOD",
        _one_of("decoder", "lora", "conv-lora"),
        "decoder",
        "what training changes: the mask decoder alone, or with it an adapter in the encoder",
    )
    start: str = _setting(
        "SAMLOOP_START",
        _one_of("base", "served"),
        "base",
        "whose weights a training begins with; on all annotations either way, and with the base's where what is served "
        "has learnt from an image that is held out",
    )
    losses: str = _setting(
        "SAMLOOP_LOSSES",
        _one_of("bce-dice", "focal-dice", "structure"),
        "bce-dice",
        "what masks are trained by: cross-entropy and Dice, for few images; SAM's focal 20 : Dice 1; or cross-entropy "
        "and IoU that weigh edges more",
    )
    head: str = _setting(
        "SAMLOOP_HEAD",
        _one_of("semantic", "promptable"),
        "semantic",
        "what a project's training makes beside the decoder that obeys prompts: a semantic head, which pre-annotates "
        "batches label by label, or nothing",
    )
    unlabelled: str = _setting(
        "SAMLOOP_UNLABELLED",
        _one_of("background", "unknown"),
        "background",
        "for the semantic head, what nobody drew on: background, if images are annotated in full; unknown, far from "
        "every object, if they are not",
    )
    preset: str = _setting(
        "SAMLOOP_PRESET",
        _one_of("auto", "cpu", "8gb", "24gb", "80gb"),
        "auto",
        "how large a training's steps are, by what the device holds; auto: by the GPU's memory, `cpu` without one",
    )
    objects_per_step: int | None = _setting(
        "SAMLOOP_OBJECTS_PER_STEP", _integer(1, 25), None, "objects of an image in a step; absent: the preset's"
    )
    images_per_step: int | None = _setting(
        "SAMLOOP_IMAGES_PER_STEP", _integer(1, 1024), None, "images of a training's step; absent: the preset's"
    )
    accumulate: int | None = _setting(
        "SAMLOOP_ACCUMULATE",
        _integer(1, 1024),
        None,
        "parts in which a step's images are done, for less memory and the same result; absent: the preset's",
    )
    train_epochs: int = _setting("SAMLOOP_EPOCHS", _integer(1, 1000), 30, "most epochs of a training")
    train_seconds: float = _setting("SAMLOOP_TRAIN_SECONDS", _number(1, 86400), 600.0, "most seconds of a training")
    views: int = _setting(
        "SAMLOOP_VIEWS",
        _integer(1, 8),
        1,
        "how many views of every image are learnt from: as it is, and mirrored, turned, nearer or farther; each is "
        "encoded once",
    )
    replay: float = _setting(
        "SAMLOOP_REPLAY",
        _number(0, 0.9),
        0.0,
        "share of a training's steps that are on photographs of other things, as the base draws those, so that less "
        "is forgotten; they come with scikit-image (the extra `demo`)",
    )
    forgetting: bool = _setting(
        "SAMLOOP_FORGETTING",
        _flag,
        default=True,
        text="after a training, measure on photographs of other things what it forgot; they come with scikit-image "
        "(the extra `demo`)",
    )
    save_seconds: float = _setting(
        "SAMLOOP_SAVE_SECONDS",
        _number(0, 3600),
        10.0,
        "how often a training writes down where it is, so that after a kill it goes on from there; 0: never",
    )
    cache_dir: Path = _setting(
        "SAMLOOP_CACHE_DIR", _path, lambda: _xdg("XDG_CACHE_HOME", ".cache"), "converted weights and embeddings"
    )
    cache_mib: int = _setting(
        "SAMLOOP_CACHE_MIB", _integer(8, 1 << 20), 512, "embeddings kept in memory, MiB (2 an image)"
    )
    disk_mib: int = _setting(
        "SAMLOOP_DISK_MIB",
        _integer(64, 1 << 24),
        8192,
        "embeddings kept on disk under SAMLOOP_CACHE_DIR, for the server and for trainings, MiB (2 an image)",
    )
    prewarm: int = _setting(
        "SAMLOOP_PREWARM", _integer(0, 1000), 3, "tasks that are embedded ahead of the one that is labelled; 0: none"
    )
    waiting: int = _setting(
        "SAMLOOP_WAITING", _integer(1, 10_000), 128, "most requests that wait for the encoder; more are answered 503"
    )
    refine: str = _setting(
        "SAMLOOP_REFINE",
        _one_of("off", "on", "auto"),
        "auto",
        "a second look at small objects on images over 1024 px, for tighter edges: one more encoding a click, which a "
        "GPU does in no time and a CPU in a second; auto: on a GPU",
    )
    automatic: bool = _setting(
        "SAMLOOP_AUTOMATIC",
        _flag,
        default=False,
        text="tasks without rectangles are pre-annotated with all that stands out",
    )
    automatic_points: int = _setting(
        "SAMLOOP_AUTOMATIC_POINTS", _integer(1, 64), 16, "for that: clicks along an image's longer side"
    )
    automatic_regions: int = _setting(
        "SAMLOOP_AUTOMATIC_REGIONS", _integer(1, 1000), 100, "for that: most regions of a task"
    )
    batch_seconds: float = _setting(
        "SAMLOOP_BATCH_SECONDS",
        _number(1, 3600),
        80.0,
        "after so many the rest of a batch gets no prediction, and can be asked for again; Label Studio gives up after "
        "100 (its ML_TIMEOUT_PREDICT)",
    )
    refresh: bool = _setting(
        "SAMLOOP_REFRESH",
        _flag,
        default=True,
        text="after every promotion and rollback, pre-annotate all tasks without annotation or draft anew",
    )
    refresh_rate: float = _setting(
        "SAMLOOP_REFRESH_RATE", _number(0, 10_000), 20.0, "most tasks a second of a refresh; 0: no limit"
    )
    keep_predictions: int = _setting(
        "SAMLOOP_KEEP_PREDICTIONS",
        _integer(0, 1000),
        3,
        "a refresh deletes predictions of all but so many of samloop's versions, on untouched tasks; 0: none",
    )
    flip: bool = _setting(
        "SAMLOOP_FLIP",
        _flag,
        default=True,
        text="a refresh ends with Label Studio showing the new version's predictions (the project's `model_version`)",
    )
    local_files_root: tuple[Path, ...] = _setting(
        "SAMLOOP_LOCAL_FILES_ROOT",
        _paths,
        (),
        "folders from which `/data/local-files/?d=` is read directly; absent: through Label Studio",
    )
    image_hosts: tuple[str, ...] = _setting(
        "SAMLOOP_IMAGE_HOSTS",
        _hosts,
        (),
        "further `host[:port]`s, private ones too, from which images may come, by comma",
    )
    image_mib: int = _setting("SAMLOOP_IMAGE_MIB", _integer(1, 4096), 64, "largest image file, MiB")
    image_megapixels: int = _setting("SAMLOOP_IMAGE_MEGAPIXELS", _integer(1, 1000), 100, "largest image, megapixels")
    image_seconds: float = _setting("SAMLOOP_IMAGE_SECONDS", _number(0.1, 600), 20.0, "longest wait for one image")
    polygon_tolerance_px: float = _setting(
        "SAMLOOP_POLYGON_TOLERANCE_PX",
        _number(0, 100),
        0.5,
        "how far a polygon's outline may be from its mask's, px of the image",
    )
    poll_seconds: float = _setting(
        "SAMLOOP_POLL_SECONDS", _number(0.05, 60), 1.0, "how often the registry is looked at"
    )
    job_seconds: int = _setting("SAMLOOP_JOB_SECONDS", _integer(60, 604800), 86400, "time limit of a training job")
    insecure: bool = _setting(
        "SAMLOOP_INSECURE", _flag, default=False, text="serve other addresses than loopback without credentials"
    )
    log_level: str = _setting(
        "SAMLOOP_LOG_LEVEL", _one_of("debug", "info", "warning", "error"), "info", "how much is logged"
    )

    @property
    def image_pixels(self) -> int:
        """The most pixels that an image may have: `image_megapixels` as a count."""
        return self.image_megapixels * 1_000_000

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the environment; an empty variable counts as absent.

        Raises:
            SettingsError: naming every value that cannot be used.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        faults: list[str] = []
        for each in settings_fields():
            variable, text = each.metadata["variable"], environ.get(each.metadata["variable"], "")
            if not text:
                continue
            try:
                values[each.name] = each.metadata["parse"](text)
            except ValueError as fault:
                shown = "***" if each.metadata["secret"] or "@" in text else repr(text[:200])
                faults.append(f"{variable}={shown} {fault}")
        if bool(environ.get("BASIC_AUTH_USER")) != bool(environ.get("BASIC_AUTH_PASS")):
            faults.append("BASIC_AUTH_USER and BASIC_AUTH_PASS go together: set both or neither")
        if faults:
            raise SettingsError("; ".join(faults))
        return cls(**values)


def settings_fields() -> tuple[Field[Any], ...]:
    """Every setting; its `metadata` holds `variable`, `text` and `secret`."""
    return fields(Settings)
