"""The tables of the documentation that are made from the code."""

import ast
import io
import os
import re
import sys
from contextlib import redirect_stdout, suppress
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints
from unittest.mock import patch

from transformers import TrainingArguments

from mmsent import modeling
from mmsent.cli import COMMANDS
from mmsent.evaluation.published import papers, published_rows, table_name
from mmsent.modeling import ARCHITECTURES, Architecture
from mmsent.training.arguments import DataArguments, ModelArguments, RunArguments
from mmsent.training.benchmark import describe_result
from mmsent.training.recipes import load_recipe

HEADINGS = {"Model": ModelArguments, "Corpus": DataArguments, "Training": RunArguments}


def architectures() -> str:
    """Return the table of architectures as Markdown: name, what it reads, paper and what it is."""
    rows = [_describe(row) for row in ARCHITECTURES.values()]
    return "\n".join(["| name | reads | paper | what it is |", "|---|---|---|---|", *rows])


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
    return f"| `{row.name}` | {', '.join(row.reads)} | {row.authors}, {title}, {row.venue} {row.year} | {what} |"


def command_help(name: str) -> str:
    """Return what `mmsent NAME --help` prints, 100 characters wide."""
    output = io.StringIO()
    main = import_module(COMMANDS[name][0]).main
    with (
        patch.object(sys, "argv", [f"mmsent {name}", "--help"]),
        patch.dict(os.environ, COLUMNS="100"),
        redirect_stdout(output),
        suppress(SystemExit),
    ):
        main()
    return output.getvalue().strip()


def arguments() -> str:
    """Return tables of the arguments of train.py as Markdown, without those that are as in transformers."""
    inherited = {field.name: field for field in fields(TrainingArguments)}
    lines = []
    for heading, kind in HEADINGS.items():
        lines += [f"## {heading}", "", "| argument | default | meaning |", "|---|---|---|"]
        hints = get_type_hints(kind)
        for field in fields(kind):
            default = field.default if field.default is not MISSING else field.default_factory()
            parent = inherited.get(field.name) if kind is RunArguments else None
            if parent and (parent.default, parent.default_factory) == (field.default, field.default_factory):
                continue
            lines.append(f"| `--{field.name}` | {_default(default)} | {_meaning(field.metadata, hints[field.name])} |")
        lines.append("")
    return "\n".join(lines)


def _default(value: object) -> str:
    if value in (None, "", []):
        return "–"
    return f"`{value}`".replace(str(Path.home()), "~")


def _meaning(metadata: dict, hint: object) -> str:
    help = (metadata.get("help") or "As in transformers.").replace("|", "\\|")
    choices = metadata.get("choices") or (get_args(hint) if get_origin(hint) is Literal else ())
    return help + (f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else "")


def published(configs: Path = Path("configs"), results: Path = Path("results")) -> str:
    """Return the rows of the papers' tables as Markdown: the paper's figures, the recipe or why there is none, and the
    accuracy that was measured in this project, in another setting."""
    recipes, lines = published_recipes(configs), []
    for paper, content in papers().items():
        lines += [f"### {content['title']} ({content['source']})", "", content.get("note", ""), ""]
        for table, part in content["tables"].items():
            note = f": {part['note']}" if "note" in part else ""
            lines += [f"**{table_name(table)[0].upper()}{table_name(table)[1:]}**{note}", ""]
            header = ["row", "corpus", *part["metrics"], "recipe", "accuracy here"]
            lines += [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
            for name in part["rows"]:
                row = published_rows()[f"{paper}/{table}/{name}"]
                for corpus, figures in row.figures.items():
                    where = "; ".join(recipes.get((row.key, corpus), [row.without_recipe]))
                    measured = "; ".join(describe_result(name, results) for name in row.measured_for(corpus))
                    cells = [row.name, corpus, *figures.values(), where + (f" ({row.note})" if row.note else "")]
                    lines.append("| " + " | ".join([*cells, measured or "–"]) + " |")
            lines.append("")
    return "\n".join(lines)


def published_recipes(configs: Path) -> dict[tuple[str, str], list[str]]:
    """Return the recipes that repeat a published row on a corpus, by the row's key and the corpus."""
    recipes: dict[tuple[str, str], list[str]] = {}
    for path in sorted(configs.glob("*/*.yaml")):
        for name, recipe in load_recipe(path).items():
            keys = recipe.get("published", [])
            for key in [keys] if isinstance(keys, str) else keys:
                label = f"`{path.parent.name}/{path.name}`" + (f" `{name}`" if name else "")
                recipes.setdefault((key, recipe["dataset"]), []).append(label)
    return recipes
