"""The table on the order of annotating says what the simulation found, gain or not."""

from typing import Any

from benchmarks.order import ROUNDS, complete, table


def _simulated(order: str, seed: int, images: int, iou: float) -> dict[str, Any]:
    return {
        "order": order,
        "seed": seed,
        "images": images,
        "decodes": 120,
        "objects": 40,
        "measured_on": [9, 90],
        "base": {"point_iou": 0.5, "box_iou": 0.8},
        "point_iou": iou,
        "box_iou": 0.9,
    }


def test_the_orders_table_holds_complete_seeds_alone_and_says_also_what_does_not_gain() -> None:
    gains = {"random": 0.0, "score": -0.01, "diverse": 0.02}
    lines = [
        _simulated(order, seed, images, 0.6 + images / 100 + gain)
        for seed in (0, 1)
        for order, gain in gains.items()
        for images in ROUNDS
    ]
    found = table(complete([*lines, _simulated("random", 2, 4, 0.99)]))
    assert "2 seeds" in found
    assert "| one click | 4 | 0.640 [0.640, 0.640] | 0.630 [0.630, 0.630] | 0.660 [0.660, 0.660] |" in found
    assert "Lowest score first against random: one click -0.010 (ahead in 0 of 6 comparisons)" in found
    assert "Most different first against random: one click +0.020 (ahead in 6 of 6 comparisons)" in found
