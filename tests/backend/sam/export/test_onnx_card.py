"""The program on the card of an ONNX export; test_folder runs it as it stands."""

import ast
from dataclasses import replace

import pytest

from backend.sam.export.onnx_card import onnx_card, snippet
from backend.sam.frame import SAM_FRAME, Frame
from backend.sam.loading import BaseModel
from backend.sam.policy import AGREEING, WHOLE_IMAGE


@pytest.mark.parametrize("frame", [SAM_FRAME, replace(SAM_FRAME, canvas_px=512, grid=128, mean=(1.0, 2.0, 3.5))])
def test_its_numbers_are_those_of_the_familys_frame(frame: Frame) -> None:
    numbers = {
        node.value for node in ast.walk(ast.parse(snippet(frame, pads_boxes=False))) if isinstance(node, ast.Constant)
    }
    assert {frame.canvas_px, frame.grid, *frame.mean, *frame.std} <= numbers


def test_it_says_by_which_rule_a_mask_answers_a_click(tiny_base: BaseModel) -> None:
    card = onnx_card(tiny_base, maps=[tuple(tiny_base.image_positions.shape)])
    assert f"mask 3 covers more than {WHOLE_IMAGE:g} of the image" in card
    assert f"masks 0 and 1 is above {AGREEING:g}" in card
