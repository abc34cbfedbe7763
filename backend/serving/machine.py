"""Encodes images and decodes prompts: lanes, tiers of embeddings, and the encoder behind them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

from backend.masks.crop import Crop
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.embeddings.memory import MemoryEmbeddings
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding
from backend.serving.embeddings.store import EmbeddingStore
from backend.serving.embeddings.task_embeddings import TaskEmbeddings
from backend.serving.slot import Snapshot
from backend.serving.task_image import TaskImage
from backend.serving.turns.lanes import Lane, Lanes
from backend.serving.turns.machine_share import share_of_machine, torch_threads
from backend.serving.turns.traffic import Priority, Traffic
from backend.settings import Settings

_MOST_WORKERS = 8  # an encode takes up to 1 GB while it runs
T = TypeVar("T")


class Machine(Protocol):
    """Encodes and decodes for clicks and batches, by priority."""

    def embed(
        self, image: TaskImage, *, snapshot: Snapshot, priority: Priority, until_s: float, crop: Crop | None = None
    ) -> Embedding:
        """Embed a task's image, or a part of it (image px), with the snapshot's encoder.

        Where the base may have to answer instead of an adapter's version, the image's embedding has `by_base`.
        `until_s` (monotonic) is when nobody waits for the embedding any more.
        """

    def decode(self, work: Callable[[], T], *, priority: Priority, until_s: float, owner: int | None = None) -> T:
        """Run `work`, which uses the decoder, and return its result. `owner`: the project that asks."""


@dataclass(frozen=True, slots=True)
class ServerMachine:
    """The machine of a process that answers many at once. Safe for any number of threads.

    Attributes:
        lanes: run encoder and decoder.
        store: the tiers of embeddings.
        embeddings: embeds tasks' images with the encoder that projects share.
    """

    lanes: Lanes
    store: EmbeddingStore
    embeddings: TaskEmbeddings

    def embed(
        self, image: TaskImage, *, snapshot: Snapshot, priority: Priority, until_s: float, crop: Crop | None = None
    ) -> Embedding:
        """As `Machine.embed`, from the nearest tier. Raises as `TaskEmbeddings.of`."""
        predictor = snapshot.predictor
        embedding = self.embeddings.by(predictor.base).of(image, priority=priority, until_s=until_s, crop=crop)
        if crop is not None or predictor.outside is None:
            return embedding
        plain = self.embeddings.by(predictor.outside.predictor.base)
        return replace(embedding, by_base=partial(plain.of, image, priority=priority, until_s=until_s))

    def decode(self, work: Callable[[], T], *, priority: Priority, until_s: float, owner: int | None = None) -> T:
        """As `Machine.decode`. Raises Busy if the work was not done in time, and whatever the work raises."""
        return self.lanes.decode.run(work, priority=priority, until_s=until_s, owner=owner)

    def drain(self) -> None:
        """Finish the images being encoded, and refuse waiting and new ones. Does not wait."""
        self.lanes.stop_encoding()

    def close(self) -> None:
        """Finish the running jobs, and refuse those that wait."""
        self.lanes.close()


def open_machine(base: BaseModel, settings: Settings, *, traffic: Traffic | None = None) -> ServerMachine:
    """Make a machine by the settings. The caller closes it.

    Args:
        base: the model with the encoder.
        settings: the sizes of the tiers, the length of the queues, and the largest image.
        traffic: the clicks that other work waits for; None counts its own.
    """
    lanes = _open_lanes(base, settings, traffic or Traffic())
    memory, disk = MemoryEmbeddings(settings.cache.mib << 20), DiskEmbeddings.of(settings)
    store = EmbeddingStore(memory=memory, disk=disk, lane=lanes.encode)
    embeddings = TaskEmbeddings(base=base, store=store, max_pixels=settings.image.pixels)
    return ServerMachine(lanes=lanes, store=store, embeddings=embeddings)


def _open_lanes(base: BaseModel, settings: Settings, traffic: Traffic) -> Lanes:
    """Make lanes for this machine: one worker per core on a CPU, two on a GPU, whose kernels queue anyway."""
    cores = torch_threads()
    workers = min(_MOST_WORKERS, cores) if base.device.type == "cpu" else 2

    def lane(name: str, *, waiting: int) -> Lane:
        return Lane(name, workers=workers, waiting=waiting, cores=cores, traffic=traffic, during=share_of_machine)

    return Lanes(
        encode=lane("encode", waiting=settings.serving.waiting),
        decode=lane("decode", waiting=4 * settings.serving.waiting),
        traffic=traffic,
    )
