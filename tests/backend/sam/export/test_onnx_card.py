"""The program on the card of an ONNX export; test_folder runs it as it stands."""

import ast
from dataclasses import replace

import pytest

from backend.sam.export.onnx_card import snippet
from backend.sam.frame import SAM_FRAME, Frame


@pytest.mark.parametrize("frame", [SAM_FRAME, replace(SAM_FRAME, canvas_px=512, grid=128, mean=(1.0, 2.0, 3.5))])
def test_its_numbers_are_those_of_the_familys_frame(frame: Frame) -> None:
    numbers = {
        node.value for node in ast.walk(ast.parse(snippet(frame, pads_boxes=False))) if isinstance(node, ast.Constant)
    }
    assert {frame.canvas_px, frame.grid, *frame.mean, *frame.std} <= numbers
