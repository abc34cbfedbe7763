"""The table of what held-out images choose for tiles, and what that is worth on others."""

from benchmarks.judged_tiles import choose, table


def answered(point: float, box: float, *, objects: int = 8) -> list[tuple[str, str, float, float]]:
    """Objects on as many images, of which one is tiny."""
    return [
        (f"{number}", kind, value, 0.06 if number else 0.03)
        for number in range(objects)
        for kind, value in (("point", point), ("box", box))
    ]


RESULT = {
    "set": "aerial",
    "fold": 0,
    "split": "hash",
    "decodes": 600,
    "learnt": 20,
    "held_out": {"tiles": answered(0.5, 0.8), "whole": answered(0.6, 0.7)},
    "others": {"tiles": answered(0.4, 0.9), "whole": answered(0.3, 0.85)},
    "commit": "abc",
}


def test_held_out_images_choose_and_others_show_what_that_is_worth() -> None:
    assert (choose(RESULT, "point").is_whole, choose(RESULT, "box").is_whole) == (True, False)
    lines = table([RESULT]).splitlines()
    assert "| one click | -0.100 [-0.100, -0.100] | 1 of 8 | whole images | 8, 8 |" in lines[2]
    assert lines[2].endswith("| 0.300 | 0.400 (+0.100 [+0.100, +0.100]) | +0.100 (1) | 0.300 |")
    assert lines[3].endswith("| tiles | 8, 8 | 0.850 | 0.900 (+0.050 [+0.050, +0.050]) | +0.050 (1) | 0.900 |")
    assert lines[4] == "| **aerial, mean of 1** | | | one click | | | | | 0.300 | 0.400 (+0.100) | | 0.300 (+0.000) |"
