"""A checkpoint on disk: a folder with weights and other files, and a manifest with every file's digest.

The manifest is written last. So a folder is complete if its manifest's digests are right; any other folder is refused.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from io import BufferedReader
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from pydantic import ValidationError

from backend.errors import BadCheckpoint, NotFound, Unavailable
from backend.files.durable import open_plain, write_file
from backend.registry.figures import Written
from backend.registry.metrics import CheckpointMetrics, Exclusion, Recipe, Verdict

WEIGHTS_FILE = "model.safetensors"
MANIFEST_FILE = "manifest.json"
REPORT_FILE = "report.html"
MAX_MANIFEST_BYTES = 64 << 20
FORM: Final = 1  # of the manifest's JSON; older manifests name no form and are read as form 1
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
T = TypeVar("T", bound=Written)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ESCAPED_HALF = re.compile(r"\\u[dD]")


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file's SHA-256, in lower-case hexadecimal, and its length in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything about a checkpoint: whose it is, how it was trained, how good it is, what its training left out.

    Attributes:
        project_id: None after an offline training.
        base_fingerprint: the fingerprint of the whole base model whose decoder these weights replace.
        parent: the version that the training began with; None for the base model.
        created_at: ISO 8601, UTC.
        files: every file beside the manifest; `write_checkpoint` fills it in.
    """

    version: str
    project_id: int | None
    base_model: str
    base_fingerprint: str
    method: str
    parent: str | None
    data_digest: str
    config: Recipe
    metrics: CheckpointMetrics
    verdict: Verdict
    excluded: tuple[Exclusion, ...]
    created_at: str
    code_version: str
    files: Mapping[str, FileDigest] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the manifest as JSON text; a number that is not finite becomes null."""
        return json.dumps(_replace_infinite(self._values()), indent=1, sort_keys=True, allow_nan=False) + "\n"

    def _values(self) -> dict[str, object]:
        return {
            "form": FORM,
            **{name: getattr(self, name) for name in _TYPES},
            "config": self.config.to_json(),
            "metrics": self.metrics.to_json(),
            "verdict": self.verdict.to_json(),
            "excluded": [exclusion.to_json() for exclusion in self.excluded],
            "files": {name: asdict(digest) for name, digest in self.files.items()},
        }

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Read what `to_json` wrote, with or without the manifest's form.

        Raises:
            BadCheckpoint: the text is not JSON; a field is missing, unknown or of the wrong type; or a later version
                of samloop wrote the manifest or its metrics.
        """
        try:
            values = json.loads(text, parse_constant=_refuse_constant)
            if _ESCAPED_HALF.search(text):
                json.dumps(
                    values, ensure_ascii=False
                ).encode()  # half a surrogate pair is no character: no page shows it
        except (ValueError, RecursionError) as fault:
            raise BadCheckpoint(f"{MANIFEST_FILE} is not JSON: {fault}") from fault
        form = values.pop("form", FORM) if isinstance(values, dict) else FORM
        if form != FORM:
            raise BadCheckpoint(
                f"{MANIFEST_FILE} is of form {str(form)[:20]}, but this samloop reads form {FORM}: upgrade samloop to "
                "the version that wrote it"
            )
        if not isinstance(values, dict) or set(values) != set(_TYPES):
            raise BadCheckpoint(f"{MANIFEST_FILE} must be an object with the fields {', '.join(sorted(_TYPES))}")
        for name, types in _TYPES.items():
            if not isinstance(values[name], types) or isinstance(values[name], bool):
                raise BadCheckpoint(f"{MANIFEST_FILE}: {name}={str(values[name])[:80]!r} has the wrong type")
        if not all(isinstance(exclusion, dict) for exclusion in values["excluded"]):
            raise BadCheckpoint(f"{MANIFEST_FILE}: excluded must be a list of objects")
        parsed = {
            "config": _parse_part(Recipe, values["config"], name="config"),
            "metrics": CheckpointMetrics.from_json(values["metrics"]),
            "verdict": _parse_part(Verdict, values["verdict"], name="verdict"),
            "excluded": tuple(_parse_part(Exclusion, entry, name="excluded") for entry in values["excluded"]),
            "files": {str(name): _parse_digest(str(name), entry) for name, entry in values["files"].items()},
        }
        return cls(**{**values, **parsed})


_TYPES: dict[str, tuple[type, ...]] = {
    "version": (str,),
    "project_id": (int, type(None)),
    "base_model": (str,),
    "base_fingerprint": (str,),
    "method": (str,),
    "parent": (str, type(None)),
    "data_digest": (str,),
    "config": (dict,),
    "metrics": (dict,),
    "verdict": (dict,),
    "excluded": (list,),
    "created_at": (str,),
    "code_version": (str,),
    "files": (dict,),
}


def write_checkpoint(
    folder: Path, *, weights: bytes, manifest: Manifest, others: Mapping[str, bytes] = MappingProxyType({})
) -> Manifest:
    """Write the weights and `others` by name, then the manifest with the digests of all.

    Every file is written to a temporary file, synced and renamed. A process killed at any moment leaves either a
    complete folder or a folder that `verify_weights` refuses.

    Returns:
        The manifest as written, with `files`.

    Raises:
        BadCheckpoint: a name in `others` is not a plain file name, or is the weights' or the manifest's.
        OSError: the disk is full or the folder cannot be written.
    """
    contents = name_contents(weights, others)
    manifest = replace(manifest, files=digest_files(contents))
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        write_file(folder / name, data)
    write_file(folder / MANIFEST_FILE, manifest.to_json().encode())
    return manifest


def name_contents(weights: bytes, others: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return a checkpoint's files by name, without the manifest.

    Raises:
        BadCheckpoint: a name in `others` is the weights'.
    """
    if WEIGHTS_FILE in others:
        raise BadCheckpoint(f"a checkpoint holds only one {WEIGHTS_FILE}: give the other file another name")
    return {WEIGHTS_FILE: weights, **others}


def digest_files(contents: Mapping[str, bytes]) -> dict[str, FileDigest]:
    """Return the digests of these files, as a manifest names them.

    Raises:
        BadCheckpoint: a name is not a plain file name, or is the manifest's.
    """
    return {
        name: _parse_digest(name, {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)})
        for name, data in contents.items()
    }


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a checkpoint folder, without looking at the files that it names.

    Raises:
        NotFound: the folder holds no manifest.
        BadCheckpoint: the manifest is malformed.
    """
    return parse_manifest(_read_bytes(folder), where=folder)


def parse_manifest(data: bytes, *, where: Path) -> Manifest:
    """Parse the manifest in `data`; errors name the folder `where`.

    Raises:
        BadCheckpoint: the manifest is malformed.
    """
    try:
        return Manifest.from_json(data.decode())
    except (UnicodeDecodeError, BadCheckpoint) as fault:
        raise BadCheckpoint(f"checkpoint {where}: {fault}") from fault


def read_manifest_bytes(folder: Path, *, sha256: str) -> bytes:
    """Read the manifest's bytes, which must have this digest.

    Raises:
        NotFound: the folder holds no manifest.
        BadCheckpoint: the manifest has another digest.
    """
    data = _read_bytes(folder)
    if (actual := hashlib.sha256(data).hexdigest()) != sha256:
        raise BadCheckpoint(f"checkpoint {folder}: {MANIFEST_FILE} has sha256 {actual}, its pointer says {sha256}")
    return data


def verify_weights(folder: Path) -> Path:
    """Check the size and digest of every file in the manifest, then return the path of the weights.

    Raises:
        NotFound: the folder holds no manifest.
        Unavailable: a file is missing or unreadable.
        BadCheckpoint: a file is not a plain file, or differs from its digest.
    """
    manifest = read_manifest(folder)
    _find_weights(manifest, folder=folder)
    for name, expected in manifest.files.items():
        _verify(folder / name, expected)
    return folder / WEIGHTS_FILE


def read_weights(folder: Path, *, most_bytes: int) -> bytes:
    """Check all files as `verify_weights` does, and return the very bytes of the weights that were checked.

    Args:
        folder: the checkpoint's.
        most_bytes: the largest weights that are read.

    Raises:
        NotFound, Unavailable, BadCheckpoint: as `verify_weights` does, or the weights are larger than that.
    """
    manifest = read_manifest(folder)
    weights = _find_weights(manifest, folder=folder)
    if weights.bytes > most_bytes:
        raise BadCheckpoint(
            f"the weights of {manifest.version} take {weights.bytes} bytes; weights that fit this base take at most "
            f"{most_bytes}"
        )
    for name, expected in manifest.files.items():
        if name != WEIGHTS_FILE:
            _verify(folder / name, expected)
    return _read_verified(folder / WEIGHTS_FILE, weights)


def _find_weights(manifest: Manifest, *, folder: Path) -> FileDigest:
    if WEIGHTS_FILE not in manifest.files:
        raise BadCheckpoint(f"checkpoint {folder}: {MANIFEST_FILE} names no {WEIGHTS_FILE}")
    return manifest.files[WEIGHTS_FILE]


def _read_bytes(folder: Path) -> bytes:
    path = folder / MANIFEST_FILE
    try:
        with open_plain(path) as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as fault:
        raise NotFound(f"{folder} is not a checkpoint: it holds no {MANIFEST_FILE}") from fault
    except OSError as fault:
        raise Unavailable(f"{path} cannot be read now: {fault.strerror or fault}") from fault
    if len(data) > MAX_MANIFEST_BYTES:
        raise BadCheckpoint(f"{path} is larger than {MAX_MANIFEST_BYTES >> 20} MiB")
    return data


def _verify(path: Path, expected: FileDigest) -> None:
    with _open_sized(path, expected) as file:
        _check_digest(hashlib.file_digest(file, "sha256").hexdigest(), expected, path=path)


def _read_verified(path: Path, expected: FileDigest) -> bytes:
    with _open_sized(path, expected) as file:
        data = file.read()
    _check_digest(hashlib.sha256(data).hexdigest(), expected, path=path)
    return data


@contextmanager
def _open_sized(path: Path, expected: FileDigest) -> Iterator[BufferedReader]:
    """Open a file that has the size in the manifest: that is cheap to see, and makes a digest pointless if wrong."""
    try:
        with open_plain(path) as file:
            if (size := os.fstat(file.fileno()).st_size) != expected.bytes:
                raise BadCheckpoint(f"{path} has {size} bytes, its manifest says {expected.bytes}")
            yield file
    except (FileNotFoundError, NotADirectoryError) as fault:
        # Not a bad checkpoint: published files are never deleted, so the disk is not there or is being filled.
        raise Unavailable(f"{path} is missing, though its manifest names it: is its disk mounted?") from fault
    except OSError as fault:
        raise Unavailable(f"{path} cannot be read now: {fault.strerror or fault}") from fault


def _check_digest(actual: str, expected: FileDigest, *, path: Path) -> None:
    if actual != expected.sha256:
        raise BadCheckpoint(f"{path} has sha256 {actual}, its manifest says {expected.sha256}")


def _parse_digest(name: str, entry: object) -> FileDigest:
    if not _FILE_NAME.fullmatch(name) or name == MANIFEST_FILE:
        raise BadCheckpoint(f"{MANIFEST_FILE} names a file {name[:80]!r}, which is not a plain file name")
    match entry:
        case {"sha256": str(sha256), "bytes": int(size)} if _SHA256.fullmatch(sha256) and size >= 0:
            return FileDigest(sha256=sha256, bytes=size)
        case _:
            raise BadCheckpoint(f"{MANIFEST_FILE}: {name} needs a sha256 and a number of bytes")


def _parse_part(kind: type[T], value: object, *, name: str) -> T:
    try:
        return kind.model_validate(value)
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        place = ".".join(map(str, (name, *first["loc"])))[:200]
        raise BadCheckpoint(f"{MANIFEST_FILE}: {place}={str(first['input'])[:80]!r}: {first['msg']}") from fault


def _replace_infinite(value: object) -> object:
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {str(key): _replace_infinite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_replace_infinite(inner) for inner in value]
        case _:
            return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
