"""Credentials for Label Studio: a legacy token, or a personal access token that buys short-lived access tokens."""

import threading
import time
from collections.abc import Callable

from backend.errors import BadInput

# Label Studio's access tokens live 300 s. We renew them early: an old token could expire on its way.
_RENEW_AFTER_S = 240.0


class Credentials:
    """The `Authorization` header for an API key. Safe for any number of threads. Its repr does not show the key.

    Args:
        api_key: a legacy token, sent as it is; or a personal access token, a JWT that only buys access tokens.
        exchange: trades the personal access token for an access token at Label Studio.
        clock_s: a monotonic clock, s.

    Raises:
        BadInput: the key holds blanks or control characters, which no header can carry.
    """

    def __init__(
        self, api_key: str, *, exchange: Callable[[str], str], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        if not api_key.isascii() or not api_key.isprintable() or not api_key or " " in api_key:
            raise BadInput("the Label Studio API key is empty or holds blanks; copy it from Account & Settings again")
        self._key, self._exchange, self._clock_s = api_key, exchange, clock_s
        self._lock = threading.Lock()
        self._access: str | None = None
        self._renew_at_s = 0.0

    @property
    def is_personal(self) -> bool:
        """True for a personal access token."""
        return self._key.startswith("eyJ") and self._key.count(".") == 2

    def header(self) -> str:
        """Return the value of `Authorization`; ask for a new access token if the last is about to expire."""
        if not self.is_personal:
            return f"Token {self._key}"
        with self._lock:
            if self._access is None or self._clock_s() >= self._renew_at_s:
                # The time before the exchange: a slow exchange must not make the token seem younger.
                asked_at_s = self._clock_s()
                self._access = self._exchange(self._key)
                self._renew_at_s = asked_at_s + _RENEW_AFTER_S
            return f"Bearer {self._access}"

    def forget_refused(self, header: str) -> bool:
        """Forget an access token that Label Studio refused; return whether another try may succeed."""
        with self._lock:
            if self.is_personal and header == f"Bearer {self._access}":
                self._access = None
            return self.is_personal
