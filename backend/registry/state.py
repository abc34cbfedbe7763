"""The folders of files that change while samloop runs. All other files in a registry are written once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from backend.files.json_lines import append_line


@runtime_checkable
class Sharing(Protocol):
    """Brings the files of a state folder to the other machines, and theirs here.

    Every method but `append` leaves the local files as they are where the other machines cannot be reached.
    """

    def append(self, path: Path, values: Sequence[object], *, is_synced: bool) -> None:
        """Append the values to a file of JSON lines, on every machine in the same order.

        A kill may repeat a line, and loses none once this has returned.

        Raises:
            OSError: the lines were not written here, or the other machines cannot be reached.
            ValueError: a value is not JSON, or holds a number that is not finite.
        """

    def refresh(self, path: Path) -> None:
        """Append the lines that other machines have appended to this file."""

    def list_folders(self, folder: Path) -> None:
        """Make the folders that other machines have made in this folder."""

    def push(self, path: Path) -> None:
        """Bring a whole file to the other machines, in place of theirs.

        Raises:
            OSError: the file cannot be read, or the other machines cannot be reached.
        """

    def pull(self, path: Path) -> None:
        """Replace the file by what was pushed last, by any machine."""

    def drop(self, path: Path) -> None:
        """Delete a pushed file, or all pushed files below a folder, for the other machines too."""


class OneDisk:
    """`Sharing` where all processes see one disk: a file that is written is shared."""

    def append(self, path: Path, values: Sequence[object], *, is_synced: bool) -> None:
        """See Sharing."""
        for value in values:
            append_line(path, value, is_synced=is_synced)

    def refresh(self, path: Path) -> None:
        """See Sharing."""

    def list_folders(self, folder: Path) -> None:
        """See Sharing."""

    def push(self, path: Path) -> None:
        """See Sharing."""

    def pull(self, path: Path) -> None:
        """See Sharing."""

    def drop(self, path: Path) -> None:
        """See Sharing."""


ONE_DISK: Final = OneDisk()


@dataclass(frozen=True, slots=True)
class StateDir:
    """A folder on a disk, which has locks and appends. `sharing` brings its files to machines without that disk.

        live/<project>/             submitted annotations, compared with the masks they began with
        review/<project>/           analysts' flags
        train-after/<project>.json  after how many changed annotations the project trains by itself
        unfinished/<key>/           trainings that a killed worker left, for the next worker on any machine

    Writers make the folders below `root`, but never the root itself: its disk may not be mounted.
    """

    root: Path
    sharing: Sharing = ONE_DISK

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
