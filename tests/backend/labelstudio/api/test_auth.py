"""A legacy token goes as it is; a personal one buys access tokens and renews them before they end."""

import threading

import pytest

from backend.errors import BadInput
from backend.labelstudio.api.auth import Credentials

PERSONAL = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"


class Exchange:
    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, key: str) -> str:
        self.keys.append(key)
        return f"access-{len(self.keys)}"


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_legacy_token_is_never_exchanged() -> None:
    exchange = Exchange()
    credentials = Credentials("a" * 40, exchange=exchange)
    assert credentials.header() == "Token " + "a" * 40
    assert not credentials.forget_refused(credentials.header())
    assert exchange.keys == []


def test_a_personal_token_is_exchanged_once_and_again_before_it_ends() -> None:
    exchange, clock = Exchange(), Clock()
    credentials = Credentials(PERSONAL, exchange=exchange, clock_s=clock)
    assert [credentials.header() for _ in range(3)] == ["Bearer access-1"] * 3
    clock.now_s += 239
    assert credentials.header() == "Bearer access-1"
    clock.now_s += 2
    assert credentials.header() == "Bearer access-2"
    assert exchange.keys == [PERSONAL, PERSONAL]


def test_a_refused_access_token_is_replaced_once_however_many_threads_saw_it() -> None:
    exchange = Exchange()
    credentials = Credentials(PERSONAL, exchange=exchange)
    old = credentials.header()
    assert credentials.forget_refused(old)
    assert credentials.header() == "Bearer access-2"
    assert credentials.forget_refused(old)
    assert credentials.header() == "Bearer access-2"


def test_many_threads_buy_one_access_token() -> None:
    exchange = Exchange()
    credentials = Credentials(PERSONAL, exchange=exchange)
    threads = [threading.Thread(target=credentials.header) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(exchange.keys) == 1


def test_the_key_is_not_in_the_repr() -> None:
    assert PERSONAL not in repr(Credentials(PERSONAL, exchange=Exchange()))


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "clé", "\0"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(BadInput, match="empty or holds blanks") as caught:
        Credentials(key, exchange=Exchange())
    assert not key or key not in str(caught.value)
