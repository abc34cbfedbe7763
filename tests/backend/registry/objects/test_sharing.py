"""Machines that share nothing but a store have the same lines in the same order, and each other's files."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.object_store import open_store

from backend.errors import NotFound, Unavailable
from backend.live.ledger import Ledger
from backend.live.lines import Done, Seen
from backend.live.sent import SentRegions
from backend.registry.objects.registry import ObjectRegistry
from backend.registry.objects.sharing import StoreSharing
from backend.registry.state import StateDir
from backend.review.flags import Flag, Flags
from backend.work.train_after import TrainAfter


@pytest.fixture
def machines(tmp_path: Path) -> list[ObjectRegistry]:
    """Three machines with disks of their own."""
    first = open_store("memory://", tmp_path / "0")
    return [
        first,
        *(ObjectRegistry(first._store.url, folder=tmp_path / name, most_bytes=1 << 20) for name in ("1", "2")),
    ]


def share(machine: ObjectRegistry) -> StoreSharing:
    """The machine's sharing, which looks at every file anew."""
    sharing = machine.state_dir.sharing
    assert isinstance(sharing, StoreSharing)
    sharing._is_fresh = lambda _: False  # type: ignore[method-assign]
    return sharing


def lines_of(state: StateDir) -> Path:
    path = state.live / "7" / "lines.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def break_store(machine: ObjectRegistry) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError("away")

    machine._store._send = fail  # type: ignore[method-assign]


def test_lines_that_are_appended_at_once_stand_in_one_order_everywhere(machines: list[ObjectRegistry]) -> None:
    machines[0]._store.check_conditional()
    with ThreadPoolExecutor(6) as pool:
        list(
            pool.map(
                lambda n: share(machines[n % 3]).append(lines_of(machines[n % 3].state_dir), [n], is_synced=False),
                range(18),
            )
        )
    for machine in machines:
        share(machine).refresh(lines_of(machine.state_dir))
    orders = [lines_of(machine.state_dir).read_text().split() for machine in machines]
    assert orders[0] == orders[1] == orders[2]
    assert sorted(map(int, orders[0])) == list(range(18))


def test_a_kill_between_the_store_and_the_disk_loses_no_line(machines: list[ObjectRegistry]) -> None:
    sharing, path = share(machines[0]), lines_of(machines[0].state_dir)
    sharing.append(path, ["a"], is_synced=False)
    sharing._store.create(f"{sharing._name_key(path)}/000000002.json", b'{"by": "killed", "lines": ["\\"b\\""]}')
    sharing.append(path, ["c"], is_synced=False)
    assert path.read_text() == '"a"\n"b"\n"c"\n'


def test_a_line_is_not_taken_where_the_store_is_away(machines: list[ObjectRegistry]) -> None:
    sharing, path = share(machines[0]), lines_of(machines[0].state_dir)
    sharing.append(path, ["a"], is_synced=False)
    break_store(machines[0])
    with pytest.raises(OSError, match="it refuses us"):
        sharing.append(path, ["b"], is_synced=False)
    assert path.read_text() == '"a"\n'
    sharing.refresh(path)
    sharing.pull(path)
    assert path.read_text() == '"a"\n', "what is here stays readable"


def test_files_are_pushed_pulled_and_dropped(machines: list[ObjectRegistry]) -> None:
    paths = [machine.state_dir.unfinished / "key" / "training-1.state" for machine in machines]
    paths[0].parent.mkdir(parents=True)
    paths[0].write_bytes(b"state")
    share(machines[0]).push(paths[0])
    share(machines[1]).pull(paths[1])
    assert paths[1].read_bytes() == b"state"
    share(machines[1]).drop(paths[1].parent)
    share(machines[2]).pull(paths[2])
    assert not paths[2].exists()


def test_an_annotation_that_came_to_one_machine_waits_on_the_others_and_is_compared_once(
    machines: list[ObjectRegistry],
) -> None:
    ledgers = [Ledger(lines_of(machine.state_dir), sharing=share(machine)) for machine in machines]
    ledgers[0].append(Seen(annotation_id=5, task_id=7, at="1", process="dead", seen_s=1.0))
    assert set(ledgers[1].pending()) == {5}
    ledgers[1].append(Done(annotation_id=5, at="1", lead_s=None, masks=()))
    for ledger in ledgers:
        assert not ledger.pending()
        assert ledger.is_counted(5)


def test_what_was_sent_by_one_machine_is_known_to_the_one_that_compares(machines: list[ObjectRegistry]) -> None:
    sent = [SentRegions(lines_of(machine.state_dir).parent / "sent", sharing=share(machine)) for machine in machines]
    sent[0].keep([{"id": "region", "meta": {"model_version": "v"}}])
    assert sent[1].recall(["region"]) == {"region": {"id": "region", "meta": {"model_version": "v"}}}


def test_flags_and_numbers_are_seen_by_every_machine(machines: list[ObjectRegistry]) -> None:
    for machine in machines:
        share(machine)
    flag = Flag(
        at="2026", version="v", key="k", prompt="box", task_id="1", label="Cell", analyst="Ann", verdict="too loose"
    )
    Flags(machines[0].state_dir).add(7, flag)
    assert Flags(machines[1].state_dir).current(7) == (flag,)
    numbers = [
        TrainAfter(machine.state_dir.train_after, default=0, sharing=machine.state_dir.sharing) for machine in machines
    ]
    numbers[0].keep(7, 20)
    assert numbers[1].of(7) == 20
    break_store(machines[2])
    with pytest.raises(Unavailable, match="the flag was not stored"):
        Flags(machines[2].state_dir).add(7, flag)
    with pytest.raises(Unavailable, match="nothing was changed"):
        numbers[2].keep(7, 30)


def test_a_project_that_nobody_flagged_makes_no_folder(machines: list[ObjectRegistry]) -> None:
    """Or callers could fill the disk with made-up numbers."""
    share(machines[0])
    assert Flags(machines[0].state_dir).current(12345) == ()
    assert not list(machines[0].state_dir.root.rglob("12345"))
    with pytest.raises(NotFound):
        machines[0].materialise("mobile-sam-p12345-v1-000000")
