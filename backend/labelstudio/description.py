"""The line in a project's description that leads to our review page."""

import re
from urllib.parse import quote

_BEFORE = "samloop, what got tighter: "
_LINE = re.compile(rf"^{re.escape(_BEFORE)}\S*$", re.MULTILINE)
# All that a URL is made of; quotes, brackets and blanks are encoded, so that it is text wherever it is shown.
_SAFE = ":/?#@!$()*+,;=~%[]&"


def with_review_link(description: object, url: str) -> str:
    """Return the description with one line that names the page; a line of ours is replaced, all else stays as it is.

    Label Studio shows descriptions as plain text: a URL, not a link.
    """
    line = _BEFORE + quote(url, safe=_SAFE)
    text = description if isinstance(description, str) else ""
    if _LINE.search(text):
        return _LINE.sub(lambda _: line, text, count=1)
    return f"{text}\n\n{line}" if text else line
