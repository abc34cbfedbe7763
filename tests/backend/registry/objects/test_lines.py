"""A hundred objects become one. No line is lost or comes twice, whoever reads, appends, compacts or dies meanwhile."""

import json
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from backend.errors import BadCheckpoint
from backend.registry.objects.lines import BLOCK, SharedLines
from backend.registry.objects.sharing import StoreSharing
from backend.registry.objects.store import ObjectStore
from backend.registry.refs import name_file

KEY = "state/live/7/lines.jsonl"


class Killed(BaseException):
    """The process dies here."""


class DyingStore(ObjectStore):
    """Dies before a write."""

    def __init__(self, url: str, *, writes_left: int) -> None:
        super().__init__(url)
        self.writes_left = writes_left

    def create(self, key: str, data: bytes) -> bool:
        self._count()
        return super().create(key, data)

    def delete(self, keys: Iterable[str]) -> None:
        self._count()
        super().delete(keys)

    def _count(self) -> None:
        self.writes_left -= 1
        if self.writes_left < 0:
            raise Killed

    def check_conditional(self) -> None:
        """Not asked here: the memory is conditional, and these writes are not counted."""


class LaggingStore(ObjectStore):
    """Lets others act between the creation of an object and the look for its block."""

    def __init__(self, url: str, *, meanwhile: Callable[[], object]) -> None:
        super().__init__(url)
        self._meanwhile = meanwhile

    def create(self, key: str, data: bytes) -> bool:
        is_created = super().create(key, data)
        self._meanwhile()
        return is_created


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore(f"memory://{secrets.token_hex(8)}")


@pytest.fixture
def lines(store: ObjectStore) -> SharedLines:
    return SharedLines(store, KEY)


def fill(lines: SharedLines, count: int) -> list[list[str]]:
    """Append so many; returns what is to be read."""
    written = [[str(number)] for number in range(1, count + 1)]
    for number, given in enumerate(written, start=1):
        # As `take` writes them, but without its requests.
        lines._store.write(f"{KEY}/{name_file(number)}", json.dumps({"by": "test", "lines": given}).encode())
    return written


def compact(store: ObjectStore) -> int:
    return SharedLines(store, KEY).compact(store.list_objects(KEY), most_blocks=10)


def read_on(lines: SharedLines, number: int) -> list[list[str]]:
    """What a machine reads that knows the lines up to this number."""
    read: list[list[str]] = []
    while part := lines.read_from(number + len(read) + 1):
        read += part
    return read


def test_two_hundred_objects_and_some_become_two_and_some(store: ObjectStore, lines: SharedLines) -> None:
    written = fill(lines, 2 * BLOCK + 5)
    assert compact(store) == 2
    assert len(store.list_objects(KEY)) == 2 + 5
    assert list(lines.read_all()) == written
    for known in (1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 5):
        assert read_on(lines, known) == written[known:], "a machine that was away"
    assert compact(store) == 0
    assert list(lines.read_all()) == written


def test_a_compaction_makes_no_more_blocks_than_it_may(store: ObjectStore, lines: SharedLines) -> None:
    written = fill(lines, 2 * BLOCK)
    assert lines.compact(store.list_objects(KEY), most_blocks=1) == 1
    assert list(lines.read_all()) == written


def test_a_number_that_was_compacted_away_cannot_be_taken_again(store: ObjectStore, lines: SharedLines) -> None:
    """Fails without the look for the block after the number was taken: the line would be read by nobody."""
    written = fill(lines, BLOCK)
    compact(store)
    assert not lines.take(7, ["from a machine that lags behind"])
    assert len(store.list_objects(KEY)) == 1
    assert lines.take(BLOCK + 1, ["next"])
    assert list(lines.read_all()) == [*written, ["next"]]


def test_a_number_that_a_dead_machine_took_again_is_read_by_nobody(store: ObjectStore, lines: SharedLines) -> None:
    """Fails where a reader believes a number without a look for its block."""
    written = fill(lines, BLOCK)
    compact(store)
    assert store.create(f"{KEY}/000000007.json", b'{"by": "dead", "lines": ["never acknowledged"]}')
    assert list(lines.read_all()) == written
    assert read_on(lines, 6) == written[6:]
    compact(store)
    assert len(store.list_objects(KEY)) == 1


def test_a_line_that_is_compacted_before_its_writer_looks_is_not_written_twice(
    store: ObjectStore, lines: SharedLines
) -> None:
    """Fails where the writer takes any block for another machine's."""
    written = fill(lines, BLOCK - 1)
    slow = SharedLines(LaggingStore(store.url, meanwhile=lambda: compact(store)), KEY)
    assert slow.take(BLOCK, ["last of the block"])
    assert list(lines.read_all()) == [*written, ["last of the block"]]


@pytest.mark.parametrize("writes", [0, 1, 2, BLOCK // 2, BLOCK, BLOCK + 1])
def test_a_compaction_that_is_killed_before_a_write_loses_nothing_and_is_finished(
    store: ObjectStore, lines: SharedLines, writes: int
) -> None:
    """Fails where objects are deleted before their block is there."""
    written = fill(lines, BLOCK + 3)
    dying = SharedLines(DyingStore(store.url, writes_left=writes), KEY)
    try:
        dying.compact(store.list_objects(KEY), most_blocks=10)
    except Killed:
        assert writes < BLOCK + 1
    for known in (1, 50, BLOCK, BLOCK + 3):
        assert read_on(lines, known) == written[known:]
    assert list(lines.read_all()) == written
    assert not lines.take(50, ["late"])
    compact(store)
    assert len(store.list_objects(KEY)) == 1 + 3
    assert list(lines.read_all()) == written


def test_compactors_appenders_and_readers_at_once_agree_on_every_line(
    store: ObjectStore, lines: SharedLines, tmp_path: Path
) -> None:
    """Two machines compact while three append across the end of a block, behind one another most of the time."""
    store.check_conditional()
    old, new = fill(lines, BLOCK - 9), [f"[{number}, {value}]" for number in range(3) for value in range(6)]
    barrier, paths = Barrier(5), [tmp_path / str(n) / "live" / "7" / "lines.jsonl" for n in range(4)]
    for path in paths:
        path.parent.mkdir(parents=True)

    def append(number: int) -> None:
        sharing = StoreSharing(store, paths[number].parents[2])
        barrier.wait(60)
        for value in range(6):
            sharing.append(paths[number], [[number, value]], is_synced=False)

    def compact_often() -> None:
        barrier.wait(60)
        while not lines.read_from(len(old) + len(new)):
            compact(store)

    with ThreadPoolExecutor(5) as pool:
        ends = [*(pool.submit(append, n) for n in range(3)), *(pool.submit(compact_often) for _ in range(2))]
        for end in ends:
            end.result(120)
    compact(store)
    for path in paths:  # the last of them is a new machine's
        StoreSharing(store, path.parents[2]).refresh(path)
    texts = [path.read_text() for path in paths]
    assert len(store.list_objects(KEY)) == 1 + len(old) + len(new) - BLOCK
    assert texts[0] == texts[1] == texts[2] == texts[3]
    assert sorted(texts[0].splitlines()) == sorted([*(line for part in old for line in part), *new])


def test_a_block_that_lacks_entries_is_an_error_and_not_the_end(store: ObjectStore, lines: SharedLines) -> None:
    fill(lines, BLOCK)
    compact(store)
    store.write(f"{KEY}/000000001-000000100.json", b'{"entries": []}')
    with pytest.raises(BadCheckpoint, match="restore it from a copy of the store"):
        list(lines.read_all())
