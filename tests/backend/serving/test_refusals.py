"""What is kept of refused clicks is little, and the latest comes first."""

from backend.serving.refusals import Refusals


def test_the_latest_ten_of_a_project_are_kept() -> None:
    refusals = Refusals()
    for task_id in range(12):
        refusals.note(7, task_id=task_id, reason="x" * 600)
    refusals.note(8, task_id=None, reason="its image cannot be had")
    assert [refusal.task_id for refusal in refusals.last(7)] == list(range(11, 1, -1))
    assert len(refusals.last(7)[0].reason) == 500
    assert [refusal.reason for refusal in refusals.last(8)] == ["its image cannot be had"]
    assert refusals.last(9) == ()
