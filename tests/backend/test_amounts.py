import pytest

from backend.amounts import write_amount


@pytest.mark.parametrize(("number", "written"), [(0, "no task"), (1, "1 task"), (2, "2 tasks"), (21, "21 tasks")])
def test_a_noun_agrees_with_its_number(number: int, written: str) -> None:
    assert write_amount(number, "task") == written


def test_a_verb_may_follow_the_noun() -> None:
    assert [write_amount(number, "worker listens", "workers listen") for number in (0, 1, 2)] == [
        "no worker listens",
        "1 worker listens",
        "2 workers listen",
    ]
