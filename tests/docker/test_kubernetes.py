"""The manifests build, are what Kubernetes accepts, and give pods no more than they need."""

import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from support.tools import need_program

from backend.settings import settings_rows

KUBERNETES = Path(__file__).resolve().parents[2] / "docker" / "kubernetes"
VERSION = "1.33"


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What `kubectl apply -k docker/kubernetes` sends, with the example's secrets."""
    folder = tmp_path_factory.mktemp("kubernetes") / "kubernetes"
    shutil.copytree(KUBERNETES, folder)
    shutil.copy(folder / "example.env", folder / "secret.env")
    kubectl = need_program("kubectl", package="Debian's kubernetes-client")
    built = subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True, text=True, timeout=120)
    return list(yaml.safe_load_all(built.stdout))


@pytest.fixture(scope="module")
def pods(documents: list[dict]) -> dict[str, dict]:
    """The specification of every pod, by its workload's name."""
    return {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]
        for document in documents
        if document["kind"] in ("Deployment", "StatefulSet")
    }


def list_containers(pod: dict) -> list[dict]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_kubernetes_accepts_every_manifest(documents: list[dict]) -> None:
    assert {document["kind"] for document in documents} >= {"Deployment", "StatefulSet", "HorizontalPodAutoscaler"}
    for document in documents:
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_a_manifest_with_an_unknown_field_is_not_accepted(documents: list[dict]) -> None:
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    misspelt = deployment | {"spec": deployment["spec"] | {"replica": 3}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(misspelt, VERSION, strict=True)


def test_no_pod_runs_as_root_writes_to_its_image_or_gains_rights(pods: dict[str, dict]) -> None:
    assert set(pods) == {"queue", "server", "worker", "refresh-worker"}
    for pod in pods.values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        for container in list_containers(pod):
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"]
            assert not rights["allowPrivilegeEscalation"]
            assert rights["capabilities"] == {"drop": ["ALL"]}


def test_every_container_says_how_much_memory_it_takes(pods: dict[str, dict]) -> None:
    for pod in pods.values():
        for container in list_containers(pod):
            assert set(container["resources"]) == {"requests", "limits"}
            assert "memory" in container["resources"]["limits"]


def test_who_is_stopped_gets_the_time_that_stopping_takes(pods: dict[str, dict]) -> None:
    for name in ("server", "worker", "refresh-worker"):
        assert pods[name]["terminationGracePeriodSeconds"] > 40, "a proxy's 5 s, and 30 s of a worker"


def test_no_rollout_or_drained_node_takes_all_servers(documents: list[dict]) -> None:
    server = next(d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == "server")
    assert server["spec"]["replicas"] > 1
    assert server["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budgets = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "PodDisruptionBudget"}
    assert set(budgets) == {"server", "worker", "refresh-worker"}
    for budget in budgets.values():
        assert budget["maxUnavailable"] == 1


def test_pods_are_chosen_by_the_labels_that_they_have(documents: list[dict]) -> None:
    labels = [
        document["spec"]["template"]["metadata"]["labels"]
        for document in documents
        if document["kind"] in ("Deployment", "StatefulSet")
    ]
    wanted = [d["spec"]["selector"] for d in documents if d["kind"] == "Service"]
    wanted += [d["spec"]["selector"]["matchLabels"] for d in documents if d["kind"] == "PodDisruptionBudget"]
    wanted += [d["spec"]["podSelector"]["matchLabels"] for d in documents if d["kind"] == "NetworkPolicy"]
    for selector in wanted:
        assert any(selector.items() <= given.items() for given in labels), selector


def test_every_variable_is_read_by_somebody(documents: list[dict]) -> None:
    known = {row.variable for row in settings_rows()} | {"REDIS_PASSWORD"}
    given = {key for d in documents if d["kind"] in ("ConfigMap", "Secret") for key in d["data"]}
    assert {key for key in given if not key.startswith("AWS_")} <= known
