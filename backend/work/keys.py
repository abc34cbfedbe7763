"""Where Redis keeps what is known of a project's trainings and refreshes. RQ's own keys are rq_internals'."""

from dataclasses import dataclass

from backend.ids import JobId, JobKind, parse_project_id


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one project and one kind of work. Those of trainings carry no kind: they were there first."""

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
        """Counter of the trainings asked for: the latest generation."""
        return self._key("wanted")

    @property
    def served(self) -> str:
        """The latest generation that a finished training stands for."""
        return self._key("served")

    @property
    def waiting(self) -> str:
        """Id of the job that was queued last and has not read `wanted` yet."""
        return self._key("waiting")

    @property
    def latest(self) -> str:
        """Id of the job that was queued last."""
        return self._key("latest")

    @property
    def last(self) -> str:
        """Hash of what came of the last training: `verdict` (JSON), `error`, `failed` (a job's id), `cancelled`."""
        return self._key("last")

    @property
    def lease(self) -> str:
        """Who trains now."""
        return self._key("lease")

    @property
    def fence(self) -> str:
        """Counter of the leases given."""
        return self._key("fence")

    @property
    def cancelled(self) -> str:
        """The latest generation that somebody no longer wants."""
        return self._key("cancelled")

    @property
    def changed(self) -> str:
        """Set of the annotations' ids that have changed since a training was asked for."""
        return self._key("changed")

    @property
    def changed_at(self) -> str:
        """When the last of them changed, s since 1970."""
        return self._key("changed-at")

    @property
    def followed(self) -> str:
        """Number of the latest decision of the registry that was followed by a request."""
        return self._key("followed")

    @property
    def limit(self) -> str:
        """Name of the rate limit that keeps two jobs of this kind and project apart."""
        return f"{self.kind}:{self.project_id}"

    @property
    def job_prefix(self) -> str:
        """What the ids of this kind's jobs of this project begin with; the generation follows."""
        return self.job_id(1)[:-1]

    def job_id(self, generation: int) -> str:
        """Id of the job that was queued for this generation."""
        return str(JobId(kind=self.kind, project_id=parse_project_id(self.project_id), generation=generation))
