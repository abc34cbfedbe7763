"""What no webhook told of is found in Label Studio, counts once, and trains where the project asks for that."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.label_studio import FakeLabelStudio
from redis import Redis
from support.payloads import COINS, draw_blocks

from backend.errors import Upstream
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.webhook import AnnotationChange
from backend.live.evaluation import LiveEvaluation
from backend.live.missed import Missed, MissedChanges, OwnWebhook
from backend.work.automatic import AutomaticTraining
from backend.work.connection import connect
from backend.work.embedded import Valkey
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue

BEGIN = datetime(2026, 11, 23, 8, tzinfo=UTC)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    with Valkey(tmp_path / "queue") as valkey, connect(valkey.start()) as connection:
        yield connection


class House:
    """A Label Studio with a project of three tasks, and a backend that looks at it; it serves nothing."""

    def __init__(self, studio: FakeLabelStudio, redis: Redis, folder: Path) -> None:
        self.studio, self.redis, self.client = studio, redis, LabelStudio(studio.url, studio.token)
        self.project_id = int(self.client.create_project("missed", COINS)["id"])
        self.client.import_images(self.project_id, {f"{seed}.jpg": draw_blocks(seed) for seed in range(3)})
        self.tasks = [int(task["id"]) for task in self.client.tasks(self.project_id)]
        self.queue = TrainingQueue(redis, job_seconds=60)
        self.automatic = AutomaticTraining(redis, queue=self.queue, train_after=lambda _: 2, quiet_s=0)
        folder.mkdir()
        self.live = LiveEvaluation(folder / "live", label_studio=lambda _: self.client, max_pixels=10**6)
        self.now_s = BEGIN.timestamp()
        self.asked = 0

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.studio.now = datetime.fromtimestamp(self.now_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def look(self) -> Missed | None:
        self.redis.delete("samloop:reconciling")
        missed = self.another()
        before = len(self.studio.requests)
        missed.look()
        self.asked = len(self.studio.requests) - before
        return missed.last(self.project_id)

    def another(self) -> MissedChanges:
        return MissedChanges(
            self.redis,
            projects=lambda: (self.project_id,),
            label_studio=lambda _: self.client,
            live=self.live,
            automatic=self.automatic,
            queue=self.queue,
            webhook=OwnWebhook(url="http://127.0.0.1:9090", basic_auth=("user", "password")),
            every_s=300,
            clock=lambda: self.now_s,
        )

    def wanted(self) -> int:
        return int(self.redis.get(Keys(self.project_id).wanted) or 0)


@pytest.fixture
def house(redis: Redis, tmp_path: Path) -> Iterator[House]:
    with FakeLabelStudio() as studio:
        yield House(studio, redis, tmp_path / "models")


def test_a_backend_that_was_down_for_a_day_learns_of_that_days_annotations_once(house: House) -> None:
    """The count of changed annotations starts the training that was missed; a look without news is two requests."""
    assert house.look() is None
    assert house.asked == 2
    house.wait(1000)
    for task_id in house.tasks[:2]:
        house.client.create_annotation(task_id, [])
    house.wait(86_400)
    assert house.look() == Missed(at="2026-11-24T08:16:40+00:00", changes=2, webhook_restored=False)
    assert house.automatic.count_changed(house.project_id) == 2
    assert house.live.count_waiting(project_ids=[house.project_id]) == 2
    house.automatic.look()
    assert (house.wanted(), house.automatic.count_changed(house.project_id)) == (1, 0)
    house.wait(300)
    house.look()
    assert house.automatic.count_changed(house.project_id) == 0
    assert house.asked == 2


def test_what_a_webhook_told_of_is_not_missed(house: House) -> None:
    house.look()
    house.wait(100)
    annotation = house.client.create_annotation(house.tasks[0], [])
    told = AnnotationChange(annotation["id"], house.tasks[0], annotation["updated_at"])
    house.live.note_changes(house.project_id, [told])
    house.wait(100)
    assert house.look() is None
    assert house.automatic.count_changed(house.project_id) == 0


def test_a_webhook_that_may_be_on_its_way_is_waited_for(house: House) -> None:
    house.look()
    house.wait(100)
    house.client.create_annotation(house.tasks[0], [])
    house.wait(30)
    assert house.look() is None
    house.wait(31)
    missed = house.look()
    assert missed is not None
    assert missed.changes == 1


def test_deletions_that_no_webhook_told_of_count_and_are_compared_no_more(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A deleted annotation, and one that went with its task, beside one from before the backend was connected."""
    first, second, earlier = house.tasks
    house.client.create_annotation(earlier, [])
    house.look()
    house.wait(100)
    made = [house.client.create_annotation(task_id, []) for task_id in (first, second, first)]
    told = [AnnotationChange(row["id"], row["task"], row["updated_at"]) for row in made]
    house.live.note_changes(house.project_id, told)
    house.wait(100)
    assert house.look() is None
    house.client._session.send("DELETE", f"/api/annotations/{made[0]['id']}/")
    house.client._session.send("DELETE", f"/api/tasks/{second}/")
    house.wait(100)

    missed = house.look()

    assert missed is not None
    assert missed.changes == 2
    assert "no webhook told of 2 annotations of project 1, 2 of them deleted: they count from now on" in caplog.text
    assert list(house.live.list_known(house.project_id)) == [made[2]["id"]]
    assert house.automatic.count_changed(house.project_id) == 2
    house.automatic.look()
    assert house.wanted() == 1
    house.wait(300)
    house.look()
    assert (house.asked, house.automatic.count_changed(house.project_id)) == (2, 0), "they are found once"


def test_deletions_that_a_webhook_told_of_cost_no_look_at_the_others(house: House) -> None:
    house.look()
    made = [house.client.create_annotation(task_id, []) for task_id in house.tasks]
    told = [AnnotationChange(row["id"], row["task"], row["updated_at"]) for row in made]
    house.live.note_changes(house.project_id, told)
    house.wait(100)
    house.look()
    house.client._session.send("DELETE", f"/api/annotations/{made[0]['id']}/")
    house.live.note_changes(house.project_id, [AnnotationChange(made[0]["id"], None)])
    house.wait(100)
    assert house.look() is None
    assert house.asked == 2


def test_deletions_that_were_not_written_down_are_found_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise Upstream("Label Studio answered 502")

    house.look()
    annotation = house.client.create_annotation(house.tasks[0], [])
    house.live.note_changes(
        house.project_id, [AnnotationChange(annotation["id"], annotation["task"], annotation["updated_at"])]
    )
    house.wait(100)
    house.look()
    house.client._session.send("DELETE", f"/api/annotations/{annotation['id']}/")
    house.wait(100)
    with monkeypatch.context() as patch:
        patch.setattr(house.client.backends, "restore_webhook", fail)
        with pytest.raises(Upstream, match="502"):
            house.look()
    missed = house.look()
    assert missed is not None
    assert missed.changes == 1


def test_a_project_that_trains_on_every_annotation_trains(house: House) -> None:
    """Fails without the request of a training for annotations that no webhook told of."""
    house.client.update_project(house.project_id, start_training_on_annotation_update=True)
    house.look()
    house.wait(100)
    house.client.create_annotation(house.tasks[0], [])
    house.wait(100)
    house.look()
    assert house.wanted() == 1


def test_a_missing_webhook_is_created_again_with_its_credentials_and_said(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the backend is still connected: somebody may have taken it away on purpose."""
    for is_connected in (False, True):
        if is_connected:
            row = {"project": house.project_id, "url": "http://127.0.0.1:9090/", "title": "samloop"}
            house.studio._new("ml", row)
        house.look()
        house.wait(100)
        house.client.create_annotation(house.tasks[0], [])
        house.wait(100)
        missed = house.look()
        assert missed is not None
        assert missed.webhook_restored is is_connected
        assert len(house.client.backends.webhooks(house.project_id)) == is_connected
    (webhook,) = house.client.backends.webhooks(house.project_id)
    assert webhook["url"] == "http://127.0.0.1:9090/webhook"
    assert webhook["headers"]["Authorization"].startswith("Basic ")
    assert "its webhook was missing, and was created again" in caplog.text


def test_while_label_studio_is_away_nothing_is_forgotten(house: House) -> None:
    house.look()
    house.wait(100)
    house.client.create_annotation(house.tasks[0], [])
    house.wait(100)
    house.studio.fail(f"/api/projects/{house.project_id}", status=502)
    with pytest.raises(Upstream, match="502"):
        house.look()
    assert house.automatic.count_changed(house.project_id) == 0
    missed = house.look()
    assert missed is not None
    assert missed.changes == 1


def test_of_several_servers_one_looks(house: House) -> None:
    first, second = house.another(), house.another()
    before = len(house.studio.requests)
    first.look()
    second.look()
    assert len(house.studio.requests) == before + 2
