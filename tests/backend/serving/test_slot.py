"""The hot swap: beside, warm, by one assignment, with a real registry; what is bad never replaces what is good."""

import math
import shutil
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.object_store import open_store

from backend.errors import Unavailable
from backend.masks.prompt import Click, Prompt
from backend.registry.checkpoint import WEIGHTS_FILE, Manifest
from backend.registry.local import LocalRegistry
from backend.registry.objects.registry import ObjectRegistry
from backend.sam.loading import BaseModel, decoder_bytes
from backend.sam.predictor import Embedding
from backend.serving.slot import ModelSlot
from backend.serving.turns.traffic import Traffic

Publish = Callable[..., str]
Nudged = Callable[[int], bytes]


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    return LocalRegistry(tmp_path / "models")


@pytest.fixture
def slot(tiny_base: BaseModel, registry: LocalRegistry) -> ModelSlot:
    return ModelSlot(tiny_base, registry)


def break_weights(registry: LocalRegistry, version: str) -> None:
    path = registry.materialise(version) / WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_before_the_first_promotion_the_base_is_served(slot: ModelSlot, publish: Publish) -> None:
    publish(1)

    assert slot.look() == ()
    assert slot.snapshot(1).version == slot.snapshot(None).version == "tiny-sam"
    assert slot.snapshot(1).number == 0


def test_a_promoted_version_is_served_after_a_look(
    slot: ModelSlot, registry: LocalRegistry, publish: Publish, nudged: Nudged
) -> None:
    version = publish(1, seed=5)
    registry.promote(1, version, reason="better")

    assert slot.look() == (1,)

    served = slot.snapshot(1)
    assert (served.version, served.number, served.predictor.version) == (version, 1, version)
    assert decoder_bytes(served.predictor.decoder) == nudged(5)
    assert slot.look() == ()


def test_projects_have_their_own_lines_over_one_encoder(
    slot: ModelSlot, registry: LocalRegistry, publish: Publish
) -> None:
    first, second = publish(1, seed=1), publish(2, seed=2)
    registry.promote(1, first, reason="")
    registry.promote(2, second, reason="")

    assert slot.look() == (1, 2)
    assert [slot.snapshot(project).version for project in (1, 2, 3)] == [first, second, "tiny-sam"]
    assert slot.snapshot(1).predictor.base is slot.snapshot(2).predictor.base is slot.base


def test_a_rollback_to_the_base_and_to_a_version_is_a_swap_too(
    slot: ModelSlot, registry: LocalRegistry, publish: Publish
) -> None:
    version = publish(1)
    seen = []
    for target in (version, None, version):
        registry.promote(1, target, reason="")
        slot.look()
        seen.append((slot.snapshot(1).version, slot.snapshot(1).number))

    assert seen == [(version, 1), ("tiny-sam", 2), (version, 3)]
    assert slot.swaps == 3


def test_the_same_version_promoted_again_is_not_loaded_again(
    slot: ModelSlot, registry: LocalRegistry, publish: Publish
) -> None:
    version = publish(1)
    registry.promote(1, version, reason="")
    slot.look()
    predictor = slot.snapshot(1).predictor

    registry.promote(1, version, reason="again")
    slot.look()

    assert slot.snapshot(1).predictor is predictor
    assert slot.snapshot(1).number == 2


def test_a_corrupt_champion_is_refused_once_and_the_old_one_goes_on(
    slot: ModelSlot, registry: LocalRegistry, publish: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = publish(1, seed=1), publish(1, seed=2)
    registry.promote(1, good, reason="")
    slot.look()
    registry.promote(1, bad, reason="")
    break_weights(registry, bad)

    assert slot.look() == slot.look() == ()

    assert slot.snapshot(1).version == good
    assert list(slot.refused) == [bad]
    assert "sha256" in slot.refused[bad]
    assert (slot.list_refused(1), slot.list_refused(11)) == (slot.refused, {})
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 1


def test_after_a_refused_one_the_next_is_served(slot: ModelSlot, registry: LocalRegistry, publish: Publish) -> None:
    bad, good = publish(1, seed=1), publish(1, seed=2)
    registry.promote(1, bad, reason="")
    break_weights(registry, bad)
    slot.look()

    registry.promote(1, good, reason="")

    assert slot.look() == (1,)
    assert slot.snapshot(1).version == good


def test_a_server_that_starts_under_a_corrupt_champion_serves_the_one_before(
    tiny_base: BaseModel, registry: LocalRegistry, publish: Publish
) -> None:
    good, bad = publish(1, seed=1), publish(1, seed=2)
    for version in (good, bad):
        registry.promote(1, version, reason="")
    break_weights(registry, bad)

    started = ModelSlot(tiny_base, LocalRegistry(registry.root))
    started.look()

    assert (started.snapshot(1).version, started.snapshot(1).number) == (good, 1)
    assert list(started.refused) == [bad]
    assert started.look() == ()


def test_weights_of_another_base_are_refused(slot: ModelSlot, registry: LocalRegistry, publish: Publish) -> None:
    version = publish(1, base_fingerprint="0" * 64)
    registry.promote(1, version, reason="")

    slot.look()

    assert "set SAMLOOP_MODEL to its base" in slot.refused[version]
    assert slot.snapshot(1).version == "tiny-sam"


def test_finite_weights_that_overflow_are_refused_before_anyone_sees_them(
    slot: ModelSlot, registry: LocalRegistry, publish: Publish, nudged: Nudged
) -> None:
    """Fails without the look at what the warm-up predicts."""
    state = {name: torch.full_like(value, 1e30) for name, value in safetensors.torch.load(nudged(1)).items()}
    version = publish(1, weights=safetensors.torch.save(state))
    registry.promote(1, version, reason="")

    slot.look()

    assert "not finite" in slot.refused[version]
    assert slot.snapshot(1).version == "tiny-sam"


def test_one_projects_bad_checkpoint_does_not_stop_another(
    slot: ModelSlot, registry: LocalRegistry, publish: Publish
) -> None:
    bad, good = publish(1, seed=1), publish(2, seed=2)
    registry.promote(1, bad, reason="")
    registry.promote(2, good, reason="")
    break_weights(registry, bad)

    assert slot.look() == (2,)


def test_a_registry_that_is_away_changes_nothing(slot: ModelSlot, registry: LocalRegistry, publish: Publish) -> None:
    version = publish(1)
    registry.promote(1, version, reason="")
    slot.look()
    shutil.move(registry.root, away := registry.root.with_name("away"))

    with pytest.raises(Unavailable, match="is its disk mounted"):
        slot.look()

    assert slot.snapshot(1).version == version
    shutil.move(away, registry.root)
    assert slot.look() == ()


def test_weights_that_were_away_for_a_while_are_served_without_a_restart(
    tiny_base: BaseModel, registry: LocalRegistry, publish: Publish
) -> None:
    now = [0.0]
    slot = ModelSlot(tiny_base, registry, clock_s=lambda: now[0])
    version = publish(1)
    registry.promote(1, version, reason="")
    weights = registry.materialise(version) / WEIGHTS_FILE
    weights.rename(hidden := weights.with_suffix(".hidden"))

    with pytest.raises(Unavailable, match="is missing"):
        slot.look()

    assert (slot.refused, version in slot.away, slot.snapshot(1).version) == ({}, True, "tiny-sam")
    hidden.rename(weights)
    with pytest.raises(Unavailable, match="is missing"):
        slot.look()  # not read again at every look: it may be large, and its disk far away
    now[0] += 1.0
    assert slot.look() == (1,)
    assert (slot.snapshot(1).version, slot.away) == (version, {})


def test_a_server_that_starts_while_the_champion_is_away_serves_the_one_before_until_it_is_back(
    tiny_base: BaseModel, registry: LocalRegistry, publish: Publish
) -> None:
    now = [0.0]
    good, late = publish(1, seed=1), publish(1, seed=2)
    for version in (good, late):
        registry.promote(1, version, reason="")
    folder = registry.materialise(late)
    folder.rename(hidden := folder.with_name("hidden"))
    started = ModelSlot(tiny_base, LocalRegistry(registry.root), clock_s=lambda: now[0])

    started.look()

    assert (started.snapshot(1).version, late in started.away) == (good, True)
    hidden.rename(folder)
    now[0] += 1.0
    assert started.look() == (1,)
    assert (started.snapshot(1).version, started.away) == (late, {})


def test_a_version_that_was_refused_is_tried_again_once_it_is_promoted_again(
    slot: ModelSlot, registry: LocalRegistry, publish: Publish
) -> None:
    version = publish(1)
    registry.promote(1, version, reason="")
    weights = registry.materialise(version) / WEIGHTS_FILE
    whole = weights.read_bytes()
    break_weights(registry, version)
    slot.look()
    assert version in slot.refused
    weights.write_bytes(whole)
    assert slot.look() == ()

    registry.promote(1, version, reason="mended")

    assert slot.look() == (1,)
    assert (slot.snapshot(1).version, slot.refused) == (version, {})


def test_another_versions_files_under_this_name_are_refused(
    slot: ModelSlot, registry: LocalRegistry, publish: Publish
) -> None:
    """Fails without the look at the manifest that the pointer names."""
    version, other = publish(1, seed=1), publish(1, seed=2)
    registry.promote(1, version, reason="")
    shutil.rmtree(registry.materialise(version))
    shutil.copytree(registry.materialise(other), registry.materialise(version))

    slot.look()

    assert "its pointer says" in slot.refused[version]
    assert slot.snapshot(1).version == "tiny-sam"


def break_store(registry: ObjectRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Unavailable("the store does not answer")

    monkeypatch.setattr(registry._store, "_send", refuse)


def test_after_a_start_without_the_store_the_versions_that_this_machine_saw_last_are_served(
    tiny_base: BaseModel, manifest: Manifest, nudged: Nudged, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The latest whose copy is sound; and once the store answers, what it says."""
    registry = open_store("memory://", tmp_path / "cache")
    versions = [registry.publish(1, weights=nudged(seed), manifest=manifest).version for seed in (1, 2, 3)]
    before = ModelSlot(tiny_base, registry)
    for version in versions[:2]:
        registry.promote(1, version, reason="better")
        before.look()
    registry.promote(2, None, reason="the base is best")
    before.look()

    restarted = ObjectRegistry(registry._store.url, folder=tmp_path / "cache", most_bytes=1 << 30)
    slot = ModelSlot(tiny_base, restarted)
    with pytest.MonkeyPatch.context() as patch:
        break_store(restarted, patch)
        for _ in range(2):
            with pytest.raises(Unavailable, match="does not answer"):
                slot.look()
        served = slot.snapshot(1)
        assert (served.version, served.number) == (versions[1], 2)
        assert decoder_bytes(served.predictor.decoder) == nudged(2)
        assert slot.swaps == 2, "read once"
        told = f"the versions that this machine saw last serve project 1 by {versions[1]}, 2 by tiny-sam"
        assert told in slot.away["registry"]

        (registry.materialise(versions[1]) / WEIGHTS_FILE).write_bytes(b"rotten")
        older = ModelSlot(tiny_base, restarted)
        with pytest.raises(Unavailable, match="does not answer"):
            older.look()
        assert older.snapshot(1).version == versions[0]
        assert (older.refused, list(older.away)) == ({}, ["registry"])
        assert f"{versions[1]}: this machine has no copy of the version" in caplog.text

    registry.promote(1, versions[2], reason="better still")
    for back in (slot, older):
        back.look()
        assert (back.snapshot(1).version, back.away) == (versions[2], {})


def test_a_snapshot_taken_before_a_swap_stays_what_it_was(
    slot: ModelSlot, registry: LocalRegistry, publish: Publish, nudged: Nudged
) -> None:
    registry.promote(1, publish(1, seed=1), reason="")
    slot.look()
    taken = slot.snapshot(1)

    registry.promote(1, publish(1, seed=2), reason="")
    slot.look()

    assert decoder_bytes(taken.predictor.decoder) == nudged(1)
    assert slot.snapshot(1) is not taken


def test_a_version_is_loaded_between_clicks_and_served_under_clicks_without_end(
    tiny_base: BaseModel, registry: LocalRegistry, publish: Publish
) -> None:
    """Fails where a load takes the cores, or the interpreter, from a click."""
    registry.promote(1, publish(1), reason="better")
    traffic = Traffic()
    patient = ModelSlot(tiny_base, registry, traffic=traffic, patience_s=math.inf)
    with ThreadPoolExecutor(1) as pool, traffic.click():
        look = pool.submit(patient.look)
        with pytest.raises(TimeoutError):
            look.result(0.3)
    assert look.result(120) == (1,)
    with traffic.click():
        assert ModelSlot(tiny_base, registry, traffic=traffic, patience_s=0.05).look() == (1,)


def test_a_version_that_serves_no_more_is_freed(slot: ModelSlot, registry: LocalRegistry, publish: Publish) -> None:
    """Fails where anything holds on to a version: 200 swaps would take 200 decoders."""
    decoders = []
    for seed in (1, 2):
        registry.promote(1, publish(1, seed=seed), reason="")
        slot.look()
        decoders.append(weakref.ref(slot.snapshot(1).predictor.decoder))
    assert [decoder() is None for decoder in decoders] == [True, False]


def test_no_reader_ever_sees_a_version_with_anothers_masks(
    slot: ModelSlot, registry: LocalRegistry, publish: Publish, tiny_base: BaseModel
) -> None:
    """Readers decode all the time while versions are swapped; each reply is that of the version it names."""
    versions = [publish(1, seed=seed) for seed in range(3)]
    embedding = Embedding(features=torch.ones_like(tiny_base.image_positions), height_px=64, width_px=64)
    prompts = (Prompt(clicks=(Click(32.0, 32.0),)),)
    expected = {"tiny-sam": slot.snapshot(1).predictor.decode(embedding, prompts)[0].low_res_logits}
    for version in versions:
        registry.promote(1, version, reason="")
        slot.look()
        expected[version] = slot.snapshot(1).predictor.decode(embedding, prompts)[0].low_res_logits
    wrong, seen, stop = [], set(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            snapshot = slot.snapshot(1)
            (got,) = snapshot.predictor.decode(embedding, prompts)
            seen.add(snapshot.version)
            if abs(got.low_res_logits - expected[snapshot.version]).max() > 1e-3:
                wrong.append(snapshot.version)

    with ThreadPoolExecutor(4) as readers:
        reading = [readers.submit(read) for _ in range(4)]
        for turn in range(12):
            registry.promote(1, versions[turn % 3], reason="")
            slot.look()
        stop.set()
    assert [reader.exception() for reader in reading] == [None] * 4

    assert wrong == []
    assert len(seen) > 1
