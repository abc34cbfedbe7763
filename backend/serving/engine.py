"""Loads the base model beside the running server, then serves and watches the registry."""

import logging
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from backend.errors import BadCheckpoint, NotFound, SamloopError, SettingsError, Unavailable
from backend.files.watch import Watch
from backend.registry.protocol import Registry
from backend.sam.automatic import AutomaticRules
from backend.sam.loading import BaseModel, base_version, load_base
from backend.serving.ahead import Prewarm
from backend.serving.batches import Batches
from backend.serving.batches import Observer as BatchObserver
from backend.serving.clicks import Clicks
from backend.serving.clicks import Observer as ClickObserver
from backend.serving.embeddings.store import EmbeddingStore
from backend.serving.machine import Machine, ServerMachine, open_machine
from backend.serving.slot import ModelSlot
from backend.serving.turns.lanes import Lanes
from backend.settings import Settings

log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_LONGEST_STOP_S = 5.0  # a Label Studio that does not answer is waited for no longer


class Observer(ClickObserver, BatchObserver, Protocol):
    """Hears of clicks and of batches: metrics, in production."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What stands once the base model is there."""

    clicks: Clicks
    batches: Batches
    slot: ModelSlot
    machine: ServerMachine
    prewarm: Prewarm

    @property
    def lanes(self) -> Lanes:
        """Where encoder and decoder run."""
        return self.machine.lanes

    @property
    def store(self) -> EmbeddingStore:
        """Embeddings in their tiers."""
        return self.machine.store


class Engine:
    """The models of this process.

    Label Studio waits 1 s for /health and 3 s for /setup, and the first start converts weights for half a minute: so
    the base loads in a thread of its own, and until then the registry tells the version that will be served.
    """

    def __init__(self, settings: Settings, *, registry: Registry, observer: Observer) -> None:
        self._settings, self._registry, self._observer = settings, registry, observer
        self._loaded: Loaded | None = None
        self._failure: SamloopError | None = None
        self._done = threading.Event()
        self._watch: Watch | None = None
        self._opening, self._stopping = threading.Lock(), threading.Event()

    def start(self) -> None:
        """Begin to load."""
        threading.Thread(target=self._load, name="load-base", daemon=True).start()

    def drain(self) -> None:
        """Let what runs end, and refuse images that wait or come: the server stops. Does not wait."""
        self._stopping.set()
        if self._loaded is not None:
            self._loaded.machine.drain()

    def stop(self) -> None:
        """Stop watching the registry, and let the lanes end; a base that is still being loaded opens nothing more."""
        with self._opening:
            self._stopping.set()
        if self._watch is not None:
            self._watch.stop()
        if self._loaded is not None:
            self._loaded.prewarm.stop()
            self._loaded.machine.close()
            self._loaded.prewarm.join(longest_s=_LONGEST_STOP_S)

    def _load(self) -> None:
        """Load until it succeeds: weights on a disk or a network that is away may come back, and nobody restarts us."""
        pause_s = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                self._try_to_load()
            except (SettingsError, BadCheckpoint) as failure:
                self._fail(failure)
                return
            except SamloopError as failure:
                self._fail(failure)
            except Exception:
                self._failure = Unavailable("the base model cannot be loaded: the server's log has the traceback")
                log.exception("the base model cannot be loaded", extra={"event": "base.failed"})
            else:
                self._failure = None
                self._done.set()
                return
            self._done.set()  # whoever waits is told the reason, and not kept until it succeeds
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._done.set()

    def _fail(self, failure: SamloopError) -> None:
        if str(failure) != str(self._failure):
            log.error("the base model cannot be loaded: %s", failure, extra={"event": "base.failed"})
        self._failure = failure
        self._done.set()

    def _try_to_load(self) -> None:
        settings = self._settings
        base = load_base(
            settings.sam.model, cache_dir=settings.cache.dir, device=settings.sam.device, dtype=settings.sam.dtype
        )
        slot = ModelSlot(base, self._registry)
        try:
            slot.look()
        except (NotFound, Unavailable) as fault:
            # What can be served is served; the watch looks again until all of it is there.
            log.warning("a part of the registry is away: %s", fault, extra={"event": "registry.away"})
        with self._opening:
            if self._stopping.is_set():
                return
            self._loaded = self._open(base, slot)
            self._watch = Watch(slot.look, poll_s=settings.registry.poll_seconds).start()
        log.info("serving %s on %s", base.name, base.device, extra={"event": "base.loaded"})

    def _open(self, base: BaseModel, slot: ModelSlot) -> Loaded:
        settings = self._settings
        machine = open_machine(base, settings)
        clicks = Clicks(
            machine=machine,
            traffic=machine.lanes.traffic,
            observer=self._observer,
            polygon_tolerance_px=settings.serving.polygon_tolerance_px,
            specks_px=settings.serving.specks_px,
            # On a CPU a click must not wait a second more for it unless somebody says so.
            refines=settings.serving.refine == "on"
            or (settings.serving.refine == "auto" and base.device.type != "cpu"),
        )
        prewarm = Prewarm(
            machine.embeddings,
            traffic=machine.lanes.traffic,
            ahead=settings.serving.prewarm,
            served=lambda project_id: slot.snapshot(project_id).predictor.base,
        ).start()
        batches = _open_batches(settings, machine=machine, observer=self._observer)
        return Loaded(clicks=clicks, batches=batches, slot=slot, machine=machine, prewarm=prewarm)

    def look(self) -> None:
        """Serve what was decided now, not at the next poll; a part of the registry that is away is left to the poll."""
        if self._loaded is not None:
            with suppress(NotFound, Unavailable):
                self._loaded.slot.look()

    @property
    def loaded(self) -> Loaded | None:
        """What serves, or None while the base loads."""
        return self._loaded

    @property
    def failure(self) -> SamloopError | None:
        """Why the base could not be loaded."""
        return self._failure

    def wait(self, timeout_s: float = 60.0) -> Loaded:
        """What serves; waits while the base loads.

        Raises:
            Unavailable: it is still loading after `timeout_s`.
            SamloopError: it could not be loaded.
        """
        self._done.wait(timeout_s)
        if self._loaded is not None:
            return self._loaded
        raise self._failure or Unavailable("the base model is still loading: try again in a minute")

    def version(self, project_id: int | None) -> str:
        """The `model_version` that a prediction of this project carries now. Never waits."""
        if self._loaded is not None:
            return self._loaded.slot.snapshot(project_id).version
        champion = self._registry.champion(project_id) if project_id is not None else None
        return (champion and champion.version) or base_version(
            self._settings.sam.model, device=self._settings.sam.device
        )


def _open_batches(settings: Settings, *, machine: Machine, observer: Observer) -> Batches:
    """What answers batches, as the settings have it."""
    rules = AutomaticRules(points=settings.serving.automatic_points, most=settings.serving.automatic_regions)
    return Batches(
        machine=machine,
        observer=observer,
        automatic=rules if settings.serving.automatic else None,
        seconds=settings.serving.batch_seconds,
        polygon_tolerance_px=settings.serving.polygon_tolerance_px,
        specks_px=settings.serving.specks_px,
    )
