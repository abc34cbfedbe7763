"""Who trains a project now: a lease in Redis that runs out by itself, with a number that only grows.

RQ's rate limit keeps two trainings of a project apart as long as workers die cleanly or speak in time. The lease is for
the rest: a machine that slept, a network that was cut. Who lost it must neither publish nor promote.
"""

import logging
import time
from threading import Event, Thread

from redis import Redis
from redis.exceptions import RedisError

from backend.errors import LeaseLost
from backend.work.keys import Keys
from backend.work.scripts import Script

log = logging.getLogger(__name__)

LEASE_S = 10.0
_RENEW_S = 2.0
_WAIT_S = 0.2


class Lease:
    """The right to train one project, renewed by a thread for as long as the `with` block lasts.

    `patient` and `quick` are connections to the same Redis: `check` waits for a Redis that is away, renewing does not.
    """

    def __init__(self, keys: Keys, *, holder: str, patient: Redis, quick: Redis) -> None:
        self._keys = keys
        self._holder = holder
        self._patient = patient
        self._quick = quick
        self._token = 0
        self._lost = False
        self._released = Event()
        self._thread = Thread(target=self._renew, name="lease", daemon=True)

    @property
    def token(self) -> int:
        """The fencing number: higher than that of every lease given before."""
        return self._token

    @property
    def project_id(self) -> int:
        """Whose training it is."""
        return self._keys.project_id

    def __enter__(self) -> "Lease":  # noqa: PYI034 - beartype takes no Self here
        """Wait until the lease is free and take it: it frees itself 10 s after its holder's last sign of life.

        A holder that lives is waited for, up to the job's time limit: beside it would be an overlap.
        """
        is_announced = False
        while not (token := self._take()):
            if not is_announced:
                log.info("project %d is being trained by another run; waiting", self.project_id)
                is_announced = True
            time.sleep(_WAIT_S)
        self._token = token
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._released.set()
        self._thread.join()
        try:
            Script.RELEASE_LEASE.run(self._quick, keys=(self._keys.lease,), args=(self._value,))
        except RedisError as fault:
            log.warning("the lease of project %d runs out by itself: %s", self._keys.project_id, fault)

    def check(self) -> None:
        """Make sure, at Redis, that nobody else has trained since; called before publishing and before promoting.

        Raises:
            LeaseLost: somebody may have.
            redis.exceptions.RedisError: Redis is away, and stayed away.
        """
        self.check_quickly()
        if not self._extend(self._patient):
            self._lost = True
        self.check_quickly()

    def check_quickly(self) -> None:
        """The same from what the renewing thread last heard, without asking.

        Raises:
            LeaseLost: another run has taken the lease.
        """
        if self._lost:
            raise LeaseLost(
                f"this training of project {self._keys.project_id} was out of touch for more than {LEASE_S:.0f} s, "
                "and another one has taken its place; it publishes nothing"
            )

    @property
    def _value(self) -> str:
        return f"{self._token}:{self._holder}"

    def _take(self) -> int:
        return int(
            Script.TAKE_LEASE.run(
                self._patient, keys=(self._keys.lease, self._keys.fence), args=(self._holder, int(LEASE_S * 1000))
            )
        )

    def _extend(self, connection: Redis) -> bool:
        return bool(
            Script.RENEW_LEASE.run(
                connection,
                keys=(self._keys.lease, self._keys.fence),
                args=(self._value, self._token, int(LEASE_S * 1000)),
            )
        )

    def _renew(self) -> None:
        while not self._released.wait(_RENEW_S):
            try:
                self._lost = self._lost or not self._extend(self._quick)
            except RedisError as fault:
                log.warning("the lease of project %d cannot be renewed: %s", self._keys.project_id, fault)


def release_of_dead(connection: Redis, keys: Keys, *, holder: str) -> None:
    """Free the lease of a training that was killed, so that the next need not wait for it to run out."""
    Script.RELEASE_DEAD_LEASE.run(connection, keys=(keys.lease,), args=(holder,))
