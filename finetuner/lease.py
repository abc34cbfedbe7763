"""The right to train a project: a lease in Redis that expires, with a fencing number that only grows.

RQ's rate limit prevents two trainings of a project as long as workers exit cleanly or send heartbeats in time. The
lease covers the other cases: a machine that slept, a network that was cut. A training that lost its lease must neither
publish nor promote.
"""

import logging
import time
from dataclasses import dataclass
from threading import Event, Thread

from redis import Redis
from redis.exceptions import RedisError

from backend.errors import LeaseLost
from backend.work.keys import Keys
from backend.work.scripts import Script

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasePace:
    """How often a lease is renewed, and how soon it expires.

    Attributes:
        expires_s: the lease expires so long after its holder's last renewal, s.
        renew_s: the pause between two renewals, s; several fit into `expires_s`, or one slow answer loses the lease.
        look_s: the pause between two looks at a lease that another run holds, s.
        return_s: a holder whose lease ran out may come back for so long after the first look of another run, s; two
            renewals fit into it. So of those who come back after an outage of Redis, the holder is the first.
    """

    expires_s: float = 10.0
    renew_s: float = 2.0
    look_s: float = 0.2
    return_s: float = 5.0


_PACE = LeasePace()


class Lease:
    """The lease of one project, which a thread renews inside the `with` block.

    `patient` and `quick` are connections to the same Redis. While it is unreachable, `check` waits and renewing fails.
    """

    def __init__(self, keys: Keys, *, holder: str, patient: Redis, quick: Redis, pace: LeasePace = _PACE) -> None:
        self._keys = keys
        self._holder = holder
        self._patient = patient
        self._quick = quick
        self._pace = pace
        self._token = 0
        self._lost = False
        self._released = Event()
        self._thread = Thread(target=self._renew, name="lease", daemon=True)

    @property
    def token(self) -> int:
        """The fencing number, higher than that of every earlier lease."""
        return self._token

    @property
    def project_id(self) -> int:
        """The project of the lease."""
        return self._keys.project_id

    def __enter__(self) -> "Lease":  # noqa: PYI034 - beartype takes no Self here
        """Wait until the lease is free, and take it; it expires `pace.expires_s` after its holder's last renewal.

        While the holder is alive this waits, up to the job's time limit, since two trainings must not overlap.
        """
        is_announced = False
        while not (token := self._take()):
            if not is_announced:
                log.info("another run is training project %d; waiting for it", self.project_id)
                is_announced = True
            time.sleep(self._pace.look_s)
        self._token = token
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._released.set()
        self._thread.join()
        try:
            Script.RELEASE_LEASE.run(self._quick, keys=(self._keys.lease, self._keys.holding), args=(self._value,))
        except RedisError as fault:
            log.warning("could not release the lease of project %d; it expires: %s", self._keys.project_id, fault)

    def check(self) -> None:
        """Check at Redis that no other run has taken the lease; called before publishing and before promoting.

        Raises:
            LeaseLost: another run may have trained meanwhile.
            redis.exceptions.RedisError: Redis stays unreachable.
        """
        self.check_quickly()
        if not self._extend(self._patient):
            self._lost = True
        self.check_quickly()

    def check_quickly(self) -> None:
        """Check the result of the last renewal, without a request to Redis.

        Raises:
            LeaseLost: another run has taken the lease.
        """
        if self._lost:
            raise LeaseLost(
                f"this training of project {self._keys.project_id} could not renew its lease for more than "
                f"{self._pace.expires_s:.0f} s, and another training has taken over; it publishes nothing"
            )

    @property
    def _value(self) -> str:
        return f"{self._token}:{self._holder}"

    @property
    def _expires_ms(self) -> int:
        return int(self._pace.expires_s * 1000)

    def _take(self) -> int:
        return int(
            Script.TAKE_LEASE.run(
                self._patient,
                keys=(self._keys.lease, self._keys.fence, self._keys.holding),
                args=(self._holder, self._expires_ms, int(self._pace.return_s * 1000)),
            )
        )

    def _extend(self, connection: Redis) -> bool:
        return bool(
            Script.RENEW_LEASE.run(
                connection,
                keys=(self._keys.lease, self._keys.fence, self._keys.holding),
                args=(self._value, self._token, self._expires_ms),
            )
        )

    def _renew(self) -> None:
        while not self._released.wait(self._pace.renew_s):
            try:
                self._lost = self._lost or not self._extend(self._quick)
            except RedisError as fault:
                log.warning("could not renew the lease of project %d: %s", self._keys.project_id, fault)


def release_of_dead(connection: Redis, keys: Keys, *, holder: str) -> None:
    """Release the lease of a killed training, so that the next need not wait until it expires."""
    Script.RELEASE_DEAD_LEASE.run(connection, keys=(keys.lease, keys.holding), args=(holder,))
