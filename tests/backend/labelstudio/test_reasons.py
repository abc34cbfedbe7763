"""A click's reason goes where the editor shows text, and nowhere else."""

import pytest

from backend.labelstudio.reasons import clear_reason, write_reason

IMAGE = '<Image name="image" value="$image"/>'


def test_the_reason_is_the_text_of_the_tag_that_bears_our_name() -> None:
    config = f'<View>{IMAGE}<TextArea name="notes" toName="image"/><TextArea name="samloop" toName="image"/></View>'
    shown = write_reason("no object there", label_config=config, model_version="v1")
    again = write_reason("no object there", label_config=config, model_version="v1")
    assert shown is not None
    assert again is not None
    (text,) = shown["result"]
    assert (text["from_name"], text["to_name"], text["value"]) == ("samloop", "image", {"text": ["no object there"]})
    assert text["id"] != again["result"][0]["id"]
    assert (shown["score"], shown["model_version"], shown["note"]) == (0.0, "v1", "no object there")


@pytest.mark.parametrize(
    "config",
    [
        None,
        "<View",
        f"<View>{IMAGE}</View>",
        f'<View>{IMAGE}<TextArea name="notes" toName="image"/></View>',
        f'<View>{IMAGE}<TextArea name="samloop"/></View>',
        f'<View>{IMAGE}<Choices name="samloop" toName="image"/></View>',
    ],
)
def test_without_the_tag_there_is_nothing_to_show(config: str | None) -> None:
    assert write_reason("no object there", label_config=config, model_version="v1") is None
    answer = {"result": [], "score": 0.0, "model_version": "v1"}
    assert clear_reason(answer, label_config=config) is answer


def test_an_answer_with_a_mask_empties_the_tag_of_the_reason_before() -> None:
    config = f'<View>{IMAGE}<TextArea name="samloop" toName="image"/></View>'
    answer = {"result": [{"id": "mask"}], "score": 0.5, "model_version": "v1"}
    mask, text = clear_reason(answer, label_config=config)["result"]
    assert (mask, text["type"], text["value"]) == ({"id": "mask"}, "textarea", {"text": []})
