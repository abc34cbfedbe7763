"""Leads people in Label Studio to our review page: a line in the project's description, a link in its instructions."""

import re
from urllib.parse import quote

_BEFORE = "samloop, what got tighter: "
_LINE = re.compile(rf"^{re.escape(_BEFORE)}\S*$", re.MULTILINE)
# Characters of a URL that stay as they are. Quotes, angle brackets and blanks are encoded: the URL is text on any page.
_SAFE = ":/?#@!$()*+,;=~%[]&"

_LINK = re.compile(r'<p><a href="[^"]*">samloop: what got tighter</a></p>')


def with_review_link_in_html(instructions: object, url: str) -> str:
    """Return the labelling instructions with one paragraph that links to the page. Replaces our old paragraph only.

    Label Studio shows instructions as cleaned HTML, behind the button "Instructions" above its editor.
    """
    link = f'<p><a href="{quote(url, safe=_SAFE.replace("&", ""))}">samloop: what got tighter</a></p>'
    text = instructions if isinstance(instructions, str) else ""
    if _LINK.search(text):
        return _LINK.sub(lambda _: link, text, count=1)
    return text + link


def with_review_link(description: object, url: str) -> str:
    """Return the description with one line that names the page. Replaces our old line only.

    Label Studio shows descriptions as plain text: people see a URL, not a link.
    """
    line = _BEFORE + quote(url, safe=_SAFE)
    text = description if isinstance(description, str) else ""
    if _LINE.search(text):
        return _LINE.sub(lambda _: line, text, count=1)
    return f"{text}\n\n{line}" if text else line
