"""The smallest ML backend that Label Studio accepts."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Backend(BaseHTTPRequestHandler):
    """The smallest ML backend: answers health, setup, predict and webhook, and keeps what came."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body would wait 40 ms for the acknowledgement of the head
    calls: list[tuple[str, dict[str, str], bytes]]
    predict_status = 200
    result: object = {"result": [], "score": 0.5, "model_version": "stub-v1"}

    def log_message(self, *_: object) -> None:
        return

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.calls.append((self.path, dict(self.headers), body))
        replies = {
            "/setup": b'{"model_version": "stub-v1"}',
            "/predict": json.dumps({"results": [self.result]}).encode(),
        }
        raw = replies.get(self.path, b'{"status": "UP"}')
        self.send_response(self.predict_status if self.path == "/predict" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = _answer


@contextmanager
def ml_backend(*, predict_status: int = 200, result: object = Backend.result) -> Iterator[tuple[str, list[Any]]]:
    """Run one; gives its URL and the growing list of (path, headers, body) that it was asked."""
    calls: list[Any] = []
    handler = type("Handler", (Backend,), {"calls": calls, "predict_status": predict_status, "result": result})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", calls
        server.shutdown()
