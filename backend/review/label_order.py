"""Which tasks to label first: what differs most while little is known, what the model is least sure of afterwards.

One place in ten goes to a task drawn at random, whatever the model thinks of it: else the images that are held out to
judge a version would all be ones that its predecessor found hard.
"""

import hashlib
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

ENOUGH = 20  # annotated tasks from which on the scores lead
RANDOM_SHARE = 0.1


def diverse(features: Float[np.ndarray, "n c"], *, count: int, seed: int = 0) -> tuple[int, ...]:
    """Rows that stand for all: the most central row of every cluster (k-means++, `count` of rows scaled to length 1).

    The largest cluster's first. All rows where there are no more than `count`.
    """
    rows = len(features)
    if rows <= count:
        return tuple(range(rows))
    from scipy.cluster.vq import kmeans2  # takes half a second to import, which no other command should

    scaled = np.asarray(features, float)
    scaled = scaled - scaled.mean(axis=0)  # the mean embedding is most of every embedding, and tells nothing
    scaled /= np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
    clusters = min(count, len(np.unique(scaled.round(6), axis=0)))  # of images that are all alike there are not many
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a cluster came out empty: others take its place below
        centres, labels = kmeans2(scaled, clusters, minit="++", rng=np.random.default_rng(seed))
    sizes = np.bincount(labels, minlength=clusters)
    found = []
    for cluster in np.argsort(-sizes, kind="stable"):
        members = np.flatnonzero(labels == cluster)
        if len(members):
            away = np.linalg.norm(scaled[members] - centres[cluster], axis=1)
            found.append(int(members[away.argmin()]))
    left = [row for row in range(rows) if row not in set(found)]
    return (*found, *left[: count - len(found)])


def at_random(task_ids: Iterable[int], *, project_id: int, count: int) -> tuple[int, ...]:
    """Tasks drawn by a hash of their ids: the same every time until they are labelled, and blind to every score."""
    drawn = sorted(task_ids, key=lambda task_id: hashlib.sha256(f"{project_id}:{task_id}".encode()).digest())
    return tuple(drawn[:count])


def mix(first: Sequence[int], random: Sequence[int], *, count: int, share: float = RANDOM_SHARE) -> tuple[int, ...]:
    """`count` tasks: of every 1 / `share` places the last is one of `random`, the others are `first`'s; none twice."""
    every = max(1, round(1 / share))
    found: dict[int, None] = {}  # in order
    ahead, blind = iter(first), iter(random)
    for place in range(1, count + 1):
        sources = (blind, ahead) if place % every == 0 else (ahead, blind)
        task = next((candidate for source in sources for candidate in source if candidate not in found), None)
        if task is None:
            break
        found[task] = None
    return tuple(found)
