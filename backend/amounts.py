"""Writes amounts as people say them: "no task", "1 task", "2 tasks"."""


def write_amount(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun, which may be followed by its verb.

    Args:
        number: how many there are.
        one: the noun of one, such as "task" or "worker listens".
        many: the noun of several; None: with an s at its end.
    """
    if number == 0:
        return f"no {one}"
    return f"1 {one}" if number == 1 else f"{number} {many or one + 's'}"
