"""The registry keeps its promises while publishers are killed, race, and run out of disk."""

import itertools
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.checkpoints import make_manifest

from backend.errors import BadCheckpoint, Unavailable
from backend.registry.checkpoint import MANIFEST_FILE, WEIGHTS_FILE, verify_weights
from backend.registry.local import LocalRegistry

ROOT = Path(__file__).resolve().parents[3]
MANIFEST = make_manifest()
PUBLISHER = """
import sys
from pathlib import Path
from backend.registry.checkpoint import Manifest
from backend.registry.local import LocalRegistry
from backend.registry.metrics import Recipe, Verdict, CheckpointMetrics
registry = LocalRegistry(Path(sys.argv[1]))
manifest = Manifest(
    version="", project_id=None, base_model="mobile-sam", base_fingerprint="f", method="decoder", parent=None,
    data_digest="d", config=Recipe(), metrics=CheckpointMetrics(), verdict=Verdict(), excluded=(),
    created_at=sys.argv[2], code_version="0",
)
weights = sys.argv[2].encode() * int(sys.argv[3])
print("ready", flush=True)
while True:
    version = registry.publish(1, weights=weights, manifest=manifest).version
    registry.promote(1, version, reason="better")
"""


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    """An empty registry."""
    return LocalRegistry(tmp_path / "models")


def publish(registry: LocalRegistry, weights: bytes = b"weights", project_id: int = 1) -> str:
    """Publish and give the version's name."""
    return registry.publish(project_id, weights=weights, manifest=MANIFEST).version


def damaged(registry: LocalRegistry, version: str, file: str) -> None:
    """Change one byte of a published file."""
    path = registry.materialise(version) / file
    path.write_bytes(path.read_bytes()[:-1] + b"X")


@settings(deadline=None)  # it writes to a disk, which may be busy
@given(base=st.text(max_size=120))
def test_any_base_model_gives_a_name_that_can_be_looked_up(tmp_path_factory: pytest.TempPathFactory, base: str) -> None:
    """Hub ids, paths and worse become file-safe."""
    registry = LocalRegistry(tmp_path_factory.mktemp("models"))
    manifest = registry.publish(1, weights=b"w", manifest=replace(MANIFEST, base_model=base))
    assert registry.manifest(manifest.version).base_model == base


@pytest.mark.parametrize("megabytes", [0.001, 4])
def test_kill_9_of_a_publisher_leaves_everything_readable(tmp_path: Path, megabytes: float) -> None:
    """Rounds of kills: whatever a pointer names verifies, the numbers have no gaps, and the litter is swept."""
    registry = LocalRegistry(tmp_path)
    rng = random.Random(0)
    for turn in itertools.count():
        # On a machine so slow or busy that none of them came to publish anything, they get longer.
        if turn >= 13 and registry.versions(1):
            break
        longest_s = 0.15 * 1.5 ** max(0, turn - 12)
        command = [sys.executable, "-c", PUBLISHER, str(tmp_path), f"turn {turn:03d}", str(int(megabytes * 125_000))]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0, longest_s))
            process.kill()
        versions = registry.versions(1)
        assert [int(manifest.version.split("-")[3][1:]) for manifest in versions] == list(range(1, len(versions) + 1))
        for manifest in versions[-5:]:
            verify_weights(registry.materialise(manifest.version))
        assert [pointer.number for pointer in registry.history(1)] == list(range(1, len(registry.history(1)) + 1))
    assert registry.versions(1)
    registry.sweep(older_than_s=0.0)
    assert list((tmp_path / "staging").iterdir()) == []
    assert len(list((tmp_path / "objects").iterdir())) == len(registry.versions(1))
    assert publish(registry) == registry.versions(1)[-1].version


def test_a_full_disk_leaves_the_champion_as_it_was_and_says_so(tmp_path: Path) -> None:
    """The limit is the kernel's own, in a process of its own; nothing half-written stays."""
    registry = LocalRegistry(tmp_path)
    registry.promote(1, publish(registry), reason="first")
    before = registry.champion(1)
    program = PUBLISHER.replace("while True:", "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nif 1:")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), "weights!", "100000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=limit,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(
        r"Unavailable: the registry .* File too large; the served version stays; free some space", done.stderr
    )
    assert registry.champion(1) == before
    assert len(registry.versions(1)) == 1
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_disk_without_hard_links_says_so(registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """As exFAT: the kernel's answer is put in its mouth."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(Unavailable, match=r"Operation not permitted; .* on a disk that has hard links"):
        publish(registry)


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder of a user who is not root, as whom the test runs meanwhile: root may write anywhere."""
    folder = Path(tempfile.mkdtemp(prefix="samloop-"))
    folder.chmod(0o755)
    root = os.geteuid() == 0
    if root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_a_read_only_folder_says_so_and_serves_on(nobody: Path) -> None:
    """Neither publishing nor promoting; what was promoted before is still read."""
    registry = LocalRegistry(nobody / "models")
    version = publish(registry)
    registry.promote(1, version, reason="first")
    folders = [registry.root, *(path for path in registry.root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        for attempt in (lambda: publish(registry), lambda: registry.promote(1, None, reason="x")):
            with pytest.raises(
                Unavailable, match="cannot be written: Permission denied; the served version stays; make it"
            ):
                attempt()
        champion = registry.champion(1)
        assert champion is not None
        assert champion.version == version
        assert verify_weights(registry.materialise(version)).exists()
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_registry_that_went_away_is_not_an_empty_one(registry: LocalRegistry, tmp_path: Path) -> None:
    """Neither a folder that is gone, nor the empty mount point under it, may turn every project back to its base."""
    version = publish(registry)
    registry.promote(1, version, reason="first")
    assert registry.champion(1) is not None
    registry.root.rename(tmp_path / "unmounted")
    for ask in (lambda: registry.champion(1), registry.projects, lambda: registry.materialise(version)):
        with pytest.raises(Unavailable, match="does not exist: is its disk mounted"):
            ask()
    registry.root.mkdir()
    for ask in (lambda: registry.champion(1), lambda: publish(registry), lambda: registry.promote(1, None, reason="x")):
        with pytest.raises(Unavailable, match=r"has lost its mark \(registry.json\), as an empty mount point would"):
            ask()
    assert list(registry.root.iterdir()) == []
    registry.root.rmdir()
    (tmp_path / "unmounted").rename(registry.root)
    assert registry.champion(1) is not None


def test_decisions_that_are_gone_are_missed_although_the_mark_is_there(registry: LocalRegistry) -> None:
    registry.promote(1, publish(registry), reason="first")
    assert registry.champion(1) is not None
    shutil.rmtree(registry.root / "refs")
    with pytest.raises(Unavailable, match="has lost decision 1 of project 1"):
        registry.champion(1)


def test_a_worker_that_starts_while_the_registry_is_away_publishes_nothing_into_its_mount_point(tmp_path: Path) -> None:
    """Fails where only the process that saw the registry remembers it."""
    root, memory = tmp_path / "models", tmp_path / "memory"
    version = publish(LocalRegistry(root, memory=memory))
    root.rename(tmp_path / "unmounted")
    registry = LocalRegistry(root, memory=memory)
    assert not root.exists(), "who opens it makes no folder in its place"
    root.mkdir()
    with pytest.raises(Unavailable, match="has lost its mark"):
        publish(registry)
    assert list(root.iterdir()) == []
    root.rmdir()
    (tmp_path / "unmounted").rename(root)
    assert [manifest.version for manifest in registry.versions(1)] == [version]


def test_a_registry_can_be_opened_where_nothing_can_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A server must come up with its base model while the disk cannot be reached."""
    (tmp_path / "file").touch()
    registry = LocalRegistry(tmp_path / "file" / "models")
    assert "cannot be reached" in caplog.text
    with pytest.raises(Unavailable, match="does not exist"):
        registry.champion(1)


def test_a_damaged_version_says_which_digest_is_wrong(registry: LocalRegistry) -> None:
    """Weights against their manifest, the manifest against its pointer."""
    for file, said in ((WEIGHTS_FILE, "its manifest says"), (MANIFEST_FILE, "its pointer says")):
        version = publish(registry, file.encode())
        damaged(registry, version, file)
        with pytest.raises(BadCheckpoint, match=said):
            registry.promote(1, version, reason="x")
    assert registry.champion(1) is None


@pytest.mark.parametrize("content", [b"", b"null", b"[" * 100_000, json.dumps({"version": 5}).encode()])
def test_a_pointer_that_is_none_of_ours_is_refused(registry: LocalRegistry, content: bytes) -> None:
    """Who serves keeps what is served."""
    registry.promote(1, publish(registry), reason="first")
    (registry.root / "refs" / "1" / "champion" / "000000002.json").write_bytes(content)
    with pytest.raises(BadCheckpoint, match=r"000000002.json is not (JSON|a pointer)|file 2 is not a pointer"):
        registry.champion(1)


def test_files_that_are_no_pointers_do_not_count(registry: LocalRegistry) -> None:
    """Editors and file managers leave things behind."""
    registry.promote(1, publish(registry), reason="first")
    for name in (".DS_Store", "000000009.json~", "9.json", "1000000009.json"):
        (registry.root / "refs" / "1" / "champion" / name).touch()
    (registry.root / "refs" / "lost+found").mkdir()
    champion = registry.champion(1)
    assert champion is not None
    assert champion.number == 1
    assert registry.projects() == (1,)


def test_the_sweep_leaves_alone_what_is_young(registry: LocalRegistry) -> None:
    """It may be a publisher at work."""
    publish(registry)
    (registry.root / "staging" / "young").mkdir()
    assert registry.sweep() == 0
    assert registry.sweep(older_than_s=0.0) == 1


def test_another_projects_pointer_that_cannot_be_read_takes_nothing_from_a_new_version(registry: LocalRegistry) -> None:
    """And no object is deleted while it is not known what all pointers name."""
    version = publish(registry, project_id=1)
    (registry.root / "refs" / "1" / "versions" / "000000001.json").write_text("not ours")
    other = publish(registry, b"others", project_id=2)
    assert [manifest.version for manifest in registry.versions(2)] == [other]
    with pytest.raises(BadCheckpoint, match="is not JSON"):
        registry.sweep(older_than_s=0.0)
    assert len(list((registry.root / "objects").iterdir())) == 2, f"{version}'s object is still there"


def test_asking_for_projects_that_there_are_not_takes_no_memory(registry: LocalRegistry) -> None:
    for project_id in range(1, 100):
        assert registry.champion(project_id) is None
    assert registry._highest == {}
