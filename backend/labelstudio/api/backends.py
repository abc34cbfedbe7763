"""The ML backends of a project, and the webhooks that tell them about annotations."""

import base64

from backend.errors import BadInput, Upstream
from backend.labelstudio.api.session import Json, Session, json_list, json_object


class Backends:
    """The ML backends of one Label Studio. Raises as `LabelStudio` does. Safe for any number of threads.

    Args:
        session: for requests that Label Studio answers by itself.
        slow: for requests that make Label Studio ask a backend before it answers.
    """

    def __init__(self, session: Session, *, slow: Session) -> None:
        self._session, self._slow = session, slow

    def connect(self, project_id: int, *, url: str, title: str, basic_auth: tuple[str, str] | None = None) -> int:
        """Register an interactive ML backend and its webhook in a project; return the backend's id. Safe to repeat.

        Label Studio's own webhook for a backend carries no credentials: a backend that asks for them would never hear
        of an annotation. We put them into the webhook's headers. Duplicate rows for the same URL are removed.

        Raises:
            BadInput: Label Studio cannot reach the backend, or takes no webhook for its host because it has no dot.
        """
        url = url.rstrip("/")
        body: Json = {"project": project_id, "url": url, "title": title, "is_interactive": True, "auth_method": "NONE"}
        if basic_auth:
            user, password = basic_auth
            body |= {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
        known = [row for row in self.all(project_id) if str(row["url"]).rstrip("/") == url]
        if known:
            backend = json_object(self._slow.send("PATCH", f"/api/ml/{known[0]['id']}", body=body))
            for double in known[1:]:
                self._slow.send("DELETE", f"/api/ml/{double['id']}")
        else:
            backend = json_object(self._slow.send("POST", "/api/ml/", body=body))
        self._connect_webhook(project_id, url=f"{url}/webhook", basic_auth=basic_auth)
        return int(backend["id"])

    def restore_webhook(self, project_id: int, *, url: str, basic_auth: tuple[str, str] | None = None) -> bool:
        """Create the webhook of a connected backend if the project lacks it; return whether it was created.

        A backend that is not connected gets no webhook: somebody may have removed it on purpose.
        """
        url = url.rstrip("/")
        if any(row["url"] == f"{url}/webhook" for row in self.webhooks(project_id)):
            return False
        if not any(str(row["url"]).rstrip("/") == url for row in self.all(project_id)):
            return False
        self._connect_webhook(project_id, url=f"{url}/webhook", basic_auth=basic_auth)
        return True

    def all(self, project_id: int) -> list[Json]:
        """Return the ML backends of a project. Label Studio asks every backend for its health before it answers."""
        return json_list(self._slow.get("/api/ml/", project=project_id))

    def webhooks(self, project_id: int) -> list[Json]:
        """Return the webhooks of a project."""
        return json_list(self._session.get("/api/webhooks/", project=project_id))

    def _connect_webhook(self, project_id: int, *, url: str, basic_auth: tuple[str, str] | None) -> None:
        headers = {}
        if basic_auth:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(basic_auth).encode()).decode()
        body = {
            "project": project_id,
            "url": url,
            "headers": headers,
            "is_active": True,
            "send_payload": True,
            "send_for_all_actions": True,
        }
        known = [row for row in self.webhooks(project_id) if row["url"] == url]
        if not known:
            try:
                self._session.send("POST", "/api/webhooks/", body=body)
            except BadInput as fault:
                raise BadInput(
                    f"the backend is connected and predicts, but no webhook will tell it about annotations: {fault} "
                    "(Label Studio accepts webhooks for a name with a dot, localhost or an IP address: use such a name)"
                ) from fault
            return
        self._session.send("PATCH", f"/api/webhooks/{known[0]['id']}/", body=body)
        for double in known[1:]:
            self._session.send("DELETE", f"/api/webhooks/{double['id']}/")

    def start_training(self, backend_id: int) -> None:
        """Press "Start training". Label Studio posts START_TRAINING to the backend's webhook before it answers."""
        self._slow.send("POST", f"/api/ml/{backend_id}/train", body={})

    def interactive(self, backend_id: int, task_id: int, context: Json) -> Json:
        """Ask the backend as the editor does; return its prediction.

        Raises:
            Upstream: the backend failed, which Label Studio reports with status 200.
        """
        body = {"task": task_id, "context": context}
        reply = json_object(self._slow.send("POST", f"/api/ml/{backend_id}/interactive-annotating", body=body))
        if "data" not in reply:
            raise Upstream(f"the backend gave no prediction: {str(reply.get('errors'))[:300]}")
        return json_object(reply["data"])
