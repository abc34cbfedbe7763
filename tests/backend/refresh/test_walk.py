"""The walk over a project's untouched tasks: on a fake Label Studio over real HTTP, with a backend that is played."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio
from support.refresh_lab import Lab, Played

from backend.errors import BadInput, SamloopError, TooMuch, Unavailable, Upstream
from backend.labelstudio.api.predictions import PredictionStore
from backend.refresh.protocol import OUT_OF_TIME

Json = dict[str, Any]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with FakeLabelStudio() as studio:
        yield Lab(studio)


def test_every_untouched_task_gets_one_and_the_others_none(lab: Lab) -> None:
    lab.client.create_annotation(lab.ids[0], [])
    lab.client.create_annotation(lab.ids[1], [], was_cancelled=True)
    lab.draft(lab.ids[2])
    tally = lab.refresh(Played("v1"))
    assert [lab.versions(task_id) for task_id in lab.ids] == [[]] * 3 + [["v1"]] * 7
    assert (tally.written, tally.there, tally.touched) == (7, 0, 0)
    assert lab.client.project(lab.project_id)["model_version"] == "v1"
    assert tally.sentence == "7 tasks got predictions of v1; people see v1 now"
    assert lab.told[-1] == {"phase": "refreshing", "version": "v1", "done": 7, "total": 7}


def test_a_second_walk_asks_for_nothing(lab: Lab) -> None:
    lab.refresh(Played("v1"))
    again = Played("v1")
    tally = lab.refresh(again)
    assert again.asked == []
    assert (tally.written, tally.there) == (0, 10)
    assert [lab.versions(task_id) for task_id in lab.ids] == [["v1"]] * 10


def test_it_goes_on_where_a_walk_ended(lab: Lab) -> None:
    """Whatever ended it, and wherever: between two batches, or with a write whose answer never came."""

    class Killed(BaseException):
        pass

    for end in range(1, 4):
        calls = iter(range(end))

        def check(calls: Iterator[int] = calls) -> None:
            if next(calls, None) is None:
                raise Killed

        lab = Lab(lab.studio)
        with pytest.raises(Killed):
            lab.refresh(Played("v1"), check=check, per_second=0.0)
        lab.refresh(Played("v1"))
        assert [lab.versions(task_id) for task_id in lab.ids] == [["v1"]] * 10


@pytest.mark.parametrize("status", [429, 500, 502, 503])
@pytest.mark.parametrize(
    "prefix", ["/api/tasks", "/api/projects/1/import", "/api/projects/1/", "/api/projects/1/model"]
)
def test_failures_that_pass_are_waited_out(lab: Lab, prefix: str, status: int) -> None:
    lab.studio.fail(prefix, status=status, times=3)
    tally = lab.refresh(Played("v1"))
    assert tally.written == 10
    assert [lab.versions(task_id) for task_id in lab.ids] == [["v1"]] * 10
    assert lab.client.project(lab.project_id)["model_version"] == "v1"


def test_it_comes_back_when_it_was_told_to(lab: Lab) -> None:
    lab.studio.fail("/api/tasks", status=429, times=2, **{"Retry-After": "7"})
    lab.refresh(Played("v1"))
    assert lab.paused_s == pytest.approx(14.0)


def test_a_write_whose_answer_is_lost_is_not_repeated(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored, and then the connection is cut."""
    add, cut = PredictionStore.add, iter([True, False, True])

    def lossy(self: PredictionStore, rows: Sequence[Json]) -> int:
        created = add(self, rows)
        if next(cut, False):
            raise Upstream("the connection was cut")
        return created

    monkeypatch.setattr(PredictionStore, "add", lossy)
    assert lab.refresh(Played("v1")).written == 10
    assert [lab.versions(task_id) for task_id in lab.ids] == [["v1"]] * 10


def test_a_label_studio_that_stays_away_ends_it_with_its_sentence(lab: Lab) -> None:
    lab.studio.fail("/api/tasks", status=502, times=1000)
    with pytest.raises(Upstream, match="answered 502 to GET /api/tasks"):
        lab.refresh(Played("v1"), patience_s=0.3)


def test_a_key_that_is_refused_ends_it_at_once(lab: Lab) -> None:
    lab.studio.fail("/api/tasks", status=403, times=1)
    with pytest.raises(SamloopError, match="LABEL_STUDIO_API_KEY is not accepted"):
        lab.refresh(Played("v1"))


def test_tasks_touched_or_deleted_between_listing_and_writing_get_none(lab: Lab) -> None:
    backend = Played("v1")
    done: list[int] = []

    def meanwhile(ids: list[int]) -> None:
        if not done:
            lab.client.create_annotation(ids[0], [])
            lab.draft(ids[1])
            del lab.studio._rows["task"][ids[2]]
            done.extend(ids[:3])

    backend.before_answer = meanwhile
    tally = lab.refresh(backend)
    assert (tally.written, tally.touched) == (7, 3)
    assert [lab.versions(task_id) for task_id in done] == [[], [], []]
    assert "3 were touched meanwhile and got none" in tally.sentence


def test_a_task_deleted_between_the_last_look_and_the_write_costs_itself_alone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Label Studio refuses the whole batch then."""
    add, gone = PredictionStore.add, [lab.ids[1]]

    def late(self: PredictionStore, rows: Sequence[Json]) -> int:
        if gone:
            del lab.studio._rows["task"][gone.pop()]
        return add(self, rows)

    monkeypatch.setattr(PredictionStore, "add", late)
    tally = lab.refresh(Played("v1"))
    assert (tally.written, tally.touched) == (9, 1)
    assert [lab.versions(task_id) for task_id in lab.ids] == [["v1"], [], *[["v1"]] * 8]


def test_what_label_studio_itself_stored_in_the_window_is_no_double(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    add = PredictionStore.add

    def raced(self: PredictionStore, rows: Sequence[Json]) -> int:
        lab.client.create_prediction(rows[0]["task"], result=[], score=0.5, model_version="v1")
        return add(self, rows)

    monkeypatch.setattr(PredictionStore, "add", raced)
    tally = lab.refresh(Played("v1"))
    assert tally.doubles >= 1
    assert [lab.versions(task_id) for task_id in lab.ids] == [["v1"]] * 10


def test_a_version_that_is_superseded_makes_it_begin_again(lab: Lab) -> None:
    backend = Played("v1")

    def promoted(ids: list[int]) -> None:
        if len(backend.asked) == 2:
            backend.versions[0] = "v2"

    backend.before_answer = promoted
    tally = lab.refresh(backend)
    assert (tally.version, tally.written, tally.restarts) == ("v2", 10, 1)
    assert [lab.versions(task_id)[-1] for task_id in lab.ids] == ["v2"] * 10
    assert [lab.versions(task_id).count("v2") for task_id in lab.ids] == [1] * 10
    assert lab.client.project(lab.project_id)["model_version"] == "v2"


def test_nothing_is_stored_where_nothing_was_looked_for_and_the_sentence_says_so(lab: Lab) -> None:
    backend = Played("v1")
    backend.why = dict.fromkeys(lab.ids, "it has no rectangles, and SAMLOOP_AUTOMATIC is off")
    lab.client.update_project(lab.project_id, model_version="")
    tally = lab.refresh(backend)
    assert lab.store.counts() == {}
    assert tally.sentence == (
        "no task got predictions of v1; 10 got none: it has no rectangles, and SAMLOOP_AUTOMATIC is off"
    )
    assert not lab.client.project(lab.project_id)["model_version"]


def test_what_label_studio_refuses_is_told_and_costs_itself_alone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label that was renamed: the bulk import leaves it out in silence, and one alone is refused with the reason."""
    backend = Played("v1")
    backend.label = "Nut"

    def refused(self: PredictionStore, prediction: Json) -> None:
        raise BadInput("http://ls refused POST /api/predictions/: Nut is no label")

    monkeypatch.setattr(PredictionStore, "add_one", refused)
    tally = lab.refresh(backend)
    assert (tally.written, tally.empty) == (0, 10)
    assert "10 got none: http://ls refused POST /api/predictions/: Nut is no label" in tally.sentence


def test_others_predictions_go_along_since_their_rectangles_are_prompts(lab: Lab) -> None:
    lab.store.add([{"task": lab.ids[0], "result": [], "score": 0.5, "model_version": "a detector"}])
    lab.store.add([{"task": lab.ids[1], "result": [], "score": 0.5, "model_version": "v1"}])
    backend = Played("v2")
    lab.refresh(backend)
    assert [stored["model_version"] for stored in backend.bodies[lab.ids[0]]["predictions"]] == ["a detector"]
    assert "predictions" not in backend.bodies[lab.ids[1]], "a version of ours is no prompt, and large"


def test_a_body_that_is_too_large_is_halved(lab: Lab) -> None:
    backend = Played("v1")

    def too_much(ids: list[int]) -> None:
        if len(ids) > 1 or ids == [lab.ids[3]]:
            raise TooMuch("above the limit")

    backend.before_answer = too_much
    tally = lab.refresh(backend)
    assert (tally.written, tally.empty) == (9, 1)
    assert tally.whys == {"above the limit": 1}


def test_tasks_of_a_batch_that_ran_out_of_time_are_asked_for_again(lab: Lab) -> None:
    backend = Played("v1")

    def slow(ids: list[int]) -> None:
        backend.why = dict.fromkeys(ids[2:], OUT_OF_TIME)

    backend.before_answer = slow
    assert lab.refresh(backend).written == 10


def test_a_batch_of_which_no_task_had_its_turn_is_asked_for_again_and_none_is_missing(lab: Lab) -> None:
    backend, busy = Played("v1"), iter([True, True, False])

    def slow(ids: list[int]) -> None:
        backend.why = dict.fromkeys(ids, OUT_OF_TIME) if next(busy, False) else {}

    backend.before_answer = slow
    assert lab.refresh(backend).written == 10


def test_a_backend_that_never_has_time_fails_the_refresh_with_the_setting(lab: Lab) -> None:
    backend = Played("v1")
    backend.why = dict.fromkeys(lab.ids, OUT_OF_TIME)
    with pytest.raises(Unavailable, match="SAMLOOP_BATCH_SECONDS"):
        lab.refresh(backend, patience_s=0.0)


def test_a_backend_that_loads_is_waited_for(lab: Lab) -> None:
    backend, busy = Played("v1"), iter([True, True])

    def loading(ids: list[int]) -> None:
        if next(busy, False):
            raise Unavailable("the base model is still loading", retry_after_s=0)

    backend.before_answer = loading
    assert lab.refresh(backend).written == 10


def test_old_versions_of_ours_go_and_those_of_others_stay(lab: Lab) -> None:
    ours = ("base", "v1", "v2", "v3")
    for version in ("base", "v1", "a detector", "v2"):
        lab.store.add([{"task": task_id, "result": [], "score": 0.5, "model_version": version} for task_id in lab.ids])
    lab.client.create_annotation(lab.ids[0], [])
    tally = lab.refresh(Played("v3"), ours=ours, keep=2)
    assert tally.deleted == 18
    assert lab.versions(lab.ids[0]) == ["a detector", "base", "v1", "v2"]
    assert [lab.versions(task_id) for task_id in lab.ids[1:]] == [["a detector", "v2", "v3"]] * 9


def test_without_the_flip_people_go_on_seeing_what_they_saw(lab: Lab) -> None:
    lab.store.add([{"task": lab.ids[0], "result": [], "score": 0.5, "model_version": "v1"}])
    lab.store.show("v1")
    tally = lab.refresh(Played("v2"), flip=False, keep=1)
    assert lab.client.project(lab.project_id)["model_version"] == "v1"
    assert not tally.shown
    assert lab.store.counts() == {"v1": 1, "v2": 10}, "what is shown stays"


def test_it_keeps_to_its_rate(lab: Lab) -> None:
    """Requests take no time: a batch waits until the rate has room for all before it."""
    backend = Played("v1")
    lab.refresh(backend, per_second=2.0)
    assert lab.paused_s == pytest.approx(sum(map(len, backend.asked[:-1])) / 2.0, abs=0.01)


def test_several_servers_compute_at_the_same_time(lab: Lab) -> None:
    backend, together = Played("v1"), threading.Barrier(3)
    lab = Lab(lab.studio, tasks=12)
    backend.before_answer = lambda _: together.wait(timeout=60) and None  # nobody is answered before three have asked
    tally = lab.refresh(backend, at_once=3, batch_s=1.0)
    assert (tally.written, lab.told[-1]["done"]) == (12, 12)
    assert [lab.versions(task_id) for task_id in lab.ids] == [["v1"]] * 12


def test_a_version_that_changes_while_several_compute_starts_them_all_again(lab: Lab) -> None:
    backend = Played("v1", "v2")

    def promote(_: list[int]) -> None:
        if len(backend.asked) == 2:
            backend.versions = ["v2"]

    backend.before_answer = promote
    tally = lab.refresh(backend, at_once=3)
    assert (tally.version, tally.restarts) == ("v2", 1)
    assert all("v2" in lab.versions(task_id) for task_id in lab.ids)


def test_what_ends_one_of_several_batches_ends_the_refresh(lab: Lab) -> None:
    def fail(_: list[int]) -> None:
        raise BadInput("the backend refused the batch")

    backend = Played("v1")
    backend.before_answer = fail
    with pytest.raises(BadInput, match="refused the batch"):
        lab.refresh(backend, at_once=3)


def test_batches_grow_to_the_time_that_they_should_take(lab: Lab) -> None:
    lab = Lab(lab.studio, tasks=60)
    quick = Played("v1")
    lab.refresh(quick, batch_s=1000.0)
    assert [len(batch) for batch in quick.asked] == [4, 8, 16, 32]
    lab, slow = Lab(lab.studio), Played("v2")
    lab.refresh(slow, batch_s=1e-9)
    assert [len(batch) for batch in slow.asked] == [4, 1, 1, 1, 1, 1, 1]
