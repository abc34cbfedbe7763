"""Where files live that change while samloop runs. Everything else in a registry is written once and never again."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StateDir:
    """A folder on a local or shared disk that has locks and appends, which an object store has not.

        live/<project>/             submitted annotations, compared with the masks they began with
        review/<project>/           what analysts flagged
        train-after/<project>.json  after how many annotations a project trains by itself
        unfinished/<key>/           trainings that a killed worker left, for the next worker, on any machine

    Whoever writes makes the folders below `root`, and never the root itself: its disk may not be mounted just now.
    """

    root: Path

    @property
    def live(self) -> Path:
        """The folder of the live evaluation's ledgers, with a folder per project."""
        return self.root / "live"

    @property
    def review(self) -> Path:
        """The folder of the analysts' flags, with a folder per project."""
        return self.root / "review"

    @property
    def train_after(self) -> Path:
        """The folder of `TrainAfter`, with a file per project."""
        return self.root / "train-after"

    @property
    def unfinished(self) -> Path:
        """The folder of the trainings that are not over, with a folder per run."""
        return self.root / "unfinished"
