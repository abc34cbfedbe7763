"""One contract for every kind of registry: on a disk, in object stores, and a toy in dictionaries.

The stores are fsspec's memory and S3; Google's and Azure's too, where `make stores` has installed their emulators.
"""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
from fakes.memory_registry import MemoryRegistry
from support.checkpoints import make_manifest
from support.object_store import damage_object, open_store
from support.other_stores import OTHER_STORES

from backend.errors import BadCheckpoint, BadInput, ChampionMoved, LeaseLost, NotFound
from backend.ids import VersionName, is_version_of
from backend.registry.checkpoint import MANIFEST_FILE, WEIGHTS_FILE, verify_weights
from backend.registry.local import LocalRegistry
from backend.registry.lookup import find_version
from backend.registry.objects.lines import BLOCK
from backend.registry.objects.registry import ObjectRegistry
from backend.registry.protocol import Pointer, Registry

KINDS: dict[str, Callable[[Path], Registry]] = {
    "local": LocalRegistry,
    "toy": MemoryRegistry,
    "memory": lambda folder: open_store("memory://", folder),
}
MANIFEST = make_manifest()


@pytest.fixture(params=[*KINDS, "s3_url", *OTHER_STORES])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    """An empty registry of each kind."""
    if request.param in KINDS:
        return KINDS[request.param](tmp_path / "models")
    return open_store(request.getfixturevalue(request.param), tmp_path / "models")


def publish(registry: Registry, weights: bytes = b"weights", project_id: int = 1) -> str:
    """Publish and give the version's name."""
    return registry.publish(project_id, weights=weights, manifest=MANIFEST).version


def damage(registry: Registry, version: str, file: str) -> None:
    """Change one byte of a published file."""
    if isinstance(registry, ObjectRegistry):
        damage_object(registry, version, file)
        return
    path = registry.materialise(version) / file
    path.write_bytes(path.read_bytes()[:-1] + b"X")


def test_it_is_a_registry(registry: Registry) -> None:
    assert isinstance(registry, Registry)


def test_the_folder_for_what_changes_is_the_same_at_every_look(registry: Registry) -> None:
    state = registry.state_dir
    assert state == registry.state_dir
    assert {state.live.parent, state.review.parent, state.unfinished.parent} == {state.root}
    assert len({state.live, state.review, state.unfinished}) == 3


@pytest.mark.parametrize("base", ["", "facebook/sam-vit-base", "/models/my base", "..", "x" * 200, "ünï-p1-v1-000000"])
def test_any_base_model_gives_a_name_that_can_be_looked_up(registry: Registry, base: str) -> None:
    """Hub ids, paths and worse become file-safe."""
    manifest = registry.publish(1, weights=b"w", manifest=replace(MANIFEST, base_model=base))
    assert registry.manifest(manifest.version).base_model == base


def test_a_version_is_found_by_the_short_name_that_pages_show(registry: Registry) -> None:
    version, other = publish(registry, b"a"), publish(registry, b"a", project_id=2)
    short = VersionName.parse(version).short
    assert find_version(registry, short, project_id=1) == version
    assert find_version(registry, short, project_id=2) == other
    assert find_version(registry, version, project_id=1) == version
    with pytest.raises(NotFound, match="project 1 has no version v9-000000; `samloop versions --project 1` lists them"):
        find_version(registry, "v9-000000", project_id=1)


def test_a_published_version_reads_back(registry: Registry) -> None:
    """Its name tells base, project, number and the weights' digest; nothing is served before it is promoted."""
    manifest = registry.publish(7, weights=b"weights", manifest=MANIFEST)
    assert re.fullmatch(r"mobile-sam-p7-v1-[0-9a-f]{6}", manifest.version)
    assert manifest.files[WEIGHTS_FILE].sha256.startswith(manifest.version[-6:])
    assert registry.manifest(manifest.version) == manifest
    assert registry.versions(7) == (manifest,)
    assert verify_weights(registry.materialise(manifest.version)).read_bytes() == b"weights"
    assert registry.champion(7) is None
    assert registry.projects() == (7,)


def test_whoever_is_fenced_off_while_its_files_are_stored_publishes_nothing(registry: Registry) -> None:
    """A worker that lost its lease during the upload.

    Fails without the fence between the files and the number.
    """

    def refuse() -> None:
        raise LeaseLost("another run has taken its place")

    with pytest.raises(LeaseLost):
        registry.publish(7, weights=b"weights", manifest=MANIFEST, fence=refuse)
    assert registry.versions(7) == ()
    assert registry.publish(7, weights=b"weights", manifest=MANIFEST).version.startswith("mobile-sam-p7-v1-")


def test_files_beside_the_weights_are_published_with_them(registry: Registry) -> None:
    """A report is as immutable as the weights that it is about."""
    manifest = registry.publish(7, weights=b"weights", manifest=MANIFEST, others={"report.html": b"<p>"})
    folder = registry.materialise(manifest.version)
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


def test_the_champion_is_the_latest_decision_and_rollback_is_a_new_one(registry: Registry) -> None:
    """Nothing is overwritten: the history holds them all."""
    first, second = publish(registry, b"a"), publish(registry, b"b")
    for version in (first, second, first, None):
        registry.promote(1, version, reason="because")
    assert [(decision.number, decision.version) for decision in registry.history(1)] == [
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
    """Twelve at one barrier, ten rounds long; three where every step is a request."""
    version = publish(registry)
    for number in range(3 if isinstance(registry, ObjectRegistry) else 10):
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
    count = 8 if isinstance(registry, ObjectRegistry) else 24
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: publish(registry), range(count)))
    assert len(set(names)) == count
    assert {manifest.version for manifest in registry.versions(1)} == set(names)
    assert all(verify_weights(registry.materialise(name)) for name in names)


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
    for ask in (registry.materialise, registry.manifest, lambda version: registry.promote(1, version, reason="x")):
        with pytest.raises(BadInput, match="is not the name of a version"):
            ask(version)


@pytest.mark.parametrize("project_id", [0, -1, True])
def test_a_project_id_that_is_none_is_refused(registry: Registry, project_id: int) -> None:
    """Ids are Label Studio's: from 1."""
    with pytest.raises(BadInput, match="not a project's number"):
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
    for file in (WEIGHTS_FILE, MANIFEST_FILE):
        version = publish(registry, file.encode())
        damage(registry, version, file)
        with pytest.raises(BadCheckpoint, match="manifest"):
            registry.promote(1, version, reason="x")
    assert registry.champion(1) is None


def test_one_damaged_version_does_not_hide_the_others(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """The list leaves it out and the log says why."""
    good, bad = publish(registry, b"a"), publish(registry, b"b")
    damage(registry, bad, MANIFEST_FILE)
    assert [manifest.version for manifest in registry.versions(1)] == [good]
    assert "version 2 of project 1 cannot be read" in caplog.text


def test_a_sweep_takes_nothing_that_was_published(registry: Registry) -> None:
    version = publish(registry)
    registry.promote(1, version, reason="first")
    assert registry.sweep(older_than_s=0.0) == 0
    assert verify_weights(registry.materialise(version)).read_bytes() == b"weights"


def test_a_sweep_leaves_every_line_of_the_state_once_and_in_its_order(registry: Registry) -> None:
    """A store has an object for every appended line, and a sweep makes one of a hundred."""
    state = registry.state_dir
    path = state.live / "7" / "annotations.jsonl"
    path.parent.mkdir(parents=True)
    for number in range(BLOCK + 1):
        state.sharing.append(path, [number], is_synced=False)

    registry.sweep()
    state.sharing.append(path, ["after"], is_synced=False)
    if isinstance(registry, ObjectRegistry):
        assert len(registry._store.list_objects("state/live/7")) == 3
        for left in path.parent.iterdir():  # what a new machine lacks
            left.unlink()

    state.sharing.refresh(path)
    assert path.read_text().split() == [*map(str, range(BLOCK + 1)), '"after"']


def test_whose_a_version_is_stands_at_the_end_of_its_name(registry: Registry) -> None:
    """The base may be a checkpoint of another project: SAMLOOP_MODEL takes one."""
    base = replace(MANIFEST, base_model="mobile-sam-p2-v3-abcdef")
    version = registry.publish(7, weights=b"weights", manifest=base).version
    assert version.startswith("mobile-sam-p2-v3-abcdef-p7-v1-")
    assert [project_id for project_id in (2, 3, 7) if is_version_of(version, project_id)] == [7]
    assert not is_version_of("mobile-sam", 7)
