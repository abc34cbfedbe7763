"""What changes while samloop runs stays where earlier versions of samloop put it."""

from pathlib import Path

from backend.registry.local import LocalRegistry


def test_the_state_of_earlier_versions_is_found_again(tmp_path: Path) -> None:
    state = LocalRegistry(tmp_path).state_dir
    assert state.live == tmp_path / "live"
    assert state.review == tmp_path / "review"
    assert state.unfinished == tmp_path / "unfinished"
