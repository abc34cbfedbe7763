"""The names of our keys in Redis, by project and kind of work. RQ's own keys are in rq_internals."""

from dataclasses import dataclass

from backend.ids import JobId, JobKind, parse_project_id


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one project and one kind of work. Keys of trainings have no kind in their names: they came first."""

    project_id: int
    kind: JobKind = "train"

    def _key(self, name: str) -> str:
        return (
            f"samloop:{name}:{self.project_id}"
            if self.kind == "train"
            else f"samloop:{self.kind}:{name}:{self.project_id}"
        )

    @property
    def wanted(self) -> str:
        """Counter of the requests: the latest generation."""
        return self._key("wanted")

    @property
    def served(self) -> str:
        """The latest generation that a finished training covers."""
        return self._key("served")

    @property
    def waiting(self) -> str:
        """Id of the latest queued job, as long as it has not read `wanted`."""
        return self._key("waiting")

    @property
    def latest(self) -> str:
        """Id of the latest queued job."""
        return self._key("latest")

    @property
    def last(self) -> str:
        """Hash of the last training's result: `verdict` (JSON), `error`, `failed` (a job's id), `cancelled`."""
        return self._key("last")

    @property
    def lease(self) -> str:
        """The run that holds the lease."""
        return self._key("lease")

    @property
    def holding(self) -> str:
        """`held` until the lease's holder lets go of it; `lapsed` while a holder whose lease ran out may come back."""
        return self._key("holding")

    @property
    def fence(self) -> str:
        """Counter of the leases granted."""
        return self._key("fence")

    @property
    def cancelled(self) -> str:
        """The latest generation that was cancelled."""
        return self._key("cancelled")

    @property
    def changed(self) -> str:
        """Set of the ids of annotations changed since the last request for a training."""
        return self._key("changed")

    @property
    def changed_at(self) -> str:
        """When the latest of them changed, Unix time, s."""
        return self._key("changed-at")

    @property
    def known_until(self) -> str:
        """Date up to which all changed annotations are known, as Label Studio's data manager reads dates."""
        return self._key("known-until")

    @property
    def counted(self) -> str:
        """Where the look for deleted annotations stands, as JSON (backend.live.deleted)."""
        return self._key("counted")

    @property
    def missed(self) -> str:
        """What the last look for missed webhooks healed, as JSON (backend.live.missed)."""
        return self._key("missed")

    @property
    def refusals(self) -> str:
        """List of the last refused clicks as JSON, the latest first (backend.serving.refusals)."""
        return self._key("refusals")

    @property
    def followed(self) -> str:
        """Number of the registry's latest decision that a request followed."""
        return self._key("followed")

    @property
    def outcomes(self) -> str:
        """Hash of how often jobs of this kind ended in which way, over all projects."""
        return self._key("outcomes").rpartition(":")[0]

    @property
    def limit(self) -> str:
        """Name of the rate limit that lets one job of this kind and project run at a time."""
        return f"{self.kind}:{self.project_id}"

    @property
    def job_prefix(self) -> str:
        """The prefix of the ids of this project's jobs of this kind; the generation follows it."""
        return self.job_id(1)[:-1]

    def job_id(self, generation: int) -> str:
        """Return the id of this generation's job."""
        return str(JobId(kind=self.kind, project_id=parse_project_id(self.project_id), generation=generation))
