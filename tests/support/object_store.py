"""An S3 for tests: moto's server in this process with a bucket, and ways to damage it."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from backend.registry.objects.registry import ObjectRegistry

BUCKET = "samloop"


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """The address of an empty bucket; the environment holds what its clients need, for child processes too."""
    with open_bucket() as url:
        yield url


@contextmanager
def open_bucket() -> Iterator[str]:
    """As `s3_url`."""
    with serve_s3("127.0.0.1", 0) as endpoint, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", endpoint)
        environment.setenv("AWS_ACCESS_KEY_ID", "tests")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "c4n4ry-of-the-store")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield f"s3://{BUCKET}"


@contextmanager
def serve_s3(address: str, port: int) -> Iterator[str]:
    """A door to the buckets of this process; all doors lead to the same. Returns its URL."""
    server = ThreadedMotoServer(ip_address=address, port=port, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for every request
    server.start()
    try:
        host, bound = server.get_host_and_port()
        yield f"http://{host}:{bound}"
    finally:
        server.stop()


def open_store(url: str, folder: Path, *, mib: int = 64) -> ObjectRegistry:
    """A registry below a prefix of its own; `folder` is this host's disk."""
    return ObjectRegistry(f"{url}/{secrets.token_hex(8)}", folder=folder, most_bytes=mib << 20)


def damage_object(registry: ObjectRegistry, version: str, file: str) -> None:
    """Change the last byte of a published file in the store, which this host has no copy of."""
    store, key = registry._store, f"objects/{registry._sha256(version)}/{file}"
    store.write(key, (store.read(key) or b"")[:-1] + b"X")
