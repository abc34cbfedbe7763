"""Where images are encoded and prompts decoded: lanes, tiers of embeddings, and the encoder behind them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.embeddings.memory import MemoryEmbeddings
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding
from backend.sam.refine import Crop
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
    """What clicks and batches compute with; both take their turns by priority."""

    def embed(
        self, image: TaskImage, *, snapshot: Snapshot, priority: Priority, until_s: float, crop: Crop | None = None
    ) -> Embedding:
        """The embedding of a task's image, or of a part of it (image px), as the snapshot's encoder sees it.

        `until_s` (monotonic) is when nobody waits for it any more.
        """

    def decode(self, work: Callable[[], T], *, priority: Priority, until_s: float, owner: int | None = None) -> T:
        """What the work, which runs the decoder, returns. `owner`: the project that asks."""


@dataclass(frozen=True, slots=True)
class ServerMachine:
    """The machine of a process that answers many at once. Safe for any number of threads.

    Attributes:
        lanes: where encoder and decoder run.
        store: embeddings in their tiers.
        embeddings: those of the tasks' images, by the encoder that projects share.
    """

    lanes: Lanes
    store: EmbeddingStore
    embeddings: TaskEmbeddings

    def embed(
        self, image: TaskImage, *, snapshot: Snapshot, priority: Priority, until_s: float, crop: Crop | None = None
    ) -> Embedding:
        """As `Machine.embed`, from the nearest tier. Raises as `TaskEmbeddings.of`."""
        embeddings = self.embeddings.by(snapshot.predictor.base)
        return embeddings.of(image, priority=priority, until_s=until_s, crop=crop)

    def decode(self, work: Callable[[], T], *, priority: Priority, until_s: float, owner: int | None = None) -> T:
        """As `Machine.decode`. Raises Busy, where it was not done in time, and what the work raised."""
        return self.lanes.decode.run(work, priority=priority, until_s=until_s, owner=owner)

    def drain(self) -> None:
        """Let what runs end, refuse images that wait or come; does not wait for it."""
        self.lanes.stop_encoding()

    def close(self) -> None:
        """Let what runs end, refuse what waits."""
        self.lanes.close()


def open_machine(base: BaseModel, settings: Settings, *, traffic: Traffic | None = None) -> ServerMachine:
    """Lanes, tiers and embeddings as the settings describe them; the caller closes the machine.

    Args:
        base: whose encoder it is.
        settings: sizes of the tiers, most requests that wait, and most pixels of an image.
        traffic: the clicks to make way for; None: traffic of its own.
    """
    lanes = _open_lanes(base, settings, traffic or Traffic())
    memory, disk = MemoryEmbeddings(settings.cache.mib << 20), DiskEmbeddings.of(settings)
    store = EmbeddingStore(memory=memory, disk=disk, lane=lanes.encode)
    embeddings = TaskEmbeddings(base=base, store=store, max_pixels=settings.image.pixels)
    return ServerMachine(lanes=lanes, store=store, embeddings=embeddings)


def _open_lanes(base: BaseModel, settings: Settings, traffic: Traffic) -> Lanes:
    """The lanes that this machine can bear: on a CPU a worker a core, on a GPU two, since its kernels queue anyway."""
    cores = torch_threads()
    workers = min(_MOST_WORKERS, cores) if base.device.type == "cpu" else 2

    def lane(name: str, *, waiting: int) -> Lane:
        return Lane(name, workers=workers, waiting=waiting, cores=cores, traffic=traffic, during=share_of_machine)

    return Lanes(
        encode=lane("encode", waiting=settings.serving.waiting),
        decode=lane("decode", waiting=4 * settings.serving.waiting),
        traffic=traffic,
    )
