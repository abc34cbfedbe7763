"""Fetches the files that Label Studio holds or leads to: uploads, local files, objects in buckets."""

import time
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

from backend.errors import KeyRefused, NotFound, RedirectedElsewhere, Upstream
from backend.labelstudio.api.session import PASSING, Session
from backend.net.download import Reply, download
from backend.net.url_policy import is_same_origin

_MOST_REDIRECTS = 5


def get_bytes(session: Session, path_or_url: str, *, max_bytes: int, deadline_s: float) -> bytes:
    """Return the body at a path or a URL of this Label Studio. Sends the key, and follows redirects to the same host.

    Args:
        session: talks to the Label Studio that holds the file.
        path_or_url: "/data/upload/1/x.png", or a URL of the same scheme, host and port.
        max_bytes: the largest body.
        deadline_s: the longest time for all requests together, s.

    Raises:
        KeyRefused: Label Studio refuses the key for this file.
        NotFound: Label Studio has no such file.
        BadInput: the body is larger than `max_bytes`.
        Upstream: Label Studio fails, is too slow, or redirects in circles.
        RedirectedElsewhere: the file lies on another host. Its `location` must pass the URL policy and must not get the
            key.
    """
    until_s = time.monotonic() + deadline_s
    url = path_or_url if "://" in path_or_url else session.url + path_or_url
    for _ in range(_MOST_REDIRECTS + 1):
        if not is_same_origin(url, session.url):
            raise RedirectedElsewhere(url)
        header = session.credentials.header()
        reply = download(
            url,
            max_bytes=max_bytes,
            until_s=until_s,
            address=session.address_of(url),
            headers={"Authorization": header},
        )
        if reply.status == HTTPStatus.UNAUTHORIZED and session.credentials.forget_refused(header):
            continue
        if reply.location is None:
            return _image_bytes(reply, url)
        url = urljoin(url, reply.location)
    raise Upstream(f"{session.url} redirects {path_or_url[:80]!r} in circles")


def _image_bytes(reply: Reply, url: str) -> bytes:
    """The body of the reply, or the error that its status means."""
    if reply.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise KeyRefused(
            f"Label Studio answered {reply.status} for {_shorten(url)}: is LABEL_STUDIO_API_KEY right? "
            "(Local files also need LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED there.)"
        )
    if reply.status == HTTPStatus.NOT_FOUND:
        raise NotFound(f"Label Studio has no {_shorten(url)}")
    if reply.status != HTTPStatus.OK:
        gone = ", as it does for an upload that is gone" if reply.status == HTTPStatus.INTERNAL_SERVER_ERROR else ""
        is_failure = reply.status > HTTPStatus.INTERNAL_SERVER_ERROR or reply.status in PASSING
        raise Upstream(
            f"Label Studio answered {reply.status} for {_shorten(url)}{gone}", is_passing=None if gone else is_failure
        )
    return reply.body


def _shorten(url: str) -> str:
    """The path without its query, which may hold a signature."""
    return urlsplit(url).path[:120]
