"""What a benchmark found goes into README by itself, between marks of its own: no figure there is copied by hand."""

from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def write_block(name: str, text: str) -> None:
    """Put `text` between README's marks `<!-- name: ... -->` and `<!-- /name -->`, which stay.

    Raises:
        ValueError: README has no such marks.
    """
    readme, end = README.read_text(), f"<!-- /{name} -->"
    begin = next((line for line in readme.splitlines() if line.startswith(f"<!-- {name}: ")), None)
    if begin is None or end not in readme:
        raise ValueError(f"README.md has no line '<!-- {name}: ... -->' with a '{end}' after it")
    before, _, rest = readme.partition(begin)
    README.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")
