"""The capacity of docs/operation.md follows from the parts that docs/results.md holds."""

from dataclasses import replace

import pytest
from benchmarks.capacity import OPERATION, Parts, describe_parts, describe_scaling, measure_refresh
from benchmarks.pages import RESULTS
from benchmarks.reconciling import Looks, measure_looks
from benchmarks.summary import block


def test_the_parts_are_read_from_the_results_and_what_is_missing_is_named() -> None:
    results = RESULTS.read_text()
    parts = Parts.from_results(results)
    assert f"| warm click over HTTP, 1024x768 | {parts.click_ms:.0f} ms |" in results
    assert f"| batch of 8, two rectangles an image | {parts.image_ms:.0f} ms an image |" in results
    assert f"{parts.tasks_per_s:.0f} tasks a second" in results
    with pytest.raises(SystemExit, match=r"tasks a second.*run `make bench` and refreshing\.py"):
        Parts.from_results(results.replace("tasks a second", "tasks"))


def test_the_table_tells_what_one_host_and_ten_serve() -> None:
    parts = Parts(
        host="4 cores (Any), 8 GiB, no GPU; commits a, b, c",
        click_ms=50,
        image_ms=500,
        encode_ms=400,
        decode_ms=40,
        tasks_per_s=600,
        walk_tasks=100_000,
        walk_mib=(30, 31),
    )
    text = describe_parts(parts)
    assert "| clicks a second, on images already encoded | 20 | 60 | 200 |" in text
    assert "| new images a second | 2 | 6 | 20 |" in text
    assert "| days for a refresh of a million tasks | 5.79 | 1.93 | 0.579 |" in text
    assert "a million in 28 minutes, as many as 300 such hosts predict" in text
    assert "A million tasks were not walked: the figure follows from 100,000." in text
    assert parts.count_trainings_per_hour() == pytest.approx(3600 / (16_000 * 0.04 + 100 * 0.4))


def test_what_was_measured_is_told_in_words() -> None:
    looks = Looks(annotations=10**6, first_s=60.0, idle_s=0.5, requests=2, walk_s=30.0, grown_mib=300.0)
    text = describe_scaling({1: 2.0, 3: 5.9, 10: 19.0}, looks=looks, where="here; commit d")
    assert "3 give 3.0 times and 10 give 9.5 times as many images a second as one" in text
    assert "with 1,000,000 compared annotations" in text
    assert "takes 0.5 s and 2 requests" in text
    assert "takes less than 0.1 s and" in replace(looks, idle_s=0.01).describe()
    assert text.endswith("on here; commit d.")


def test_the_page_holds_what_follows_from_the_results_that_stand() -> None:
    told = describe_parts(Parts.from_results(RESULTS.read_text()))
    assert block(OPERATION.read_text(), "capacity") == told, "write it anew: make docs"


def test_several_encoders_work_at_the_same_time_and_every_task_gets_one_prediction() -> None:
    """One encoder alone needs a tenth of a second an image."""
    assert measure_refresh(5, tasks=100) > 10


def test_a_look_without_news_asks_twice_and_a_deletion_is_found_in_the_end() -> None:
    """The last of so many annotations that one look does not reach it."""
    looks = measure_looks(10_500)
    assert looks.requests == 2
    assert looks.idle_s < looks.first_s
    assert looks.walk_s > 0
