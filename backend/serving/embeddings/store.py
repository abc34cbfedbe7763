"""An image's embedding from the nearest tier: memory, disk, or the encoder. It is computed once for all who ask."""

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
    """Embeddings from `memory`, from `disk`, `computed`, of a `joined` computation, and `unwritten` to disk."""

    memory: int = 0
    disk: int = 0
    computed: int = 0
    joined: int = 0
    unwritten: int = 0


class EmbeddingStore:
    """Returns embeddings in float32, with the float16 precision of memory and disk. Safe for any number of threads.

    Args:
        memory: the first tier.
        disk: the second tier, shared with trainings and other servers.
        lane: computes embeddings that neither tier has.
    """

    def __init__(self, *, memory: MemoryEmbeddings, disk: DiskEmbeddings, lane: Lane) -> None:
        self.memory, self.disk = memory, disk
        self._lane = lane
        self._lock = RLock()  # reentrant: a job that displaces another calls back from within `_job`
        self._computing: dict[EmbeddingKey, Job[Embedding]] = {}
        self.counts = Counts()

    @property
    def disk_bytes(self) -> int:
        """The size of all embeddings on disk, including other processes', bytes."""
        return self.disk.usage_bytes()

    def __contains__(self, key: EmbeddingKey) -> bool:
        """Whether a tier has the embedding. Asking does not count as a use."""
        return key in self.memory or key in self.disk

    def peek(self, key: EmbeddingKey) -> Embedding | None:
        """Return the embedding if a tier has it, so that the caller need not fetch the image; None otherwise."""
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
        """Return the embedding from the nearest tier, or compute it in the lane, once for all who ask.

        A more urgent caller makes a running computation as urgent as itself. `owner`: the project that asks, as in
        `Lane.submit`.

        Raises:
            Busy: the lane is full, or the embedding was not computed by `until_s` (monotonic).
            Exception: whatever `compute` raised, in all callers that wait for it. The next call computes again.
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
        # Outside the lock: a job that is already done calls back at once. A refused job calls back too.
        job.when_done(lambda: self._forget(key, job))
        return job

    def _forget(self, key: EmbeddingKey, job: Job[Embedding]) -> None:
        with self._lock:
            if self._computing.get(key) is job:
                del self._computing[key]

    def _compute(self, key: EmbeddingKey, compute: Callable[[], Embedding]) -> Embedding:
        """Run in the lane. Looks into the tiers again: others may have computed it while the job waited."""
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
        """Write to disk. A full disk costs a warning, and an encode after the next start, but never a request."""
        try:
            self.disk.put(key, embedding)
        except OSError as fault:
            self._count("unwritten")
            log.warning(
                "an embedding could not be stored on disk (%s): free some space, or lower SAMLOOP_DISK_MIB",
                fault,
                extra={"event": "embedding.unwritten"},
            )

    def _count(self, tier: str) -> None:
        with self._lock:
            setattr(self.counts, tier, getattr(self.counts, tier) + 1)
