"""Loads the base model while the server already runs, then serves it and watches the registry."""

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
from backend.serving.turns.traffic import Traffic
from backend.settings import Settings

log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_LONGEST_STOP_S = 5.0  # embedding ahead may wait for a Label Studio that does not answer


class Observer(ClickObserver, BatchObserver, Protocol):
    """Hears of clicks and batches; in production, the metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Everything that needs the base model."""

    clicks: Clicks
    batches: Batches
    slot: ModelSlot
    machine: ServerMachine
    prewarm: Prewarm
    arithmetic: str  # of the encoder, as `Arithmetic.name`

    @property
    def lanes(self) -> Lanes:
        """The lanes that encoder and decoder run in."""
        return self.machine.lanes

    @property
    def store(self) -> EmbeddingStore:
        """The tiers of embeddings."""
        return self.machine.store


class Engine:
    """The models of this process.

    Label Studio waits 1 s for /health and 3 s for /setup, but the first start converts weights for half a minute. So
    the base model loads in a thread of its own; until then, the registry names the version that will be served.

    Args:
        settings: name the base model.
        registry: names the versions.
        observer: counts what is done.
        first_pause_s: the pause before a base model that cannot be loaded is tried again, s; later pauses are longer.
    """

    def __init__(
        self, settings: Settings, *, registry: Registry, observer: Observer, first_pause_s: float = _FIRST_PAUSE_S
    ) -> None:
        self._first_pause_s = first_pause_s
        self._settings, self._registry, self._observer = settings, registry, observer
        self._loaded: Loaded | None = None
        self._failure: SamloopError | None = None
        self._done = threading.Event()
        self._watch: Watch | None = None
        self._opening, self._stopping = threading.Lock(), threading.Event()

    def start(self) -> None:
        """Begin to load. Does not wait."""
        threading.Thread(target=self._load, name="load-base", daemon=True).start()

    def drain(self) -> None:
        """The server stops: finish the images being encoded, and refuse waiting and new ones. Does not wait."""
        self._stopping.set()
        if self._loaded is not None:
            self._loaded.machine.drain()

    def stop(self) -> None:
        """Stop watching the registry, and close the lanes. A base model that is still loading will not be served."""
        with self._opening:
            self._stopping.set()
        if self._watch is not None:
            self._watch.stop()
        if self._loaded is not None:
            self._loaded.prewarm.stop()
            self._loaded.machine.close()
            self._loaded.prewarm.join(longest_s=_LONGEST_STOP_S)

    def _load(self) -> None:
        """Load until it succeeds: a disk or network with the weights may come back, and nobody restarts the server."""
        pause_s = self._first_pause_s
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
            self._done.set()  # callers get the reason now, and need not wait for a later success
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
        traffic = Traffic()
        slot = ModelSlot(base, self._registry, traffic=traffic)
        try:
            slot.look()
        except (NotFound, Unavailable) as fault:
            # Projects that can be served are served; the watch looks again for the others.
            log.warning("a part of the registry cannot be read: %s", fault, extra={"event": "registry.away"})
        with self._opening:
            if self._stopping.is_set():
                return
            self._loaded = self._open(base, slot, traffic=traffic)
            self._watch = Watch(slot.look, poll_s=settings.registry.poll_seconds).start()
        log.info("serving %s on %s in %s", base.name, base.device, base.arithmetic.name, extra={"event": "base.loaded"})

    def _open(self, base: BaseModel, slot: ModelSlot, *, traffic: Traffic) -> Loaded:
        settings = self._settings
        machine = open_machine(base, settings, traffic=traffic)
        clicks = Clicks(
            machine=machine,
            traffic=traffic,
            observer=self._observer,
            polygon_tolerance_px=settings.serving.polygon_tolerance_px,
            specks_px=settings.serving.specks_px,
            # On a CPU it costs a second a click, so only an explicit setting turns it on.
            refines=settings.serving.refine == "on"
            or (settings.serving.refine == "auto" and base.device.type != "cpu"),
        )
        prewarm = Prewarm(
            machine.embeddings,
            traffic=traffic,
            ahead=settings.serving.prewarm,
            served=lambda project_id: slot.snapshot(project_id).predictor,
        ).start()
        batches = _open_batches(settings, machine=machine, observer=self._observer)
        return Loaded(
            clicks=clicks,
            batches=batches,
            slot=slot,
            machine=machine,
            prewarm=prewarm,
            arithmetic=base.arithmetic.name,
        )

    def look(self) -> None:
        """Serve the latest decisions now instead of at the next poll. Unreadable parts are left to the poll."""
        if self._loaded is not None:
            with suppress(NotFound, Unavailable):
                self._loaded.slot.look()

    @property
    def loaded(self) -> Loaded | None:
        """Everything that serves; None while the base model loads."""
        return self._loaded

    @property
    def failure(self) -> SamloopError | None:
        """Why the base model could not be loaded; None without a failure."""
        return self._failure

    def wait(self, timeout_s: float = 60.0) -> Loaded:
        """Wait for the base model, and return everything that serves.

        Raises:
            Unavailable: the base model is still loading after `timeout_s`.
            SamloopError: the base model could not be loaded.
        """
        self._done.wait(timeout_s)
        if self._loaded is not None:
            return self._loaded
        raise self._failure or Unavailable("the base model is still loading: try again in a minute")

    def version(self, project_id: int | None) -> str:
        """Return the `model_version` of the project's predictions now. Never waits."""
        if self._loaded is not None:
            return self._loaded.slot.snapshot(project_id).version
        champion = self._registry.champion(project_id) if project_id is not None else None
        return (champion and champion.version) or base_version(
            self._settings.sam.model, device=self._settings.sam.device
        )


def _open_batches(settings: Settings, *, machine: Machine, observer: Observer) -> Batches:
    """Make the object that answers batches, by the settings."""
    rules = AutomaticRules(points=settings.serving.automatic_points, most=settings.serving.automatic_regions)
    return Batches(
        machine=machine,
        observer=observer,
        automatic=rules if settings.serving.automatic else None,
        seconds=settings.serving.batch_seconds,
        polygon_tolerance_px=settings.serving.polygon_tolerance_px,
        specks_px=settings.serving.specks_px,
    )
