"""The folders of files that change while samloop runs. All other files in a registry are written once."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StateDir:
    """A folder on a local or shared disk. It needs locks and appends, which an object store lacks.

        live/<project>/             submitted annotations, compared with the masks they began with
        review/<project>/           analysts' flags
        train-after/<project>.json  after how many changed annotations the project trains by itself
        unfinished/<key>/           trainings that a killed worker left, for the next worker on any machine

    Writers make the folders below `root`, but never the root itself: its disk may not be mounted.
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
