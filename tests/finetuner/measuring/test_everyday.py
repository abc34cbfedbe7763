"""Every encoder sees the photographs of everyday things once, and no training measures on them or replays them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from backend.sam.loading import BaseModel
from finetuner.data.generic import MEASURED, REPLAYED
from finetuner.measuring import everyday
from finetuner.measuring.everyday import IN_PARTS, KODAK, KODAK_NAMES, everyday_directions


def test_no_photograph_to_compare_with_is_measured_or_replayed() -> None:
    assert not {*IN_PARTS} & {*MEASURED, *REPLAYED, "coins.png", "brick.png"}


def test_the_photographs_ship_with_their_licence_and_are_small() -> None:
    assert {path.name for path in KODAK.iterdir()} == {*KODAK_NAMES, "LICENCE.md"}
    for name in KODAK_NAMES:
        with Image.open(KODAK / name) as image:
            assert max(image.size) == 384
    assert sum(path.stat().st_size for path in KODAK.iterdir()) < 600_000


def test_everyday_photographs_are_encoded_once_for_each_encoder(
    lively_base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encoded: list[str] = []
    real = everyday.encode

    def spy(base: BaseModel, image: Image.Image) -> Any:
        encoded.append(base.encoder_fingerprint)
        return real(base, image)

    monkeypatch.setattr(everyday, "encode", spy)
    first = everyday_directions(lively_base, folder=tmp_path)
    assert first.shape == (34, lively_base.image_positions.shape[1])
    torch.testing.assert_close(first.norm(dim=1), torch.ones(34))
    assert len(first.unique(dim=0)) == 34
    assert torch.equal(everyday_directions(lively_base, folder=tmp_path), first)
    assert encoded == [lively_base.encoder_fingerprint] * 34
    everyday_directions(replace(lively_base, encoder_fingerprint="other"), folder=tmp_path)
    assert encoded[34:] == ["other"] * 34

    assert torch.equal(everyday_directions(lively_base, folder=None), first)
    assert encoded[68:] == [lively_base.encoder_fingerprint] * 34, "they were kept somewhere"

    for path in tmp_path.iterdir():
        path.write_bytes(b"torn")
    assert torch.equal(everyday_directions(lively_base, folder=tmp_path), first)
    assert "is damaged" in caplog.text
