"""Finds annotations whose deletion no webhook reported.

Label Studio tells how many annotations a project has, and the ledger which of them we know. A deletion without a
webhook lowers the number of those that we do not know. Only then does every look check some thousands of the known
annotations.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass

from redis import Redis

from backend.labelstudio.api.annotations import Annotations
from backend.labelstudio.webhook import AnnotationChange
from backend.live.evaluation import LiveEvaluation
from backend.work.connection import decode_text
from backend.work.keys import Keys


@dataclass(frozen=True, slots=True)
class Counted:
    """Where a look stands.

    Attributes:
        unknown: how many of the project's annotations the ledger does not know.
        after: the id after which the known annotations have to be checked; None: no check is due.
    """

    unknown: int
    after: int | None

    @classmethod
    def from_json(cls, text: str) -> "Counted":
        """Read what `to_json` wrote."""
        return cls(*json.loads(text))

    def to_json(self) -> str:
        """Write it for Redis."""
        return json.dumps([self.unknown, self.after])


@dataclass(frozen=True, slots=True)
class DeletedAnnotations:
    """Looks for deletions in a project.

    Attributes:
        connection: the queue's Redis, which keeps where the looks stand.
        live: knows the annotations.
        most: how many annotations of a project a look checks; the next look goes on from there.
    """

    connection: Redis
    live: LiveEvaluation
    most: int = 10_000

    def find(
        self, project_id: int, annotations: Annotations, *, arriving: Collection[int], settled: str
    ) -> tuple[list[AnnotationChange], Counted]:
        """Return the deletions, and where the look stands once they are written down; `remember` notes that.

        Args:
            project_id: where to look.
            annotations: of the project's Label Studio.
            arriving: annotations that this look has found, and that are about to be written down.
            settled: annotations that changed later (`updated_at`) may not be visible in Label Studio yet.

        Raises:
            SamloopError: Label Studio does not answer.
        """
        count = annotations.count(project_id)
        known = self.live.list_known(project_id)
        unknown = count - len(known) - sum(annotation_id not in known for annotation_id in arriving)
        before = self._last(project_id)
        if before is not None and before.after is None and unknown >= before.unknown:
            return [], Counted(unknown, None)
        after = 0 if before is None or before.after is None else before.after
        turns = sorted(number for number, at in known.items() if number > after and at <= settled)
        looked_up = turns[: self.most]
        gone = annotations.find_deleted(project_id, looked_up)
        going_on = looked_up[-1] if len(looked_up) < len(turns) else None
        return [AnnotationChange(number, None) for number in gone], Counted(unknown + len(gone), going_on)

    def remember(self, project_id: int, counted: Counted) -> None:
        """Note where the look stands."""
        self.connection.set(Keys(project_id).counted, counted.to_json())

    def _last(self, project_id: int) -> Counted | None:
        kept = self.connection.get(Keys(project_id).counted)
        return None if kept is None else Counted.from_json(decode_text(kept))
