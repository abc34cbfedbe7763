"""Chooses the tasks to label first: while few are annotated, those that differ most; later, those of the lowest score.

Every tenth task is drawn at random, whatever its score. Without these, the held-out images that judge a version would
all be images that the version before it found hard.
"""

import hashlib
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

ENOUGH = 20  # annotated tasks; from then on the scores decide
RANDOM_SHARE = 0.1


def choose_diverse(features: Float[np.ndarray, "n c"], *, count: int, seed: int = 0) -> tuple[int, ...]:
    """Choose rows that represent all rows: the most central row of every cluster, the largest cluster first.

    The clusters are those of k-means with k-means++ (Arthur and Vassilvitskii 2007), over rows scaled to length 1.

    Args:
        features: a row an image, float (n, c).
        count: how many rows to choose.
        seed: of the first centres.

    Returns:
        `count` indices of rows, or all of them where `features` has no more.
    """
    rows = len(features)
    if rows <= count:
        return tuple(range(rows))
    from scipy.cluster.vq import kmeans2  # takes half a second to import

    scaled = np.asarray(features, float)
    scaled = scaled - scaled.mean(axis=0)  # the mean is most of every embedding, and the same for all
    scaled /= np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
    clusters = min(count, len(np.unique(scaled.round(6), axis=0)))  # identical images cannot fill several clusters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of an empty cluster, whose place is filled below
        centres, labels = kmeans2(scaled, clusters, minit="++", rng=np.random.default_rng(seed))
    sizes = np.bincount(labels, minlength=clusters)
    chosen = []
    for cluster in np.argsort(-sizes, kind="stable"):
        members = np.flatnonzero(labels == cluster)
        if len(members):
            away = np.linalg.norm(scaled[members] - centres[cluster], axis=1)
            chosen.append(int(members[away.argmin()]))
    left = [row for row in range(rows) if row not in set(chosen)]
    return (*chosen, *left[: count - len(chosen)])


def draw_at_random(task_ids: Iterable[int], *, project_id: int, count: int) -> tuple[int, ...]:
    """Draw tasks by a hash of their ids, whatever their scores: the same tasks every time, until they are labelled."""
    drawn = sorted(task_ids, key=lambda task_id: hashlib.sha256(f"{project_id}:{task_id}".encode()).digest())
    return tuple(drawn[:count])


def mix_in_random(
    first: Sequence[int], random: Sequence[int], *, count: int, share: float = RANDOM_SHARE
) -> tuple[int, ...]:
    """Return `count` tasks, none twice: every 1 / `share`-th is the next of `random`, the rest are of `first`."""
    every = max(1, round(1 / share))
    mixed: dict[int, None] = {}  # in order
    ahead, blind = iter(first), iter(random)
    for place in range(1, count + 1):
        sources = (blind, ahead) if place % every == 0 else (ahead, blind)
        task = next((candidate for source in sources for candidate in source if candidate not in mixed), None)
        if task is None:
            break
        mixed[task] = None
    return tuple(mixed)
