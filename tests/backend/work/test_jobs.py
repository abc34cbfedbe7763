"""Which jobs may run at all: Redis may hold anything."""

from collections.abc import Iterator

import pytest
from rq import Queue
from rq.serializers import JSONSerializer

from backend.errors import RefusedJob
from backend.work.connection import connect
from backend.work.embedded import Valkey
from backend.work.jobs import REFRESHES, TRAINING, SafeJob, open_queue


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    with Valkey(tmp_path_factory.mktemp("queue")) as valkey, connect(valkey.start()) as connection:
        yield open_queue(connection)


def fetched(queue: Queue, function: str) -> SafeJob:
    queue.enqueue_call(function, args=("x",), job_id="x")
    return SafeJob.fetch("x", connection=queue.connection, serializer=JSONSerializer)


@pytest.mark.parametrize("function", ["os.system", "finetuner.refreshing.run", "finetuner.job.execute"])
def test_a_function_that_is_not_on_the_list_is_not_even_imported(queue: Queue, function: str) -> None:
    job = fetched(queue, function)
    assert f"it calls {function!r}" in str(job.refusal())
    with pytest.raises(RefusedJob, match="was refused"):
        _ = job.func


def test_a_payload_that_is_none_of_ours_is_refused(queue: Queue) -> None:
    fetched(queue, "finetuner.job.run")
    queue.connection.hset("rq:job:x", "data", b"\x80\x04cos\nsystem\n")
    job = SafeJob.fetch("x", connection=queue.connection, serializer=JSONSerializer)
    assert job.refusal() == "job x was refused: samloop did not write its payload; is something else using this Redis?"


def test_a_training_is_on_the_list(queue: Queue) -> None:
    assert fetched(queue, "finetuner.job.run").refusal() is None


def test_no_two_kinds_share_a_queue_or_a_function() -> None:
    """A refresh never waits for a training, nor the other way round."""
    assert len({TRAINING.queue, REFRESHES.queue}) == len({TRAINING.function, REFRESHES.function}) == 2
    assert len({TRAINING.kind, REFRESHES.kind}) == 2
