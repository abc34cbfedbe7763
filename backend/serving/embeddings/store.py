"""One embedding an image, from the nearest tier: memory, disk, or the encoder, once however many ask."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import RLock

from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.embeddings.memory import EmbeddingKey, MemoryEmbeddings, halve, widen
from backend.sam.predictor import Embedding
from backend.serving.turns.job import Job
from backend.serving.turns.lanes import Lane
from backend.serving.turns.traffic import Priority

log = logging.getLogger(__name__)
_OTHER_PROCESS_S = 20.0


@dataclass(slots=True)
class Counts:
    """How often an embedding came from `memory` or `disk`, was `computed`, `joined` a computation, was `unwritten`."""

    memory: int = 0
    disk: int = 0
    computed: int = 0
    joined: int = 0
    unwritten: int = 0


class EmbeddingStore:
    """Embeddings in float32, rounded once to the float16 that memory and disk hold. For any number of threads.

    Args:
        memory: the first tier.
        disk: the second, shared with trainings and other servers.
        lane: where embeddings that neither tier has are computed.
    """

    def __init__(self, *, memory: MemoryEmbeddings, disk: DiskEmbeddings, lane: Lane) -> None:
        self.memory, self.disk = memory, disk
        self._lane = lane
        self._lock = RLock()  # a job that displaces another calls back from within `_job`
        self._computing: dict[EmbeddingKey, Job[Embedding]] = {}
        self.counts = Counts()

    @property
    def disk_bytes(self) -> int:
        """What the embeddings on disk take, those of other processes too."""
        return self.disk.usage_bytes()

    def __contains__(self, key: EmbeddingKey) -> bool:
        """Whether a tier has it; asking is no use of it."""
        return key in self.memory or key in self.disk

    def peek(self, key: EmbeddingKey) -> Embedding | None:
        """Return the embedding if a tier has it: for a caller that would first have to fetch the image."""
        if (embedding := self.memory.get(key)) is not None:
            self._count("memory")
        elif (embedding := self.disk.get(key)) is not None:
            self._count("disk")
            self.memory.put(key, embedding)
        return None if embedding is None else widen(embedding)

    def get(
        self,
        key: EmbeddingKey,
        compute: Callable[[], Embedding],
        *,
        priority: Priority,
        until_s: float,
        owner: int | None = None,
    ) -> Embedding:
        """Return the embedding from the nearest tier, or compute it in the lane: once, however many ask at once.

        Who asks while it is computed for somebody less urgent makes it as urgent as himself. `owner`: the project that
        asks, as `Lane.submit` takes it.

        Raises:
            Busy: the lane is full, or it was not computed by `until_s` (monotonic).
            Exception: what `compute` raised, to all who wait for it; the next call computes again.
        """
        if (embedding := self.peek(key)) is not None:
            return embedding
        job = self._job(key, compute, priority=priority, until_s=until_s, owner=owner)
        return widen(job.result(until_s=until_s))

    def _job(
        self,
        key: EmbeddingKey,
        compute: Callable[[], Embedding],
        *,
        priority: Priority,
        until_s: float,
        owner: int | None,
    ) -> Job[Embedding]:
        with self._lock:
            if (running := self._computing.get(key)) is None or running.done:
                job = self._lane.submit(
                    lambda: self._compute(key, compute), priority=priority, until_s=until_s, owner=owner
                )
                self._computing[key] = job
            else:
                self.counts.joined += 1
                running.hasten(priority, until_s=until_s)
                return running
        # Outside of the lock, for a job that is done already calls back at once. It also calls back when it is refused.
        job.when_done(lambda: self._forget(key, job))
        return job

    def _forget(self, key: EmbeddingKey, job: Job[Embedding]) -> None:
        with self._lock:
            if self._computing.get(key) is job:
                del self._computing[key]

    def _compute(self, key: EmbeddingKey, compute: Callable[[], Embedding]) -> Embedding:
        """In the lane. Looks into the tiers again: a job waits for its turn, and others do not sleep meanwhile."""
        if (embedding := self.memory.get(key)) is not None:
            return embedding
        with self.disk.alone(key, longest_s=_OTHER_PROCESS_S):
            if (embedding := self.disk.get(key)) is None:
                embedding = halve(compute())
                self._count("computed")
                self._write(key, embedding)
        self.memory.put(key, embedding)
        return embedding

    def _write(self, key: EmbeddingKey, embedding: Embedding) -> None:
        """A disk that is full costs a warning, and the next start an encode; never a request."""
        try:
            self.disk.put(key, embedding)
        except OSError as fault:
            self._count("unwritten")
            log.warning(
                "an embedding could not be kept on disk (%s): free some space, or set SAMLOOP_DISK_MIB lower",
                fault,
                extra={"event": "embedding.unwritten"},
            )

    def _count(self, tier: str) -> None:
        with self._lock:
            setattr(self.counts, tier, getattr(self.counts, tier) + 1)
