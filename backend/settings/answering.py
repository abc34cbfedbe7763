"""How requests are answered: the model, its embeddings, the images, clicks and batches."""

from pathlib import Path
from typing import Annotated

from backend.settings.bounds import DEVICES, PRECISIONS, Bounds
from backend.settings.group import SettingsGroup, setting
from backend.settings.parsing import flag, folder, folders, host_names, integer, number, one_of, xdg_folder


class SamSettings(SettingsGroup):
    """The base model, and where and how it computes."""

    model: str | None = setting(
        "SAMLOOP_MODEL",
        "`mobile-sam`, `sam-vit-base|large|huge`, `sam-hq-base|large|huge`, "
        "`sam2.1-tiny|small|base-plus|large`, `edgetam`, `sam3-tracker`, a Hugging Face id, a "
        "`save_pretrained` or a checkpoint folder, a `.pt`, `.pth` or `.bin` file; "
        "absent: `mobile-sam` on a CPU, `sam-vit-base` on a GPU",
        default=None,
    )
    device: Annotated[str, one_of(*DEVICES)] = setting("SAMLOOP_DEVICE", "where the model runs", default="auto")
    dtype: Annotated[str, one_of(*PRECISIONS)] = setting(
        "SAMLOOP_DTYPE",
        "arithmetic of serving; auto: bfloat16 where the processor or GPU is fast at it, else float32",
        default="auto",
    )


class CacheSettings(SettingsGroup):
    """What is computed once: converted weights and embeddings."""

    dir: Annotated[Path, folder()] = setting(
        "SAMLOOP_CACHE_DIR",
        "converted weights and embeddings",
        default=lambda: xdg_folder("XDG_CACHE_HOME", ".cache"),
        shown="~/.cache/samloop",
    )
    mib: Annotated[int, integer(Bounds(8, 1 << 20))] = setting(
        "SAMLOOP_CACHE_MIB", "embeddings that stay in memory, MiB (2 an image)", default=512
    )
    disk_mib: Annotated[int, integer(Bounds(64, 1 << 24))] = setting(
        "SAMLOOP_DISK_MIB",
        "embeddings that stay on disk under SAMLOOP_CACHE_DIR, for the server and for trainings, MiB (2 an image)",
        default=8192,
    )


class ServingSettings(SettingsGroup):
    """How clicks and batches are answered."""

    prewarm: Annotated[int, integer(Bounds(0, 1000))] = setting(
        "SAMLOOP_PREWARM", "tasks that are embedded ahead of the task that is labelled; 0: none", default=3
    )
    waiting: Annotated[int, integer(Bounds(1, 10_000))] = setting(
        "SAMLOOP_WAITING", "most requests that wait for the encoder; further requests are answered 503", default=128
    )
    refine: Annotated[str, one_of("off", "on", "auto")] = setting(
        "SAMLOOP_REFINE",
        "look a second time at small objects on images over 1024 px, for tighter edges; this costs an encoding a "
        "click: no time on a GPU, a second on a CPU; auto: on a GPU",
        default="auto",
    )
    automatic: Annotated[bool, flag()] = setting(
        "SAMLOOP_AUTOMATIC", "pre-annotate tasks without rectangles with all that stands out", default=False
    )
    automatic_points: Annotated[int, integer(Bounds(1, 64))] = setting(
        "SAMLOOP_AUTOMATIC_POINTS", "for SAMLOOP_AUTOMATIC: clicks along an image's longer side", default=16
    )
    automatic_regions: Annotated[int, integer(Bounds(1, 1000))] = setting(
        "SAMLOOP_AUTOMATIC_REGIONS", "for SAMLOOP_AUTOMATIC: most regions of a task", default=100
    )
    batch_seconds: Annotated[float, number(Bounds(1, 3600))] = setting(
        "SAMLOOP_BATCH_SECONDS",
        "longest time for a batch, seconds; later tasks get no prediction and can be asked for again; Label Studio "
        "gives up after 100 (its ML_TIMEOUT_PREDICT)",
        default=80.0,
    )
    polygon_tolerance_px: Annotated[float, number(Bounds(0, 100))] = setting(
        "SAMLOOP_POLYGON_TOLERANCE_PX",
        "most distance of a polygon's outline from its mask's, px of the image",
        default=0.5,
    )
    specks_px: Annotated[int, integer(Bounds(0, 1_000_000))] = setting(
        "SAMLOOP_SPECKS_PX",
        "islands and holes of fewer pixels of the image are taken out of masks, but for what was clicked on; 0: none",
        default=64,
    )


class ImageSettings(SettingsGroup):
    """Where images may come from, and how large they may be."""

    local_files_root: Annotated[tuple[Path, ...], folders()] = setting(
        "SAMLOOP_LOCAL_FILES_ROOT",
        "folders from which `/data/local-files/?d=` is read directly; absent: through Label Studio",
        default=(),
    )
    hosts: Annotated[tuple[str, ...], host_names()] = setting(
        "SAMLOOP_IMAGE_HOSTS",
        "further `host[:port]`s, private ones too, from which images may come, separated by commas",
        default=(),
    )
    mib: Annotated[int, integer(Bounds(1, 4096))] = setting("SAMLOOP_IMAGE_MIB", "largest image file, MiB", default=64)
    megapixels: Annotated[int, integer(Bounds(1, 1000))] = setting(
        "SAMLOOP_IMAGE_MEGAPIXELS", "largest image, megapixels", default=100
    )
    seconds: Annotated[float, number(Bounds(0.1, 600))] = setting(
        "SAMLOOP_IMAGE_SECONDS", "longest wait for an image, seconds", default=20.0
    )

    @property
    def pixels(self) -> int:
        """The largest image, in pixels."""
        return self.megapixels * 1_000_000
