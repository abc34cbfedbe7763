"""Every decision of the registry is followed by one refresh."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from support.checkpoints import make_manifest

from backend.errors import BadCheckpoint, BadInput, Unavailable
from backend.registry.local import LocalRegistry
from backend.work.connection import connect
from backend.work.embedded import Valkey
from backend.work.follower import Follower, refresh_queue
from backend.work.jobs import REFRESH_QUEUE
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    with Valkey(tmp_path / "queue") as valkey, connect(valkey.start()) as connection:
        yield connection


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    return LocalRegistry(tmp_path / "models")


def publish(registry: LocalRegistry, project_id: int) -> str:
    manifest = make_manifest(project_id=project_id, base_model="tiny", base_fingerprint="0" * 64)
    return registry.publish(project_id, weights=b"weights", manifest=manifest).version


def follower_of(registry: LocalRegistry, redis: Redis) -> Follower:
    return Follower(registry, redis, queue=refresh_queue(redis))


def wanted(redis: Redis, project_id: int) -> int:
    return int(redis.get(Keys(project_id, "refresh").wanted) or 0)


def test_each_decision_is_followed_once_by_however_many_servers(registry: LocalRegistry, redis: Redis) -> None:
    first, second = (follower_of(registry, redis) for _ in range(2))
    version = publish(registry, 7)
    first.look()
    assert wanted(redis, 7) == 0, "published is not promoted"
    registry.promote(7, version, reason="better")
    for follower in (first, second, first, follower_of(registry, redis)):  # the last one: a server that starts again
        follower.look()
    assert wanted(redis, 7) == 1
    registry.promote(7, None, reason="rolled back")
    second.look()
    assert wanted(redis, 7) == 2
    assert [job_id.decode() for job_id in redis.lrange(f"rq:queue:{REFRESH_QUEUE}", 0, -1)] == ["refresh-7-1"]
    assert refresh_queue(redis).status(7).phase == "queued"


def test_a_queue_that_is_away_is_made_up_for_later(registry: LocalRegistry, redis: Redis) -> None:
    registry.promote(7, publish(registry, 7), reason="better")
    follower = follower_of(registry, connect("redis://127.0.0.1:1"))
    with pytest.raises(Unavailable, match="the queue"):
        follower.look()
    follower = follower_of(registry, redis)
    follower.look()
    assert wanted(redis, 7) == 1


def test_trainings_and_refreshes_of_a_project_know_nothing_of_each_other(redis: Redis) -> None:
    trainings, refreshes = TrainingQueue(redis, job_seconds=60), refresh_queue(redis)
    refreshes.request(7)
    assert trainings.status(7).phase == "idle"
    assert trainings.request(7) == "train-7-1"
    assert refreshes.status(7).job_id == "refresh-7-1"
    for queue in (trainings, refreshes):
        assert (queue.job("refresh-7-1") or {})["project"] == 7
    assert refreshes.cancel(7)
    assert int(redis.get(Keys(7, "refresh").cancelled) or 0) == 1
    assert redis.get(Keys(7).cancelled) is None
    with pytest.raises(BadInput, match="not a project's number"):
        refreshes.cancel(0)
    assert not {key for key in redis.scan_iter("samloop:*:7") if b"refresh" not in key} & {
        key.encode() for key in (Keys(7, "refresh").wanted, Keys(7, "refresh").lease)
    }


def test_cancelling_at_a_queue_that_is_away_says_so() -> None:
    with pytest.raises(Unavailable, match="the queue does not answer"):
        refresh_queue(connect("redis://127.0.0.1:1")).cancel(7)


def test_a_project_whose_decisions_cannot_be_read_keeps_no_other_from_its_refresh(
    registry: LocalRegistry, redis: Redis
) -> None:
    for project_id in (6, 7):
        registry.promote(project_id, publish(registry, project_id), reason="better")
    (registry.root / "refs" / "6" / "champion" / "000000001.json").write_text("not ours")
    with pytest.raises(BadCheckpoint, match="is not JSON"):
        follower_of(registry, redis).look()
    assert (wanted(redis, 6), wanted(redis, 7)) == (0, 1)
