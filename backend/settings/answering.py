"""Settings for answering requests: the model, its caches, images, clicks and batches."""

from pathlib import Path
from typing import Annotated

from backend.settings.bounds import DEVICES, PRECISIONS, Bounds
from backend.settings.group import SettingsGroup, setting
from backend.settings.parsing import flag, folder, folders, host_names, integer, number, one_of, xdg_folder


class SamSettings(SettingsGroup):
    """The base model, its device and its arithmetic."""

    model: str | None = setting(
        "SAMLOOP_MODEL",
        "base model: a name that `samloop weights` lists, such as `sam2.1-tiny`, a Hugging Face id, a "
        "`save_pretrained` or checkpoint folder, or a `.pt`, `.pth` or `.bin` file; absent: `mobile-sam` on a CPU, "
        "`sam-vit-base` on a GPU",
        default=None,
    )
    device: Annotated[str, one_of(*DEVICES)] = setting(
        "SAMLOOP_DEVICE", "device that runs the model; auto: a GPU if there is one", default="auto"
    )
    dtype: Annotated[str, one_of(*PRECISIONS)] = setting(
        "SAMLOOP_DTYPE",
        "precision of the encoder; auto: bfloat16 where the CPU or GPU computes it fast; else, on a CPU, int8 for "
        "`mobile-sam`; else float32",
        default="auto",
    )


class CacheSettings(SettingsGroup):
    """Caches: converted weights and embeddings."""

    dir: Annotated[Path, folder()] = setting(
        "SAMLOOP_CACHE_DIR",
        "folder of converted weights and embeddings",
        default=lambda: xdg_folder("XDG_CACHE_HOME", ".cache"),
        shown="~/.cache/samloop",
    )
    mib: Annotated[int, integer(Bounds(8, 1 << 20))] = setting(
        "SAMLOOP_CACHE_MIB", "most memory for embeddings, MiB (2 per image)", default=512
    )
    disk_mib: Annotated[int, integer(Bounds(64, 1 << 24))] = setting(
        "SAMLOOP_DISK_MIB",
        "most disk space for embeddings in SAMLOOP_CACHE_DIR, which servers and trainings share, MiB (2 per image)",
        default=8192,
    )


class ServingSettings(SettingsGroup):
    """How clicks and batches are answered."""

    prewarm: Annotated[int, integer(Bounds(0, 1000))] = setting(
        "SAMLOOP_PREWARM",
        "number of tasks to embed ahead of the task on the screen; if the version answers in tiles (SAMLOOP_TILES), "
        "the four tiles of that task and of the next follow; 0: nothing is embedded ahead",
        default=3,
    )
    waiting: Annotated[int, integer(Bounds(1, 10_000))] = setting(
        "SAMLOOP_WAITING", "most requests that may wait for the encoder; further requests get 503", default=128
    )
    refine: Annotated[str, one_of("off", "on", "auto")] = setting(
        "SAMLOOP_REFINE",
        "look again at small objects on images over 1024 px, for tighter edges; a click on such an object then costs "
        "one more encode, which takes a second on a CPU; auto: only on a GPU",
        default="auto",
    )
    automatic: Annotated[bool, flag()] = setting(
        "SAMLOOP_AUTOMATIC",
        "pre-annotate tasks without rectangles with automatic masks, where the project has no semantic head",
        default=False,
    )
    automatic_points: Annotated[int, integer(Bounds(1, 64))] = setting(
        "SAMLOOP_AUTOMATIC_POINTS",
        "for SAMLOOP_AUTOMATIC: clicks in the grid along the image's longer side",
        default=16,
    )
    automatic_regions: Annotated[int, integer(Bounds(1, 1000))] = setting(
        "SAMLOOP_AUTOMATIC_REGIONS",
        "for SAMLOOP_AUTOMATIC and `samloop predict`: most regions per task",
        default=100,
    )
    batch_seconds: Annotated[float, number(Bounds(1, 3600))] = setting(
        "SAMLOOP_BATCH_SECONDS",
        "longest time for a batch, seconds; tasks that are left then get no prediction and can be requested again; "
        "keep it below the 100 seconds for which Label Studio waits (its ML_TIMEOUT_PREDICT)",
        default=80.0,
    )
    polygon_tolerance_px: Annotated[float, number(Bounds(0, 100))] = setting(
        "SAMLOOP_POLYGON_TOLERANCE_PX",
        "largest distance between the outlines of a polygon and its mask, image px",
        default=0.5,
    )
    specks_px: Annotated[int, integer(Bounds(0, 1_000_000))] = setting(
        "SAMLOOP_SPECKS_PX",
        "remove islands and holes of fewer pixels from masks, except where somebody clicked; 0: remove nothing",
        default=64,
    )


class ImageSettings(SettingsGroup):
    """Allowed sources and sizes of images."""

    local_files_root: Annotated[tuple[Path, ...], folders()] = setting(
        "SAMLOOP_LOCAL_FILES_ROOT",
        "folders, separated by colons, to read `/data/local-files/?d=` images from; Label Studio is asked for the rest",
        default=(),
    )
    hosts: Annotated[tuple[str, ...], host_names()] = setting(
        "SAMLOOP_IMAGE_HOSTS",
        "further hosts that may serve images, private ones too: `host[:port]`, separated by commas",
        default=(),
    )
    mib: Annotated[int, integer(Bounds(1, 4096))] = setting("SAMLOOP_IMAGE_MIB", "largest image file, MiB", default=64)
    megapixels: Annotated[int, integer(Bounds(1, 1000))] = setting(
        "SAMLOOP_IMAGE_MEGAPIXELS", "largest image, megapixels", default=100
    )
    seconds: Annotated[float, number(Bounds(0.1, 600))] = setting(
        "SAMLOOP_IMAGE_SECONDS", "longest time to fetch an image, seconds", default=20.0
    )

    @property
    def pixels(self) -> int:
        """The largest image, in pixels."""
        return self.megapixels * 1_000_000
