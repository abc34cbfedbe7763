"""Replayed photographs take the share of an epoch that was asked for."""

from hypothesis import given
from hypothesis import strategies as st

from finetuner.data.sample import Sample
from finetuner.training.replay import mix


@given(st.integers(1, 200), st.integers(1, 12), st.floats(0.01, 0.9))
def test_the_share_of_an_epochs_steps_is_what_was_asked_for(learnt: int, replayed: int, share: float) -> None:
    learning, other = (
        [Sample(image_sha256=f"{kind}{n}", height_px=1, width_px=1, objects=()) for n in range(count)]
        for kind, count in (("learnt", learnt), ("other", replayed))
    )
    visits = mix(learning, other, share=share)
    assert visits[:learnt] == learning
    extra = [sample.image_sha256 for sample in visits[learnt:]]
    assert len(extra) == max(1, round(learnt * share / (1 - share)))
    counts = [extra.count(sample.image_sha256) for sample in other]
    assert max(counts) - min(counts) <= 1
    assert mix(learning, other, share=0.0) == mix(learning, [], share=share) == learning


def test_ground_truth_that_is_visited_twice_counts_twice_for_the_share() -> None:
    learnt = [Sample(image_sha256=f"{n}", height_px=1, width_px=1, objects=(), is_ground_truth=n < 6) for n in range(9)]
    other = Sample(image_sha256="other", height_px=1, width_px=1, objects=())
    visits = mix(learnt, [other], share=0.5, ground_truth_weight=2)
    assert visits.count(other) == 6 * 2 + 3
