"""Deletions are looked for only where the number of annotations says that there are any, and a part at a time.

With a fake Label Studio, in all that a look for missed webhooks does: test_missed.py.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from backend.labelstudio.webhook import AnnotationChange
from backend.live.deleted import Counted, DeletedAnnotations
from backend.live.evaluation import LiveEvaluation
from backend.work.connection import connect
from backend.work.embedded import Valkey


class Stored:
    """The annotations that Label Studio has; notes which it is asked for."""

    def __init__(self, *ids: int) -> None:
        self.ids, self.asked = set(ids), list[int]()

    def count(self, _project_id: int) -> int:
        return len(self.ids)

    def find_deleted(self, _project_id: int, ids: Sequence[int]) -> list[int]:
        self.asked += ids
        return [number for number in ids if number not in self.ids]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    with Valkey(tmp_path / "queue") as valkey, connect(valkey.start()) as connection:
        yield connection


@pytest.fixture
def live(tmp_path: Path) -> LiveEvaluation:
    (tmp_path / "models").mkdir()
    live = LiveEvaluation(tmp_path / "models" / "live", label_studio=lambda _: None, max_pixels=10**6)
    live.note_changes(1, [AnnotationChange(number, 1, "2026-01-01") for number in range(1, 6)])
    return live


def look(redis: Redis, live: LiveEvaluation, stored: Any, *, settled: str = "2026-02-01", most: int = 100) -> list[int]:
    search = DeletedAnnotations(redis, live, most)
    changes, counted = search.find(1, stored, arriving=(), settled=settled)
    live.note_changes(1, changes)
    search.remember(1, counted)
    return [change.annotation_id for change in changes]


def test_the_known_annotations_are_looked_up_at_first_and_when_their_number_falls(
    redis: Redis, live: LiveEvaluation
) -> None:
    stored = Stored(*range(1, 4), *range(100, 200))
    assert look(redis, live, stored) == [4, 5]
    stored.asked.clear()
    assert look(redis, live, stored) == []
    stored.ids.add(200)  # its webhook is on its way
    assert look(redis, live, stored) == []
    live.note_changes(1, [AnnotationChange(3, None)])  # and of this one a webhook told
    stored.ids.remove(3)
    assert look(redis, live, stored) == []
    assert stored.asked == []
    stored.ids.remove(2)
    assert look(redis, live, stored) == [2]
    assert look(redis, live, stored) == []


def test_what_may_not_be_visible_yet_is_not_taken_for_deleted(redis: Redis, live: LiveEvaluation) -> None:
    assert look(redis, live, Stored(), settled="2025-12-31") == []
    assert len(live.list_known(1)) == 5


def test_many_annotations_are_looked_up_over_several_looks(redis: Redis, live: LiveEvaluation) -> None:
    stored = Stored(1, 3, 4)
    found = [look(redis, live, stored, most=2) for _ in range(4)]
    assert found == [[2], [], [5], []]
    assert stored.asked == [1, 2, 3, 4, 5]


def test_where_a_look_stands_survives_redis() -> None:
    for counted in (Counted(-3, None), Counted(7, 12)):
        assert Counted.from_json(counted.to_json()) == counted
