"""The tables of the documentation that are made from the code."""

import ast
import re
from pathlib import Path

from mmsent import modeling
from mmsent.modeling import ARCHITECTURES, Architecture


def architectures() -> str:
    """Return the README's table of architectures as Markdown: name, paper and what each of them is."""
    rows = [_describe(row) for row in ARCHITECTURES.values()]
    return "\n".join(["| name | paper | what it is |", "|---|---|---|", *rows])


def _describe(row: Architecture) -> str:
    """Return a row of the table, from the row in `ARCHITECTURES` and the docstring of the file.

    Raises:
        ValueError: If the docstring does not begin with "Name: what it is.", then an empty line, then "Authors:
            *Title*. Venue Year.", or "Venue Year, link." where there is a paper or code to link to.
    """
    (folder,) = modeling.__path__
    source = Path(folder, f"{row.name}.py").read_text(encoding="utf-8")
    docstring = " ".join((ast.get_docstring(ast.parse(source)) or "").split())
    paper = rf"{re.escape(row.authors)}: (\*[^*]+\*)\. {row.venue} {row.year}(?:, (https://\S+))?\."
    match = re.match(rf"[^:]+: (.+?)\. {paper}", docstring)
    if match is None:
        raise ValueError(
            f"modeling/{row.name}.py: the docstring must begin 'Name: what it is.' and go on '{row.authors}: *Title*. "
            f"{row.venue} {row.year}.'"
        )
    what, title, link = match.groups()
    title = f"[{title}]({link})" if link else title
    return f"| `{row.name}` | {row.authors}, {title}, {row.venue} {row.year} | {what} |"
