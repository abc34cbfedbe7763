"""A project's own number goes before the environment's, in every process that looks."""

from pathlib import Path

import pytest

from backend.errors import BadInput
from backend.work.train_after import TrainAfter


def test_a_projects_own_number_goes_before_the_default(tmp_path: Path) -> None:
    here, elsewhere = (TrainAfter(tmp_path / "train-after", default=10) for _ in range(2))
    assert here.of(7) == 10
    here.keep(7, 3)
    here.keep(8, 0)
    assert [elsewhere.of(project_id) for project_id in (7, 8, 9)] == [3, 0, 10]


@pytest.mark.parametrize("text", ["", "7", "[]", '{"train_after": "3"}', '{"train_after": -1}', '{"train_after": NaN}'])
def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "7.json").write_text(text)
    assert TrainAfter(tmp_path, default=10).of(7) == 10


@pytest.mark.parametrize("number", [-1, 1_000_001])
def test_a_number_that_makes_no_sense_is_refused(tmp_path: Path, number: int) -> None:
    with pytest.raises(BadInput, match="0: never"):
        TrainAfter(tmp_path / "train-after", default=0).keep(7, number)
