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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import BadCheckpoint, BadInput, ChampionMoved, NotFound, Unavailable
from backend.ids import is_version_of
from backend.registry.checkpoint import MANIFEST_FILE, WEIGHTS_FILE, Manifest, verified_weights
from backend.registry.local import Pointer, Registry
from backend.registry.metrics import CheckpointMetrics

ROOT = Path(__file__).resolve().parents[3]
MANIFEST = Manifest(
    version="",
    project_id=None,
    base_model="mobile-sam",
    base_fingerprint="f" * 64,
    method="decoder",
    parent=None,
    data_digest="d" * 64,
    config={},
    metrics=CheckpointMetrics(),
    verdict={},
    excluded=(),
    created_at="2026-01-01T00:00:00+00:00",
    code_version="0.1.0",
)
PUBLISHER = """
import sys
from pathlib import Path
from backend.registry.checkpoint import Manifest
from backend.registry.local import Registry
from backend.registry.metrics import CheckpointMetrics
registry = Registry(Path(sys.argv[1]))
manifest = Manifest(
    version="", project_id=None, base_model="mobile-sam", base_fingerprint="f", method="decoder", parent=None,
    data_digest="d", config={}, metrics=CheckpointMetrics(), verdict={}, excluded=(),
    created_at=sys.argv[2], code_version="0",
)
weights = sys.argv[2].encode() * int(sys.argv[3])
print("ready", flush=True)
while True:
    version = registry.publish(1, weights=weights, manifest=manifest).version
    registry.promote(1, version, reason="better")
"""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry."""
    return Registry(tmp_path / "models")


def publish(registry: Registry, weights: bytes = b"weights", project_id: int = 1) -> str:
    """Publish and give the version's name."""
    return registry.publish(project_id, weights=weights, manifest=MANIFEST).version


def damaged(registry: Registry, version: str, file: str) -> None:
    """Change one byte of a published file."""
    path = registry.folder(version) / file
    path.write_bytes(path.read_bytes()[:-1] + b"X")


def test_a_published_version_reads_back(registry: Registry) -> None:
    """Its name tells base, project, number and the weights' digest; nothing is served before it is promoted."""
    manifest = registry.publish(7, weights=b"weights", manifest=MANIFEST)
    assert re.fullmatch(r"mobile-sam-p7-v1-[0-9a-f]{6}", manifest.version)
    assert manifest.files[WEIGHTS_FILE].sha256.startswith(manifest.version[-6:])
    assert registry.manifest(manifest.version) == manifest
    assert registry.versions(7) == (manifest,)
    assert verified_weights(registry.folder(manifest.version)).read_bytes() == b"weights"
    assert registry.champion(7) is None
    assert registry.projects() == (7,)


def test_files_beside_the_weights_are_published_with_them(registry: Registry) -> None:
    """A report is as immutable as the weights that it is about."""
    manifest = registry.publish(7, weights=b"weights", manifest=MANIFEST, others={"report.html": b"<p>"})
    folder = registry.folder(manifest.version)
    assert (folder / "report.html").read_bytes() == b"<p>"
    assert {path.name for path in folder.iterdir()} == {WEIGHTS_FILE, MANIFEST_FILE, "report.html"}
    registry.promote(7, manifest.version, reason="better")


def test_versions_count_up_and_stand_oldest_first(registry: Registry) -> None:
    """Each project has a line of its own, and the same bytes may be published twice."""
    names = [publish(registry, weights) for weights in (b"a", b"b", b"b")]
    publish(registry, project_id=2)
    assert [manifest.version for manifest in registry.versions(1)] == names
    assert [name.split("-")[3] for name in names] == ["v1", "v2", "v3"]
    assert len(registry.versions(2)) == 1


@settings(deadline=None)  # it writes to a disk, which may be busy
@given(base=st.text(max_size=120))
def test_any_base_model_gives_a_name_that_can_be_looked_up(tmp_path_factory: pytest.TempPathFactory, base: str) -> None:
    """Hub ids, paths and worse become file-safe."""
    registry = Registry(tmp_path_factory.mktemp("models"))
    manifest = registry.publish(1, weights=b"w", manifest=replace(MANIFEST, base_model=base))
    assert registry.manifest(manifest.version).base_model == base


def test_the_champion_is_the_latest_decision_and_rollback_is_a_new_one(registry: Registry) -> None:
    """Nothing is overwritten: the history holds them all."""
    first, second = publish(registry, b"a"), publish(registry, b"b")
    for version in (first, second, first, None):
        registry.promote(1, version, reason="because")
    assert [(each.number, each.version) for each in registry.history(1)] == [
        (1, first),
        (2, second),
        (3, first),
        (4, None),
    ]
    assert registry.champion(1) == registry.history(1)[-1]


def test_a_promotion_that_compared_with_another_champion_is_refused(registry: Registry) -> None:
    """Both compared with decision 1; the second would undo the first unseen."""
    version = publish(registry)
    assert registry.promote(1, version, reason="first", expected=0).number == 1
    assert registry.promote(1, None, reason="second", expected=1).number == 2
    for stale in (0, 1, 3):
        with pytest.raises(ChampionMoved, match=f"at decision 2, not {stale}"):
            registry.promote(1, version, reason="late", expected=stale)
    assert len(registry.history(1)) == 2


def test_of_promoters_that_decide_at_once_one_wins(registry: Registry) -> None:
    """Twelve at one barrier, in each of ten rounds."""
    version = publish(registry)
    for number in range(10):
        barrier = Barrier(12)

        def decide(who: int, number: int = number, barrier: Barrier = barrier) -> Pointer | None:
            barrier.wait()
            try:
                return registry.promote(1, version, reason=f"promoter {who}", expected=number)
            except ChampionMoved:
                return None

        with ThreadPoolExecutor(12) as pool:
            won = [pointer for pointer in pool.map(decide, range(12)) if pointer]
        assert won == [registry.champion(1)]


def test_publishers_at_once_each_get_a_number(registry: Registry) -> None:
    """Even of the very same bytes."""
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: publish(registry), range(24)))
    assert len(set(names)) == 24
    assert {manifest.version for manifest in registry.versions(1)} == set(names)
    assert all(verified_weights(registry.folder(name)) for name in names)


@pytest.mark.parametrize("megabytes", [0.001, 4])
def test_kill_9_of_a_publisher_leaves_everything_readable(tmp_path: Path, megabytes: float) -> None:
    """Rounds of kills: whatever a pointer names verifies, the numbers have no gaps, and the litter is swept."""
    registry = Registry(tmp_path)
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
        assert [int(each.version.split("-")[3][1:]) for each in versions] == list(range(1, len(versions) + 1))
        for manifest in versions[-5:]:
            verified_weights(registry.folder(manifest.version))
        assert [each.number for each in registry.history(1)] == list(range(1, len(registry.history(1)) + 1))
    assert registry.versions(1)
    registry.sweep(older_than_s=0.0)
    assert list((tmp_path / "staging").iterdir()) == []
    assert len(list((tmp_path / "objects").iterdir())) == len(registry.versions(1))
    assert publish(registry) == registry.versions(1)[-1].version


def test_a_full_disk_leaves_the_champion_as_it_was_and_says_so(tmp_path: Path) -> None:
    """The limit is the kernel's own, in a process of its own; nothing half-written stays."""
    registry = Registry(tmp_path)
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
    assert re.search(r"Unavailable: the registry .* File too large; what is served stays; free some space", done.stderr)
    assert registry.champion(1) == before
    assert len(registry.versions(1)) == 1
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_disk_without_hard_links_says_so(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
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
    registry = Registry(nobody / "models")
    version = publish(registry)
    registry.promote(1, version, reason="first")
    folders = [registry.root, *(path for path in registry.root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        for attempt in (lambda: publish(registry), lambda: registry.promote(1, None, reason="x")):
            with pytest.raises(
                Unavailable, match="cannot be written: Permission denied; what is served stays; make it"
            ):
                attempt()
        champion = registry.champion(1)
        assert champion is not None
        assert champion.version == version
        assert verified_weights(registry.folder(version)).exists()
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_registry_that_went_away_is_not_an_empty_one(registry: Registry, tmp_path: Path) -> None:
    """Neither a folder that is gone, nor the empty mount point under it, may turn every project back to its base."""
    version = publish(registry)
    registry.promote(1, version, reason="first")
    assert registry.champion(1) is not None
    registry.root.rename(tmp_path / "unmounted")
    for ask in (lambda: registry.champion(1), registry.projects, lambda: registry.folder(version)):
        with pytest.raises(Unavailable, match="is not there; is its disk mounted"):
            ask()
    registry.root.mkdir()
    with pytest.raises(Unavailable, match="has lost decision 1 of project 1"):
        registry.champion(1)
    registry.root.rmdir()
    (tmp_path / "unmounted").rename(registry.root)
    assert registry.champion(1) is not None


def test_a_registry_can_be_opened_where_nothing_can_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A server must come up with its base model while the disk is away."""
    (tmp_path / "file").touch()
    registry = Registry(tmp_path / "file" / "models")
    assert "is away" in caplog.text
    with pytest.raises(Unavailable, match="is not there"):
        registry.champion(1)


@pytest.mark.parametrize(
    "version",
    [
        "",
        "../../etc/passwd",
        "mobile-sam-p1-v1-0a1b2c/..",
        "/etc-p1-v1-0a1b2c",
        "mobile-sam-p0-v1-0a1b2c",
        "mobile-sam-p1-v1-0a1b2c\n",
        "mobile-sam-p1-v1-0A1B2C",
        "x" * 5000,
        "mobile-sam-p\u0661-v1-0a1b2c",
    ],
)
def test_a_version_that_is_no_name_is_refused_before_any_path_is_made(registry: Registry, version: str) -> None:
    """Versions come from clients."""
    for ask in (registry.folder, registry.manifest, lambda version: registry.promote(1, version, reason="x")):
        with pytest.raises(BadInput, match="is not the name of a version"):
            ask(version)


@pytest.mark.parametrize("project_id", [0, -1, True])
def test_a_project_id_that_is_none_is_refused(registry: Registry, project_id: int) -> None:
    """Ids are Label Studio's: from 1."""
    with pytest.raises(BadInput, match="not the number of a project"):
        registry.champion(project_id)


def test_a_version_that_was_never_published_is_not_found(registry: Registry) -> None:
    """Nor is one whose name differs in base or digest from that number's."""
    version = publish(registry)
    for absent in ("mobile-sam-p1-v9-000000", "mobile-sam-p9-v1-000000", f"other-{version}"):
        with pytest.raises(NotFound, match=f"there is no version {absent}; `samloop versions --project"):
            registry.manifest(absent)


def test_another_projects_version_is_not_promoted(registry: Registry) -> None:
    """It learned from other people's annotations."""
    with pytest.raises(BadInput, match="is not a version of project 2"):
        registry.promote(2, publish(registry), reason="x")


def test_a_damaged_version_is_not_promoted(registry: Registry) -> None:
    """Weights against their manifest, the manifest against its pointer."""
    for file, said in ((WEIGHTS_FILE, "its manifest says"), (MANIFEST_FILE, "its pointer says")):
        version = publish(registry, file.encode())
        damaged(registry, version, file)
        with pytest.raises(BadCheckpoint, match=said):
            registry.promote(1, version, reason="x")
    assert registry.champion(1) is None


def test_one_damaged_version_does_not_hide_the_others(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """The list leaves it out and the log says why."""
    good, bad = publish(registry, b"a"), publish(registry, b"b")
    damaged(registry, bad, MANIFEST_FILE)
    assert [manifest.version for manifest in registry.versions(1)] == [good]
    assert "version 2 of project 1 cannot be read" in caplog.text


@pytest.mark.parametrize("content", [b"", b"null", b"[" * 100_000, json.dumps({"version": 5}).encode()])
def test_a_pointer_that_is_none_of_ours_is_refused(registry: Registry, content: bytes) -> None:
    """Who serves keeps what is served."""
    registry.promote(1, publish(registry), reason="first")
    (registry.root / "refs" / "1" / "champion" / "000000002.json").write_bytes(content)
    with pytest.raises(BadCheckpoint, match=r"000000002.json is (not JSON|no pointer)|under 2 no pointer of ours"):
        registry.champion(1)


def test_files_that_are_no_pointers_do_not_count(registry: Registry) -> None:
    """Editors and file managers leave things behind."""
    registry.promote(1, publish(registry), reason="first")
    for name in (".DS_Store", "000000009.json~", "9.json", "1000000009.json"):
        (registry.root / "refs" / "1" / "champion" / name).touch()
    (registry.root / "refs" / "lost+found").mkdir()
    champion = registry.champion(1)
    assert champion is not None
    assert champion.number == 1
    assert registry.projects() == (1,)


def test_the_sweep_leaves_alone_what_is_young(registry: Registry) -> None:
    """It may be a publisher at work."""
    publish(registry)
    (registry.root / "staging" / "young").mkdir()
    assert registry.sweep() == 0
    assert registry.sweep(older_than_s=0.0) == 1


def test_another_projects_pointer_that_cannot_be_read_takes_nothing_from_a_new_version(registry: Registry) -> None:
    """And no object is deleted while it is not known what all pointers name."""
    version = publish(registry, project_id=1)
    (registry.root / "refs" / "1" / "versions" / "000000001.json").write_text("not ours")
    other = publish(registry, b"others", project_id=2)
    assert [each.version for each in registry.versions(2)] == [other]
    with pytest.raises(BadCheckpoint, match="is not JSON"):
        registry.sweep(older_than_s=0.0)
    assert len(list((registry.root / "objects").iterdir())) == 2, f"{version}'s object is still there"


def test_asking_for_projects_that_there_are_not_takes_no_memory(registry: Registry) -> None:
    for project_id in range(1, 100):
        assert registry.champion(project_id) is None
    assert registry._highest == {}


def test_whose_a_version_is_stands_at_the_end_of_its_name(registry: Registry) -> None:
    """The base may be a checkpoint of another project: SAMLOOP_MODEL takes one."""
    base = replace(MANIFEST, base_model="mobile-sam-p2-v3-abcdef")
    version = registry.publish(7, weights=b"weights", manifest=base).version
    assert version.startswith("mobile-sam-p2-v3-abcdef-p7-v1-")
    assert [project_id for project_id in (2, 3, 7) if is_version_of(version, project_id)] == [7]
    assert not is_version_of("mobile-sam", 7)
