"""A registry in a store keeps its promises while publishers are killed, copies rot, and the store cannot be reached."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.checkpoints import make_manifest
from support.object_store import damage_object, open_store

from backend.errors import BadCheckpoint, Unavailable
from backend.registry.checkpoint import MANIFEST_FILE, WEIGHTS_FILE, verify_weights
from backend.registry.objects.registry import ObjectRegistry

ROOT = Path(__file__).resolve().parents[4]
# Publishes and promotes over and over, in children that kill themselves before or after write n.
PUBLISHER = """
import os, signal, sys
from pathlib import Path
import s3fs
from backend.registry.objects.registry import ObjectRegistry
from support.checkpoints import make_manifest

def publish(kill_before, kill_after):
    registry, done = ObjectRegistry(sys.argv[1], folder=Path(sys.argv[2]), most_bytes=1 << 20), 0
    send = registry._store._send
    def count(method, *args, **kwargs):
        nonlocal done
        if method == "pipe_file":
            done += 1
            if done == kill_before:
                os.kill(os.getpid(), signal.SIGKILL)
        answer = send(method, *args, **kwargs)
        if method == "pipe_file" and done == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer
    registry._store._send = count
    weights = b"weights %d %d" % (kill_before, kill_after)
    version = registry.publish(1, weights=weights, manifest=make_manifest()).version
    registry.promote(1, version, reason="better")

kills = 0
for write in range(1, 8):
    for place in ((write, 0), (0, write)):
        if (child := os.fork()) == 0:
            publish(*place)
            os._exit(0)
        kills += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
print(kills)
"""


def publish(registry: ObjectRegistry, weights: bytes = b"weights", project_id: int = 1) -> str:
    """Publish and give the version's name."""
    return registry.publish(project_id, weights=weights, manifest=make_manifest()).version


def test_kill_9_before_and_after_every_write_leaves_everything_readable(s3_url: str, tmp_path: Path) -> None:
    """Whatever a pointer names verifies, the numbers have no gaps, and the litter is swept."""
    registry = open_store(s3_url, tmp_path / "ours")
    done = subprocess.run(
        [sys.executable, "-c", PUBLISHER, registry._store.url, str(tmp_path / "theirs")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    # Six writes: two trials of the store, weights, manifest, version, decision. The store refuses the second trial, so
    # nothing comes after it.
    assert int(done.stdout) == 11
    versions, history = registry.versions(1), registry.history(1)
    assert [int(manifest.version.split("-")[3][1:]) for manifest in versions] == list(range(1, len(versions) + 1))
    assert [pointer.number for pointer in history] == list(range(1, len(history) + 1))
    assert len(versions) > len(history) >= 1
    for manifest in versions:
        verify_weights(registry.materialise(manifest.version))
    assert registry.sweep(older_than_s=0.0) > 0
    assert len({key.partition("/")[0] for key in registry._store.list_objects("objects")}) == len(versions)
    assert publish(registry) == registry.versions(1)[-1].version


def test_a_copy_that_rots_is_fetched_again(tmp_path: Path) -> None:
    registry = open_store("memory://", tmp_path)
    version = publish(registry)
    weights = registry.materialise(version) / WEIGHTS_FILE
    weights.write_bytes(b"rotten.")
    os.utime(weights, ns=(1, 1))
    assert verify_weights(registry.materialise(version)).read_bytes() == b"weights"


def test_what_is_damaged_in_the_store_never_becomes_a_copy(tmp_path: Path) -> None:
    registry = open_store("memory://", tmp_path)
    version = publish(registry)
    damage_object(registry, version, WEIGHTS_FILE)
    with pytest.raises(BadCheckpoint, match="its manifest says"):
        registry.materialise(version)
    assert not list((tmp_path / "objects").iterdir())


def test_a_file_that_is_gone_from_the_store_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    registry = open_store("memory://", tmp_path)
    version = publish(registry)
    registry._store.delete([f"objects/{registry._sha256(version)}/{MANIFEST_FILE}"])
    with pytest.raises(
        Unavailable, match=r"manifest.json is missing, though a pointer names it: is MODEL_DIR the same"
    ):
        registry.manifest(version)


def test_copies_stay_below_their_bound_and_the_latest_stay(tmp_path: Path) -> None:
    registry = open_store("memory://", tmp_path, mib=1)
    versions = [publish(registry, weights=bytes([number]) * 600_000) for number in range(3)]
    for version in versions:
        folder = registry.materialise(version)
        os.utime(folder, (time.time() - 7200 + folder.stat().st_size, time.time() - 7200))
    registry.materialise(versions[-1])
    left = {path.name for path in (tmp_path / "objects").iterdir()}
    assert left == {registry._sha256(versions[-1])}
    assert verify_weights(registry.materialise(versions[0])).stat().st_size == 600_000


def test_two_registries_on_one_prefix_see_the_same_and_another_prefix_does_not(tmp_path: Path) -> None:
    first = open_store("memory://", tmp_path / "first")
    second = ObjectRegistry(first._store.url, folder=tmp_path / "second", most_bytes=1 << 20)
    version = publish(first)
    first.promote(1, version, reason="better")
    assert second.champion(1) == first.champion(1)
    assert verify_weights(second.materialise(version)).read_bytes() == b"weights"
    assert open_store("memory://", tmp_path / "third").projects() == ()


def test_a_store_that_lost_its_decisions_is_not_an_empty_one(tmp_path: Path) -> None:
    registry = open_store("memory://", tmp_path)
    registry.promote(1, None, reason="first")
    assert registry.champion(1) is not None
    registry._store.delete(["refs/1/champion/000000001.json"])
    registry._pointers.refs.forget_listing()
    with pytest.raises(Unavailable, match=r"has lost decision 1 of project 1, .* is MODEL_DIR the same store"):
        registry.champion(1)


def test_a_publication_sweeps_once_a_day(tmp_path: Path) -> None:
    registry = open_store("memory://", tmp_path)
    publish(registry)
    swept_at = (tmp_path / "swept").stat().st_mtime_ns
    publish(registry)
    assert (tmp_path / "swept").stat().st_mtime_ns == swept_at
    os.utime(tmp_path / "swept", (0, 0))
    publish(registry)
    assert (tmp_path / "swept").stat().st_mtime > 0
