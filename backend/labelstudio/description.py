"""Where Label Studio's people find our review page: a line in the project's description, a link in its instructions."""

import re
from urllib.parse import quote

_BEFORE = "samloop, what got tighter: "
_LINE = re.compile(rf"^{re.escape(_BEFORE)}\S*$", re.MULTILINE)
# All that a URL is made of; quotes, brackets and blanks are encoded, so that it is text wherever it is shown.
_SAFE = ":/?#@!$()*+,;=~%[]&"


_LINK = re.compile(r'<p><a href="[^"]*">samloop: what got tighter</a></p>')


def with_review_link_in_html(instructions: object, url: str) -> str:
    """Return the labelling instructions with one paragraph that links the page; ours is replaced, all else stays.

    Label Studio shows instructions as cleaned HTML, behind the button "Instructions" above its editor.
    """
    link = f'<p><a href="{quote(url, safe=_SAFE.replace("&", ""))}">samloop: what got tighter</a></p>'
    text = instructions if isinstance(instructions, str) else ""
    if _LINK.search(text):
        return _LINK.sub(lambda _: link, text, count=1)
    return text + link


def with_review_link(description: object, url: str) -> str:
    """Return the description with one line that names the page; a line of ours is replaced, all else stays as it is.

    Label Studio shows descriptions as plain text: a URL, not a link.
    """
    line = _BEFORE + quote(url, safe=_SAFE)
    text = description if isinstance(description, str) else ""
    if _LINE.search(text):
        return _LINE.sub(lambda _: line, text, count=1)
    return f"{text}\n\n{line}" if text else line
