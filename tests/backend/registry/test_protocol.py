"""Whoever uses a registry depends on the protocol alone: a registry of another kind is served from as any other."""

from collections.abc import Callable
from pathlib import Path

from fakes.memory_registry import MemoryRegistry

from backend.registry.checkpoint import Manifest
from backend.sam.loading import BaseModel, decoder_bytes
from backend.serving.slot import ModelSlot


def test_a_toy_registry_is_served_from(
    tmp_path: Path, tiny_base: BaseModel, nudged: Callable[[int], bytes], manifest: Manifest
) -> None:
    registry = MemoryRegistry(tmp_path)
    slot = ModelSlot(tiny_base, registry)
    version = registry.publish(1, weights=nudged(5), manifest=manifest).version
    registry.promote(1, version, reason="better")
    assert slot.look() == (1,)
    assert slot.snapshot(1).version == version
    assert decoder_bytes(slot.snapshot(1).predictor.decoder) == nudged(5)
    registry.promote(1, None, reason="worse after all")
    assert slot.look() == (1,)
    assert slot.snapshot(1).version == tiny_base.name
