"""One object followed through the versions."""

from support.checkpoints import make_manifest
from support.review_objects import review_object

from backend.registry.checkpoint import Manifest
from backend.review.masks.history import trace_object


def _manifest(number: int) -> Manifest:
    return make_manifest(version=f"tiny-p1-v{number}-0a1b2c", project_id=1, base_fingerprint="0" * 64)


def test_an_object_is_followed_from_the_base_through_the_versions_that_were_measured_on_it() -> None:
    manifests = [_manifest(number) for number in (1, 2, 3)]
    kept = {
        manifests[0].version: [review_object("a", base=0.2, candidate=0.5)],
        manifests[1].version: [review_object("b", base=0.2, candidate=0.6)],
        manifests[2].version: [
            review_object("b", base=0.2, candidate=0.7),
            review_object("a", base=0.3, candidate=0.8),
        ],
    }
    found = trace_object("a", manifests, prompt="box", objects=lambda version: kept[version])
    assert [(row.version, row.drawn.iou) for row in found] == [
        (None, 0.3),
        (manifests[0].version, 0.5),
        (manifests[2].version, 0.8),
    ]


def test_only_the_newest_versions_are_read() -> None:
    read: list[str] = []

    def objects(version: str) -> list[object]:
        read.append(version)
        return []

    assert trace_object("a", [_manifest(number) for number in range(1, 31)], prompt="box", objects=objects) == ()  # type: ignore[arg-type]
    assert read == [f"tiny-p1-v{number}-0a1b2c" for number in range(19, 31)]
