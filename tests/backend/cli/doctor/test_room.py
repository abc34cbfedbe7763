"""The doctor tells of a base that does not fit the machine's memory, and of a full disk."""

from pathlib import Path

import pytest

from backend.cli.doctor.room import check_disk, check_memory, machine_mib
from backend.errors import Unavailable
from backend.settings import Settings


def test_a_base_that_does_not_fit_the_memory_is_told_with_the_way_out() -> None:
    huge = Settings(model="sam-vit-huge", device="cpu")
    assert "sam-vit-huge needs about" in check_memory(huge, has_mib=16_000)
    with pytest.raises(
        Unavailable, match=r"needs about \d+ MiB for a server and a training, and this machine has 4000 M"
    ):
        check_memory(huge, has_mib=4_000)
    assert "mobile-sam needs about" in check_memory(Settings(device="cpu"), has_mib=4_000)
    with pytest.raises(Unavailable, match="lower SAMLOOP_CACHE_MIB"):
        check_memory(Settings(device="cpu", cache_mib=3_000), has_mib=4_000)
    assert machine_mib() > 100


def test_eight_gib_are_too_few_for_a_training_of_the_largest_sam() -> None:
    """As measured; twice its weights and PyTorch would fit."""
    with pytest.raises(Unavailable, match="sam-vit-huge needs about"):
        check_memory(Settings(model="sam-vit-huge", device="cpu"), has_mib=8_192)


def test_a_model_of_ones_own_is_not_guessed_about(tmp_path: Path) -> None:
    assert "is not known" in check_memory(Settings(model=str(tmp_path), device="cpu"), has_mib=100)


def test_a_full_disk_is_told_for_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "here"
    assert "MiB are free" in check_disk(folder)
    with pytest.raises(Unavailable, match=r"has 10 MiB left.*: free some space, or set MODEL_DIR"):
        check_disk(folder, free_mib=10)
