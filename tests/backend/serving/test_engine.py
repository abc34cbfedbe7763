"""What the engine has started ends with it."""

import threading
from pathlib import Path
from typing import Any

import pytest
from support.waiting import SOON_S

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
