"""Loads the base model beside the running server, then serves and watches the registry."""

import logging
import threading
from dataclasses import dataclass

from backend.errors import SamloopError, Unavailable
from backend.files.watch import Watch
from backend.registry.local import Registry
from backend.sam.automatic import AutomaticRules
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.embeddings.memory import MemoryEmbeddings
from backend.sam.loading import BaseModel, base_version, load_base
from backend.serving.ahead import Prewarm
from backend.serving.batches import Machine, Preannotation
from backend.serving.clicks import Observer, Serving
from backend.serving.embedding_store import EmbeddingStore
from backend.serving.lanes import Lane, Lanes
from backend.serving.machine_share import share_of_machine, torch_threads
from backend.serving.slot import ModelSlot
from backend.serving.task_embeddings import TaskEmbeddings
from backend.serving.traffic import Traffic
from backend.settings import Settings

log = logging.getLogger(__name__)
_LONGEST_STOP_S = 5.0  # a Label Studio that does not answer is waited for no longer
_MOST_WORKERS = 8  # an encode takes up to 1 GB while it runs


@dataclass(frozen=True, slots=True)
class Loaded:
    """What stands once the base model is there."""

    serving: Serving
    slot: ModelSlot
    store: EmbeddingStore
    embeddings: TaskEmbeddings
    lanes: Lanes
    prewarm: Prewarm
    preannotation: Preannotation


class Engine:
    """The models of this process.

    Label Studio waits 1 s for /health and 3 s for /setup, and the first start converts weights for half a minute: so
    the base loads in a thread of its own, and until then the version that will be served is told from the registry.
    """

    def __init__(self, settings: Settings, *, registry: Registry, observer: Observer) -> None:
        self._settings, self._registry, self._observer = settings, registry, observer
        self._loaded: Loaded | None = None
        self._failure: SamloopError | None = None
        self._done = threading.Event()
        self._watch: Watch | None = None
        self._opening, self._stopped = threading.Lock(), False

    def start(self) -> None:
        """Begin to load."""
        threading.Thread(target=self._load, name="load-base", daemon=True).start()

    def stop(self) -> None:
        """Stop watching the registry, and let the lanes end; a base that is still being loaded opens nothing more."""
        with self._opening:
            self._stopped = True
        if self._watch is not None:
            self._watch.stop()
        if self._loaded is not None:
            self._loaded.prewarm.stop()
            self._loaded.lanes.close()
            self._loaded.prewarm.join(longest_s=_LONGEST_STOP_S)

    def _load(self) -> None:
        settings = self._settings
        try:
            base = load_base(
                settings.sam.model, cache_dir=settings.cache.dir, device=settings.sam.device, dtype=settings.sam.dtype
            )
            slot = ModelSlot(base, self._registry)
            slot.look()
            with self._opening:
                if self._stopped:
                    return
                self._loaded = self._open(base, slot)
                self._watch = Watch(slot.look, poll_s=settings.registry.poll_seconds).start()
            log.info("serving %s on %s", base.name, base.device, extra={"event": "base.loaded"})
        except SamloopError as failure:
            self._failure = failure
            log.error("the base model cannot be loaded: %s", failure, extra={"event": "base.failed"})  # noqa: TRY400 - the sentence is the whole story
        except Exception:
            self._failure = Unavailable("the base model cannot be loaded: the server's log has the traceback")
            log.exception("the base model cannot be loaded", extra={"event": "base.failed"})
        finally:
            self._done.set()

    def _open(self, base: BaseModel, slot: ModelSlot) -> Loaded:
        settings = self._settings
        lanes = open_lanes(base, settings)
        store = open_store(settings, lane=lanes.encode)
        embeddings = TaskEmbeddings(base=base, store=store, max_pixels=settings.image.pixels)
        serving = Serving(
            embeddings=embeddings,
            lanes=lanes,
            observer=self._observer,
            polygon_tolerance_px=settings.serving.polygon_tolerance_px,
            # On a CPU a click must not wait a second more for it unless somebody says so.
            refines=settings.serving.refine == "on"
            or (settings.serving.refine == "auto" and base.device.type != "cpu"),
        )
        prewarm = Prewarm(
            embeddings,
            traffic=lanes.traffic,
            ahead=settings.serving.prewarm,
            served=lambda project_id: slot.snapshot(project_id).predictor.base,
        ).start()
        batches = preannotation_of(settings, machine=serving, observer=self._observer)
        return Loaded(serving, slot, store, embeddings, lanes, prewarm, batches)

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


def open_lanes(base: BaseModel, settings: Settings) -> Lanes:
    """The lanes that this machine can bear: on a CPU a worker a core, on a GPU two, since its kernels queue anyway."""
    traffic = Traffic()
    cores = torch_threads()
    workers = min(_MOST_WORKERS, cores) if base.device.type == "cpu" else 2

    def lane(name: str, *, waiting: int) -> Lane:
        return Lane(name, workers=workers, waiting=waiting, cores=cores, traffic=traffic, during=share_of_machine)

    return Lanes(
        encode=lane("encode", waiting=settings.serving.waiting),
        decode=lane("decode", waiting=4 * settings.serving.waiting),
        traffic=traffic,
    )


def open_store(settings: Settings, *, lane: Lane) -> EmbeddingStore:
    """Embeddings in the tiers that the settings describe."""
    memory, disk = MemoryEmbeddings(settings.cache.mib << 20), DiskEmbeddings.of(settings)
    return EmbeddingStore(memory=memory, disk=disk, lane=lane)


def preannotation_of(settings: Settings, *, machine: Machine, observer: Observer) -> Preannotation:
    """What answers batches, as the settings have it."""
    rules = AutomaticRules(points=settings.serving.automatic_points, most=settings.serving.automatic_regions)
    return Preannotation(
        machine=machine,
        observer=observer,
        automatic=rules if settings.serving.automatic else None,
        seconds=settings.serving.batch_seconds,
        polygon_tolerance_px=settings.serving.polygon_tolerance_px,
    )
