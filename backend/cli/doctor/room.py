"""Memory for the base, and disk for what is learnt."""

import os
import shutil
from pathlib import Path

from backend.errors import Unavailable
from backend.settings import Settings

_LITTLE_MIB = 512  # less free space than this, and a version may not be written whole
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def check_memory(settings: Settings, *, has_mib: int | None = None) -> str:
    """Whether the machine's memory holds a server with a full cache of embeddings, and a training through the encoder.

    Args:
        settings: which base.
        has_mib: the machine's memory; None: what this one has, or its container allows.

    Raises:
        Unavailable: it does not.
    """
    from backend.sam.loading import base_name, resolve_device
    from backend.sam.weights import PUBLISHED

    has_mib = machine_mib() if has_mib is None else has_mib
    name = base_name(settings.sam.model, device=settings.sam.device)
    published = PUBLISHED.get(name)
    on_gpu = resolve_device(settings.sam.device).type != "cpu"
    if published is None or on_gpu:
        why = "lies on the GPU" if on_gpu else "is not known"
        return f"{has_mib} MiB; what {name} takes {why}"
    needed_mib = sum(published.peaks_mib) + settings.cache.mib
    if needed_mib > has_mib:
        raise Unavailable(
            f"{name} needs about {needed_mib} MiB for a server and a training, and this machine has {has_mib} MiB: "
            "choose a smaller base (SAMLOOP_MODEL; docs/models.md says what every base needs), lower "
            "SAMLOOP_CACHE_MIB, or give it more memory"
        )
    return f"{has_mib} MiB, and {name} needs about {needed_mib} MiB for a server and a training"


def check_disk(folder: Path, *, free_mib: int | None = None) -> str:
    """Whether versions can be written to the folder, or to the parent that exists.

    Raises:
        Unavailable: hardly any space is left.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free_mib = shutil.disk_usage(place).free >> 20 if free_mib is None else free_mib
    if free_mib < _LITTLE_MIB:
        raise Unavailable(
            f"the disk of {folder} has {free_mib} MiB left, and a training may not be kept: free some space, or set "
            "MODEL_DIR to a folder on another disk"
        )
    return f"{free_mib} MiB are free for {folder}"


def machine_mib() -> int:
    """The machine's memory, or what the container may take, in MiB."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP_LIMITS:
        try:
            total = min(total, int(path.read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return total >> 20
