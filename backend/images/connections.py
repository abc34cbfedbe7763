"""Where each project's Label Studio is: what the environment says, else what its /setup told."""

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
_MOST_KNOWN = 1000  # projects whose connections are kept; the oldest is made again when it is asked for
_MOST_TOLD, _LONGEST = 10_000, 1000  # of what /setup says, whoever sends it


class Connections:
    """One source of images a project. Safe for any number of threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._known: LRUCache[int | None, tuple[ImageSource, LabelStudio | None]] = LRUCache(maxsize=_MOST_KNOWN)
        self._told: LRUCache[int, tuple[str, str]] = LRUCache(maxsize=_MOST_TOLD)
        if settings.label_studio.api_key and not settings.label_studio.url:
            log.warning(
                "LABEL_STUDIO_API_KEY is not used: it goes to LABEL_STUDIO_URL alone, which is not set",
                extra={"event": "labelstudio.key_unused"},
            )

    def told(self, project_id: int, body: LabelStudioJson) -> None:
        """Remember what /setup says: `hostname` and `access_token`, the creator's legacy token.

        The environment goes before it: Label Studio sends `http://localhost:8080` unless its HOST is set, and a legacy
        token even where legacy tokens are switched off.
        """
        hostname, token = body.get("hostname"), body.get("access_token")
        if not (isinstance(hostname, str) and isinstance(token, str) and hostname and token):
            return
        if max(len(hostname), len(token)) > _LONGEST:
            return
        with self._lock:
            if self._told.get(project_id) != (hostname, token):
                self._told[project_id] = (hostname, token)
                self._known.pop(project_id, None)

    def images(self, project_id: int | None) -> ImageSource:
        """The source of a project's images."""
        return self._both(project_id)[0]

    def label_studio(self, project_id: int | None) -> LabelStudio | None:
        """The project's Label Studio, or the environment's (None); None where neither it nor /setup told one."""
        return self._both(project_id)[1]

    def _both(self, project_id: int | None) -> tuple[ImageSource, LabelStudio | None]:
        with self._lock:
            if project_id not in self._known:
                studio = self._label_studio(project_id)
                told_url, _ = self._told.get(project_id, (None, None)) if project_id is not None else (None, None)
                urls = () if told_url is None else (told_url,)
                source = ImageSource(settings=self._settings, label_studio=studio, further_urls=urls)
                self._known[project_id] = source, studio
            return self._known[project_id]

    def _label_studio(self, project_id: int | None) -> LabelStudio | None:
        told_url, told_key = self._told.get(project_id, (None, None)) if project_id is not None else (None, None)
        own_url, own_key = self._settings.label_studio.url, self._settings.label_studio.api_key
        # Our key never goes to an address that a request names: whoever can send /setup would read it there.
        url, key = (own_url, own_key or told_key) if own_url else (told_url, told_key)
        if not url or not key:
            return None
        # Anybody may send /setup where no credentials are asked for: such an address must pass the policy of images.
        policy = None if own_url else AddressPolicy(url, self._settings.image.hosts)
        try:
            return LabelStudio(url, key, public_url=self._settings.label_studio.public_url, policy=policy)
        except BadInput:
            return None  # a hostname from /setup that is no URL: images by http still work
