"""Each project's Label Studio: the environment's, else the Label Studio that /setup named."""

import logging
import threading

from cachetools import LRUCache

from backend.errors import BadInput
from backend.images.source import ImageSource
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.api.session import AddressPolicy
from backend.labelstudio.payloads import LabelStudioJson
from backend.settings import Settings

log = logging.getLogger(__name__)
_MOST_KNOWN = 1000  # projects with a connection at hand; the next request of an evicted project makes it anew
_MOST_SETUPS, _LONGEST = 10_000, 1000  # projects, and characters a value: anybody may send /setup


class Connections:
    """Holds an image source and a Label Studio client for every project. Thread-safe."""

    def __init__(self, settings: Settings, *, most_setups: int = _MOST_SETUPS) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._known: LRUCache[int | None, tuple[ImageSource, LabelStudio | None]] = LRUCache(maxsize=_MOST_KNOWN)
        self._setups: LRUCache[int, tuple[str, str]] = LRUCache(maxsize=most_setups)
        if settings.label_studio.api_key and not settings.label_studio.url:
            log.warning(
                "LABEL_STUDIO_API_KEY is not used: it goes to LABEL_STUDIO_URL alone, which is not set",
                extra={"event": "labelstudio.key_unused"},
            )

    def remember_setup(self, project_id: int, body: LabelStudioJson) -> None:
        """Remember `hostname` and `access_token` (the project creator's legacy token) from a /setup request.

        The environment takes precedence: Label Studio sends `http://localhost:8080` unless its HOST is set, and sends a
        legacy token even where legacy tokens are switched off.
        """
        hostname, token = body.get("hostname"), body.get("access_token")
        if not (isinstance(hostname, str) and isinstance(token, str) and hostname and token):
            return
        if max(len(hostname), len(token)) > _LONGEST:
            return
        with self._lock:
            if self._setups.get(project_id) != (hostname, token):
                self._setups[project_id] = (hostname, token)
                self._known.pop(project_id, None)

    def images(self, project_id: int | None) -> ImageSource:
        """Return the source of a project's images."""
        return self._both(project_id)[0]

    def label_studio(self, project_id: int | None) -> LabelStudio | None:
        """Return the client of a project's Label Studio, or of the environment's where `project_id` is None.

        None where neither the environment nor /setup named a Label Studio.
        """
        return self._both(project_id)[1]

    def _both(self, project_id: int | None) -> tuple[ImageSource, LabelStudio | None]:
        with self._lock:
            if project_id not in self._known:
                studio = self._label_studio(project_id)
                setup_url, _ = self._setups.get(project_id, (None, None)) if project_id is not None else (None, None)
                urls = () if setup_url is None else (setup_url,)
                source = ImageSource(settings=self._settings, label_studio=studio, further_urls=urls)
                self._known[project_id] = source, studio
            return self._known[project_id]

    def _label_studio(self, project_id: int | None) -> LabelStudio | None:
        setup_url, setup_key = self._setups.get(project_id, (None, None)) if project_id is not None else (None, None)
        own_url, own_key = self._settings.label_studio.url, self._settings.label_studio.api_key
        # Our key never goes to an address that a request names: anybody who can send /setup would read the key there.
        url, key = (own_url, own_key or setup_key) if own_url else (setup_url, setup_key)
        if not url or not key:
            return None
        # Without credentials anybody may send /setup, so its address must pass the same policy as an image's.
        policy = None if own_url else AddressPolicy(url, self._settings.image.hosts)
        try:
            return LabelStudio(url, key, public_url=self._settings.label_studio.public_url, policy=policy)
        except BadInput:
            return None  # /setup's hostname is not a URL; images by http still work
