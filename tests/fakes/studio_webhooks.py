"""Webhooks of the fake Label Studio: who is called, and with what."""

from contextlib import suppress
from urllib.parse import urlsplit

import requests
from fakes.server import Answer, Request, route
from fakes.studio_rows import Json, StudioRows


class StudioWebhooks(StudioRows):
    """A part of FakeLabelStudio. `.webhook_calls` is all that was sent."""

    def __init__(self, *, address: str = "127.0.0.1") -> None:
        super().__init__(address=address)
        self.webhook_calls: list[tuple[str, Json]] = []

    @route("GET", r"/api/webhooks/")
    def list_webhooks(self, request: Request) -> Answer:
        return Answer(200, self._of("webhook", project=request.number("project")))

    @route("POST", r"/api/webhooks/")
    def create_webhook(self, request: Request) -> Answer:
        fields = request.json()
        if "." not in (urlsplit(fields["url"]).hostname or "") and urlsplit(fields["url"]).hostname != "localhost":
            return Answer(400, {"validation_errors": {"url": ["Enter a valid URL."]}})
        return Answer(201, self._new("webhook", complete_webhook(fields)))

    @route("PATCH", r"/api/webhooks/(\d+)/")
    def change_webhook(self, request: Request, webhook: int) -> Answer:
        self._rows["webhook"][webhook].update(request.json())
        return Answer(200, self._rows["webhook"][webhook])

    @route("DELETE", r"/api/webhooks/(\d+)/")
    def delete_webhook(self, request: Request, webhook: int) -> Answer:
        del self._rows["webhook"][webhook]
        return Answer(204)

    def _tell(self, project: int, event: Json) -> None:
        body = event | {"project": self._rows["project"][project]}
        for webhook in self._of("webhook", project=project, is_active=True):
            self.webhook_calls.append((webhook["url"], body))
            with suppress(requests.RequestException):  # never retried, and nobody hears of it
                requests.post(webhook["url"], json=body, headers=webhook["headers"], timeout=1)


def complete_webhook(fields: Json) -> Json:
    """A webhook's row, with Label Studio's defaults."""
    known = {"headers": {}, "is_active": True, "send_payload": True, "send_for_all_actions": True, "actions": []}
    return known | fields
