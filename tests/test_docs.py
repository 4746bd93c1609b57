"""README, docs and CONTRIBUTING tell the truth: tables are generated, links lead somewhere, what they name exists.

`tests/docs` runs the code and commands of the pages, builds the site and runs the notebooks.
"""

import ast
import re
import shlex

import pages
import pytest
from pages import PAGES
from tiny import ROOT

from mmsent import docs_tables
from mmsent.cli import COMMANDS
from mmsent.dataset_scripts import CORPORA
from mmsent.training import benchmark
from mmsent.training.recipes import parse_arguments

TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}
BLOCKS = [block for page in PAGES for block in pages.blocks(page)]
SHELL = [block for block in BLOCKS if block.language == "bash"]
COMMAND_LINES = [shlex.split(line.partition(" #")[0]) for block in SHELL for line in pages.commands(block)]
every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def between(page: str, name: str) -> str:
    """Return what stands between the two marks of a generated table."""
    return re.search(rf"<!-- {name} -->\n(.*)<!-- /{name} -->", TEXTS[page], re.DOTALL)[1].strip()


def test_the_table_of_results_is_generated():
    assert between("results.md", "results") == benchmark.table().strip()
    assert between("results.md", "precision") == benchmark.precision_table().strip()
    assert between("results.md", "calibration") == benchmark.calibration_table().strip()


def test_the_table_of_architectures_is_generated():
    assert between("architectures.md", "architectures") == docs_tables.architectures().strip()


def test_the_tables_of_the_papers_are_generated():
    assert between("reproduce.md", "published") == docs_tables.published(ROOT / "configs", ROOT / "results").strip()


def test_the_table_of_corpora_names_all():
    first_cells = "".join(re.findall(r"^\| (`.*?) \|", TEXTS["corpora.md"], re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", first_cells)) == set(CORPORA)


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 150


def test_the_picture_of_the_readme_is_there_for_light_and_dark_pages():
    for path in re.findall(r'(?:src|srcset)="([^"]+)"', TEXTS["README.md"]):
        assert (ROOT / path).stat().st_size > 10_000, path


@every_page
def test_links_lead_somewhere(path):
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", TEXTS[path.name]) if not link.startswith("http")]
    assert [link for link in links if not (path.parent / link).exists()] == []


@every_page
def test_measured_figures_stand_in_the_results(path):
    """Every "mean ± deviation" of a page is a row of the generated table."""
    figures = set(re.findall(r"\d+\.\d ± \d+\.\d", TEXTS[path.name]))
    tables = benchmark.table() + benchmark.precision_table() + benchmark.calibration_table()
    assert figures <= set(re.findall(r"\d+\.\d ± \d+\.\d", tables))


def test_what_is_not_run_has_a_reason():
    assert all(len(block.not_run) > 5 for block in BLOCKS if block.not_run is not None)


def test_commands_of_training_have_arguments_that_exist():
    found = [words[words.index("train.py") + 1 :] for words in COMMAND_LINES if words[:2] == ["accelerate", "launch"]]
    assert len(found) >= 10
    for words in found:
        if "--bf16" in words:  # refused where the processor or its software cannot compute it
            del words[words.index("--bf16") : words.index("--bf16") + 2]
        parse_arguments([str(ROOT / word) if word.startswith("configs/") else word for word in words], "")


def test_commands_have_options_that_exist():
    found = [words for words in COMMAND_LINES if words[0] == "mmsent"]
    assert len(found) >= 8
    helps = {name: docs_tables.command_help(name) for name in {words[1] for words in found}}
    for words in found:
        options = words[: words.index("--")] if "--" in words else words
        unknown = [word for word in options if word.startswith("--") and word not in helps[words[1]]]
        assert not unknown, f"{' '.join(words)}: {unknown}"


def test_every_command_has_help():
    assert all("usage: mmsent " + name in docs_tables.command_help(name) for name in COMMANDS)


def test_the_arguments_of_train_py_are_described():
    table = docs_tables.arguments()
    for argument in ("architecture", "dataset", "text_from_epoch", "learning_rate"):
        assert f"| `--{argument}` |" in table
    assert "--adam_beta1" not in table, "its default is that of transformers"
    assert "As in transformers." in table


def literals(path) -> str:
    """Return the texts of a source file; what an f-string fills in is `...`."""
    tree, texts = ast.parse(path.read_text(encoding="utf-8")), []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return "\n".join(texts)


def test_the_messages_of_troubleshooting_exist():
    sources = [path for folder in ("src", "modeling", "dataset_scripts") for path in (ROOT / folder).rglob("*.py")]
    code = "\n".join(map(literals, sources))
    messages = re.findall(r"^\| `(.+?)` \|", TEXTS["troubleshooting.md"], re.MULTILINE)
    assert len(messages) >= 25
    missing = [
        message
        for message in messages
        if any(part.strip().casefold() not in code.casefold() for part in message.split("..."))
    ]
    assert missing == []
