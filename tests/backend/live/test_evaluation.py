"""Each submitted annotation is compared once, in the background, whatever stops in between."""

import copy
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio
from support.clock import HandClock
from support.live_project import LiveProject, make_region
from support.waiting import wait_until

from backend.errors import Unavailable, Upstream
from backend.labelstudio.webhook import AnnotationChange, annotation_changes
from backend.live.figures import VersionFigures
from backend.live.sent import SentRegions

Json = dict[str, Any]


@pytest.fixture(scope="module")
def studio() -> Iterator[FakeLabelStudio]:
    with FakeLabelStudio() as studio:
        yield studio


@pytest.fixture
def project(studio: FakeLabelStudio, tmp_path: Path) -> LiveProject:
    return LiveProject(studio, tmp_path / "live")


def test_an_annotation_that_began_as_a_prediction_is_compared_with_it(project: LiveProject) -> None:
    live, ours = project.evaluation(), [make_region(0), make_region(30)]
    prediction = project.predict(*ours)
    changed = make_region(34, region_id=ours[1]["id"])
    live.note_changes(
        project.project_id, [project.submit(ours[0], changed, parent_prediction=prediction, lead_time=4.0)]
    )

    assert live.compare_waiting() == 0

    figures = live.figures(project.project_id)["v1"]
    assert (figures.n, figures.annotations, figures.untouched, figures.lead_time_s) == (2, 1, 0.5, 4.0)
    assert figures.iou == pytest.approx((1 + 16 / 24) / 2)
    assert figures.boundary_iou == figures.boundary_iou_ema < figures.iou
    assert figures.labels["Coin"].n == 2
    assert live.counts == {"compared": 2, "unknown": 0}


def test_an_update_replaces_and_a_deletion_or_a_skip_removes(project: LiveProject) -> None:
    live, ours = project.evaluation(), make_region(0)
    prediction = project.predict(ours)
    first = project.submit(ours, parent_prediction=prediction)
    other = project.submit(ours, parent_prediction=prediction)
    live.note_changes(project.project_id, [first, other])
    live.compare_waiting()
    live.note_changes(
        project.project_id, [project.change(first.annotation_id, result=[make_region(10, region_id=ours["id"])])]
    )
    live.compare_waiting()
    assert dataclasses.replace(live.figures(project.project_id)["v1"], labels={}) == VersionFigures(
        n=2,
        iou=pytest.approx((1 + 1 / 3) / 2),
        boundary_iou=pytest.approx(0.5, abs=0.3),
        untouched=0.5,
        annotations=2,
        lead_time_s=None,
        boundary_iou_ema=pytest.approx(0.9, abs=0.1),
        labels={},
    )
    gone = annotation_changes({"action": "ANNOTATIONS_DELETED", "annotations": [{"id": other.annotation_id}]})
    live.note_changes(project.project_id, gone)
    live.compare_waiting()
    assert live.figures(project.project_id)["v1"].iou == pytest.approx(1 / 3, abs=1e-5)
    live.note_changes(project.project_id, [project.change(first.annotation_id, was_cancelled=True)])
    live.compare_waiting()
    assert live.figures(project.project_id) == {}


def test_a_mask_from_a_click_is_compared_with_what_was_sent_for_it(project: LiveProject) -> None:
    live = project.evaluation().start()
    try:
        accepted, edited, never_taken = make_region(0), make_region(30), make_region(5)
        live.remember_sent(project.project_id, [accepted, edited, never_taken])
        wait_until(lambda: len(list((project.root / str(project.project_id) / "sent").glob("*"))) == 3)
        live.note_changes(project.project_id, [project.submit(accepted, make_region(34, region_id=edited["id"]))])
        wait_until(lambda: "v1" in (found := live.figures(project.project_id)) and found["v1"].n == 2)
        assert live.figures(project.project_id)["v1"].untouched == 0.5
    finally:
        live.stop()


def test_a_predicted_mask_that_a_click_refined_is_compared_with_the_refined_one(project: LiveProject) -> None:
    live, predicted = project.evaluation(), make_region(0)
    refined = make_region(6, version="v2", region_id=predicted["id"])
    live._make_folder(project.project_id)
    live._open_sent(project.project_id).keep([refined])
    live.note_changes(project.project_id, [project.submit(refined, parent_prediction=project.predict(predicted))])
    live.compare_waiting()
    assert [(name, figures.iou) for name, figures in live.figures(project.project_id).items()] == [("v2", 1.0)]


def test_what_is_not_known_any_more_is_counted_and_takes_no_comparison_away(project: LiveProject) -> None:
    live, ours = project.evaluation(), make_region(0)
    prediction = project.predict(ours)
    change = project.submit(ours, parent_prediction=prediction)
    live.note_changes(project.project_id, [change])
    live.compare_waiting()
    project.client.delete_prediction(prediction)
    live.note_changes(project.project_id, [project.change(change.annotation_id, parent_prediction=None)])
    assert live.compare_waiting() == 0
    assert live.figures(project.project_id)["v1"].n == 1
    assert live.counts["unknown"] == 1


def test_what_waited_when_the_server_died_is_compared_by_the_next_one(project: LiveProject) -> None:
    died, ours = project.evaluation(), make_region(0)
    died.note_changes(project.project_id, [project.submit(ours, parent_prediction=project.predict(ours))])
    beside = project.evaluation()
    assert beside.compare_waiting() == 1, "it may still be at work"
    assert beside.figures(project.project_id) == {}
    after = project.evaluation(adopt_after_s=0.0)
    assert after.count_waiting() == 1
    assert after.compare_waiting() == 0
    assert beside.figures(project.project_id)["v1"].n == 1


def test_while_label_studio_is_away_nothing_is_lost(project: LiveProject) -> None:
    away = threading.Event()

    class Away:
        def task(self, task_id: int) -> Json:
            if away.is_set():
                raise Upstream("Label Studio cannot be reached")
            return project.client.task(task_id)

    clock = HandClock()
    live, ours = project.evaluation(lambda _: Away(), clock=clock), make_region(0)
    away.set()
    live.note_changes(project.project_id, [project.submit(ours, parent_prediction=project.predict(ours))])
    with pytest.raises(Upstream, match="cannot be reached"):
        live.compare_waiting()
    assert (live.count_waiting(), live.figures(project.project_id)) == (1, {})
    away.clear()
    clock.advance(1)
    live.compare_waiting()
    assert live.figures(project.project_id)["v1"].n == 1


def test_without_a_label_studio_it_says_what_is_missing(project: LiveProject) -> None:
    live = project.evaluation(lambda _: None)
    live.note_changes(project.project_id, [AnnotationChange(1, project.task)])
    with pytest.raises(Unavailable, match="set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"):
        live.compare_waiting()


def test_the_webhook_does_not_wait_for_a_label_studio_that_is_slow(project: LiveProject) -> None:
    answering, asked = threading.Event(), threading.Event()

    class Slow:
        def task(self, task_id: int) -> Json:
            asked.set()
            answering.wait(120)
            return project.client.task(task_id)

    live, ours = project.evaluation(lambda _: Slow()).start(), make_region(0)
    change = project.submit(ours, parent_prediction=project.predict(ours))
    try:
        live.note_changes(project.project_id, [change])
        assert asked.wait(120)
        live.note_changes(project.project_id, [change])  # returns, although the thread is being kept waiting
        assert live.figures(project.project_id) == {}
        answering.set()
        wait_until(lambda: bool(live.figures(project.project_id)))
        assert live.figures(project.project_id)["v1"].annotations == 1, "told twice, counted once"
    finally:
        answering.set()
        live.stop()


def test_a_webhook_that_comes_before_what_it_tells_of_is_waited_for(project: LiveProject) -> None:
    """Label Studio may send it before its database shows the change to others."""
    live, ours = project.evaluation(), make_region(0)
    change = project.submit(ours, parent_prediction=project.predict(ours))
    newer = AnnotationChange(change.annotation_id, change.task_id, "2099-01-01T00:00:00Z")
    live.note_changes(project.project_id, [newer, AnnotationChange(10**6, change.task_id, "2099-01-01T00:00:00Z")])
    assert live.compare_waiting() == 2
    assert live.figures(project.project_id) == {}
    project.change(change.annotation_id, updated_at="2099-01-01T00:00:00Z")
    assert live.compare_waiting() == 1
    assert live.figures(project.project_id)["v1"].n == 1


def test_an_annotation_that_makes_us_stumble_is_counted_and_those_behind_it_have_their_turn(
    project: LiveProject,
) -> None:
    class Odd:
        def task(self, task_id: int) -> Json:
            task = copy.deepcopy(project.client.task(task_id))
            task["annotations"][0]["result"] = [{"id": "x", "meta": {"model_version": "v1"}}]
            task["annotations"][0]["parent_prediction"] = {}
            task["annotations"][0]["lead_time"] = float("nan")
            return task

    live, ours = project.evaluation(lambda _: Odd()), make_region(0)
    prediction = project.predict(ours)
    changes = [project.submit(ours, parent_prediction=prediction) for _ in range(2)]
    live.note_changes(project.project_id, changes)
    assert live.compare_waiting() == 0
    assert live.counts["failed"] == 1
    assert live.figures(project.project_id)["v1"].n == 1


def test_a_disk_that_takes_nothing_costs_the_figures_and_not_the_webhook(project: LiveProject) -> None:
    project.root.write_text("a file where the folder should be")
    live = project.evaluation()
    live.note_changes(project.project_id, [AnnotationChange(1, project.task)])
    assert live.counts["unwritten"] == 1


def test_a_registry_that_is_away_gets_no_empty_one_in_its_place(project: LiveProject, tmp_path: Path) -> None:
    """Its disk is not mounted, say; an empty folder there would hide every version."""
    project.root = tmp_path / "unmounted" / "live"
    live = project.evaluation()
    live.note_changes(
        project.project_id, [project.submit(make_region(), parent_prediction=project.predict(make_region()))]
    )
    live.start()
    live.remember_sent(project.project_id, [make_region()])
    wait_until(lambda: live.count("unremembered") == 1)
    live.stop()
    assert live.count("unwritten") == 1
    assert not (tmp_path / "unmounted").exists()


def test_a_task_that_label_studio_cannot_show_keeps_no_other_waiting(project: LiveProject) -> None:
    ours = make_region(0)
    prediction = project.predict(ours)
    changes = [project.submit(ours, parent_prediction=prediction) for _ in range(5)]
    asked: list[int] = []

    class Odd:
        def task(self, task_id: int) -> Json:
            asked.append(task_id)
            if task_id < 0:
                raise Upstream("Label Studio answered 500")
            return project.client.task(task_id)

    clock = HandClock()
    live = project.evaluation(lambda _: Odd(), clock=clock)
    odd = [AnnotationChange(10**6 + number, -1 - number) for number in range(3)]
    live.note_changes(project.project_id, [*odd, *changes])
    for _ in range(3):
        with pytest.raises(Upstream, match="answered 500"):
            live.compare_waiting()
        clock.advance(60)
    assert live.figures(project.project_id)["v1"].annotations == 5
    assert live.count_waiting() == 3
    assert len(asked) <= 3 * 2 + 5, "a Label Studio that cannot be reached is not asked for every annotation"


def test_a_project_whose_label_studio_is_not_known_keeps_no_other_project_waiting(project: LiveProject) -> None:
    ours, first = make_region(0), project.project_id - 1
    live = project.evaluation(lambda project_id: None if project_id == first else project.client)
    live.note_changes(first, [AnnotationChange(1, 1)])
    live.note_changes(project.project_id, [project.submit(ours, parent_prediction=project.predict(ours))])
    with pytest.raises(Unavailable, match="set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"):
        live.compare_waiting()
    assert live.figures(project.project_id)["v1"].n == 1


def test_a_task_that_label_studio_does_not_show_delays_no_annotation_of_another_project(
    project: LiveProject, caplog: pytest.LogCaptureFixture
) -> None:
    """One thread for all projects would wait until Label Studio has answered."""
    troubled, asked, answering = project.project_id + 1000, threading.Event(), threading.Event()

    class Hanging:
        def task(self, task_id: int) -> Json:
            asked.set()
            answering.wait(600)
            raise Upstream("Label Studio answered 500")

    def find(project_id: int) -> Any:
        return Hanging() if project_id == troubled else project.client

    live, ours = project.evaluation(find).start(), make_region(0)
    try:
        live.note_changes(troubled, [AnnotationChange(1, 1)])
        assert asked.wait(60)
        live.note_changes(project.project_id, [project.submit(ours, parent_prediction=project.predict(ours))])
        wait_until(lambda: bool(live.figures(project.project_id)))
        assert live.count_waiting(project_ids=[troubled]) == 1
    finally:
        answering.set()
        live.stop()
    assert caplog.text.count(f"annotations of project {troubled} wait to be compared: Label Studio answered 500") == 1


def test_asking_for_projects_that_there_are_not_takes_no_memory(project: LiveProject) -> None:
    live = project.evaluation()
    for number in range(1000, 1100):
        assert live.figures(number) == {}
    assert live._ledgers == {}
    live.note_changes(project.project_id, [AnnotationChange(1, 1)])
    assert live.count_waiting() == 1
    assert list(live._ledgers) == [project.project_id]


def test_once_it_has_stopped_no_thread_of_it_is_left_and_it_can_begin_again(project: LiveProject) -> None:
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("live-")]

    live = project.evaluation()
    for count in (1, 2):
        live.start()
        live.remember_sent(
            project.project_id, [make_region(number, region_id=f"{count}-{number}") for number in range(3)]
        )
        wait_until(lambda: len(list((project.root / str(project.project_id) / "sent").glob("*"))) == 3 * count)  # noqa: B023 - called at once
        live.stop()
        live.stop()
        assert threads() == []


def test_an_answer_that_cannot_be_kept_costs_none_of_those_after_it(
    project: LiveProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = project.evaluation()
    kept: list[Any] = []

    def keep(_: object, regions: Any) -> None:
        if not kept:
            kept.append("stumbled")
            raise ZeroDivisionError
        kept.append(len(regions))

    monkeypatch.setattr(SentRegions, "keep", keep)
    live.start()
    live.remember_sent(project.project_id, [make_region()])
    live.remember_sent(project.project_id, [make_region()])
    wait_until(lambda: len(kept) == 2)
    live.stop()
    assert (kept, live.count("unremembered")) == (["stumbled", 1], 1)


def test_what_no_longer_counts_is_taken_out_of_the_file_by_itself(project: LiveProject) -> None:
    live, ours = project.evaluation(), make_region(0)
    live.note_changes(project.project_id, [project.submit(ours, parent_prediction=project.predict(ours))])
    live.compare_waiting()
    before, path = live.figures(project.project_id), project.root / str(project.project_id) / "annotations.jsonl"
    with path.open("a") as file:
        file.write('{"k": "gone", "a": 1000000}\n' * 20_000)
    assert live.compare_waiting() == 0
    assert len(path.read_text().splitlines()) == 2
    assert live.figures(project.project_id) == project.evaluation().figures(project.project_id) == before


def test_metrics_are_told_of_a_hundred_projects_however_many_there_are(project: LiveProject) -> None:
    """Fails without the bound of the recent projects: a scrape would read ten thousand ledgers."""
    for number in range(2, 300):
        (project.root / str(number)).mkdir(parents=True)
    live = project.evaluation()
    assert live.recent_projects() == tuple(range(200, 300))
    live.note_changes(2, [])
    assert 2 in live.recent_projects()
    assert len(live.recent_projects()) == 100
