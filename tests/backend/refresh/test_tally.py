"""What became of the tasks, in figures and in a sentence."""

import json

from backend.refresh.tally import Tally


def test_tasks_that_need_no_further_look_are_added_up() -> None:
    tally = Tally(version="v1", written=3, there=2, touched=1)
    tally.leave_out("no image")
    assert tally.done == 7


def test_the_sentence_tells_what_there_is_to_tell_and_no_more() -> None:
    assert Tally(version="v1").sentence == "no task got predictions of v1"
    tally = Tally(version="v1", written=3, there=2, touched=1, deleted=4, shown=True)
    tally.leave_out("no image")
    assert tally.sentence == (
        "3 tasks got predictions of v1; 2 had them; 1 was touched meanwhile and got none; 1 got none: no image; "
        "4 old predictions deleted; people see v1 now"
    )


def test_the_json_names_its_form_and_holds_figures_and_sentence() -> None:
    tally = Tally(version="v1", written=3, shown=True)
    tally.leave_out("no image")
    told = json.loads(json.dumps(tally.to_json()))
    assert told.pop("form") == 1
    assert told.pop("reason") == tally.sentence
    assert Tally(**told) == tally


def test_the_first_five_reasons_are_kept_and_counted_however_many_there_are() -> None:
    tally = Tally()
    for number in range(8):
        tally.leave_out(f"reason {number}")
        tally.leave_out("reason 0")
    assert tally.whys == {"reason 0": 9, **{f"reason {number}": 1 for number in range(1, 5)}}
    assert tally.empty == 16
