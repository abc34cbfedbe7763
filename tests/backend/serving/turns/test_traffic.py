"""Whether an annotator waits just now."""

import threading

import pytest

from backend.serving.turns.traffic import Traffic


def test_clicks_are_counted_while_they_are_answered_and_a_failure_counts_as_an_answer() -> None:
    traffic = Traffic()
    with traffic.click(), traffic.click():
        assert traffic.clicks == 2
    with pytest.raises(ValueError, match="no prompt"), traffic.click():
        raise ValueError("no prompt")
    assert traffic.clicks == 0


def test_without_a_click_nobody_waits() -> None:
    assert Traffic().wait_until_clear(longest_s=0.0)


def test_while_a_click_is_answered_the_wait_ends_with_its_limit() -> None:
    traffic = Traffic()
    with traffic.click():
        assert not traffic.wait_until_clear(longest_s=0.0)


def test_the_last_click_lets_all_who_wait_go() -> None:
    traffic, answers = Traffic(), []
    with traffic.click():
        waiting = [
            threading.Thread(target=lambda: answers.append(traffic.wait_until_clear(longest_s=120))) for _ in range(3)
        ]
        for thread in waiting:
            thread.start()
        assert not answers
    for thread in waiting:
        thread.join(120)
    assert answers == [True] * 3
