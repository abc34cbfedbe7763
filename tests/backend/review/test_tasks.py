"""Links into Label Studio lead where browsers reach it, which need not be where the backend does."""

import pytest

from backend.labelstudio.api.client import LabelStudio
from backend.review.tasks import task_url


@pytest.mark.parametrize(
    ("public_url", "address"),
    [(None, "http://label-studio:8080"), ("https://labels.example.com/", "https://labels.example.com")],
)
def test_a_task_is_linked_where_browsers_reach_label_studio(public_url: str | None, address: str) -> None:
    studio = LabelStudio("http://label-studio:8080", "0" * 40, public_url=public_url)
    assert task_url(studio, 3, 7) == f"{address}/projects/3/data?task=7"
