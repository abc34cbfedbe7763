"""What the engine has started ends with it."""

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from support.waiting import SOON_S, wait_until

from backend.errors import SamloopError
from backend.http.metrics import Metrics
from backend.registry.local import LocalRegistry
from backend.sam.loading import BaseModel, load_base
from backend.serving import engine
from backend.serving.engine import Engine
from backend.settings import Settings


@pytest.fixture
def made(tiny_sam_dir: Path, tmp_path: Path) -> Engine:
    settings = Settings(model=str(tiny_sam_dir), model_dir=tmp_path / "models", cache_dir=tmp_path / "cache")
    return Engine(settings, registry=LocalRegistry(settings.registry.model_dir), observer=Metrics())


def running() -> set[threading.Thread]:
    """All threads but tqdm's, which comes with the first bar of progress and stays."""
    return {thread for thread in threading.enumerate() if thread.name != "tqdm_monitor"}


def test_stopped_it_leaves_no_thread(made: Engine) -> None:
    before = running()
    made.start()
    made.wait(SOON_S)
    assert running() - before
    for thread in threading.enumerate():
        if thread.name == "load-base":
            thread.join(SOON_S)
    made.stop()
    assert not running() - before


def test_stopped_while_it_loads_it_opens_nothing_afterwards(made: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    before, loads, may_load = running(), threading.Event(), threading.Event()

    def slowly(*args: Any, **more: Any) -> BaseModel:
        loads.set()
        assert may_load.wait(SOON_S)
        return load_base(*args, **more)

    monkeypatch.setattr(engine, "load_base", slowly)
    made.start()
    assert loads.wait(SOON_S)
    made.stop()
    may_load.set()
    for thread in running() - before:
        thread.join(SOON_S)
    assert not running() - before
    assert made.loaded is None


def test_a_start_while_the_base_is_away_loads_it_once_it_is_back(tiny_sam_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    settings = Settings(model=str(folder), model_dir=tmp_path / "models", cache_dir=tmp_path / "cache")
    registry = LocalRegistry(settings.registry.model_dir)
    made = Engine(settings, registry=registry, observer=Metrics(), first_pause_s=0.05)
    made.start()
    with pytest.raises(SamloopError):
        made.wait(SOON_S)
    assert made.failure is not None

    shutil.copytree(tiny_sam_dir, tmp_path / "whole")
    (tmp_path / "whole").rename(folder)

    wait_until(lambda: made.loaded is not None)
    wait_until(lambda: made.failure is None)
    made.stop()


def test_a_start_while_the_registry_is_away_serves_the_base_and_says_what_it_waits_for(
    made: Engine, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "models")
    made.start()
    loaded = made.wait(SOON_S)
    assert loaded.slot.snapshot(1).number == 0
    assert "is its disk mounted" in loaded.slot.away["registry"]

    (tmp_path / "models").mkdir()

    wait_until(lambda: not loaded.slot.away)
    made.stop()


def test_what_was_decided_is_served_at_once_when_somebody_asks_for_it(tiny_sam_dir: Path, tmp_path: Path) -> None:
    settings = Settings(
        model=str(tiny_sam_dir), model_dir=tmp_path / "models", cache_dir=tmp_path / "cache", poll_seconds=60
    )
    registry = LocalRegistry(settings.registry.model_dir)
    made = Engine(settings, registry=registry, observer=Metrics())
    made.look()  # while nothing is loaded: nothing
    made.start()
    try:
        base = made.wait(SOON_S).slot.base.name
        decided = registry.promote(7, None, reason="as at first")
        made.look()
        assert made.loaded is not None
        snapshot = made.loaded.slot.snapshot(7)
        assert (snapshot.version, snapshot.number) == (base, decided.number)
    finally:
        made.stop()
