"""The layout of the repository: what lies where, which room imports which, and how long files and functions are."""

import ast
import subprocess
from pathlib import Path

import pytest
from tiny import ROOT

# A room imports only rooms that stand below it in this list, and itself.
ROOMS = [
    *("scripts", "hub", "training", "figures", "explanation", "inference", "evaluation", "dataset_scripts"),
    "modeling",
]
SCRIPTS = {
    *("train", "push_to_hub", "benchmarks", "docs"),
    *("mmsent.cli", "mmsent.__main__", "mmsent.demo", "mmsent.docs_tables"),
}
TOP_LEVEL = {
    *(".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md", "pyproject.toml"),
    *("train.py", "push_to_hub.py", "modeling", "dataset_scripts", "src"),
    *("benchmarks", "configs", "docs", "results", "tests"),
}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 350, 50
# The torch-free files of modeling, which corpora may import.
TORCH_FREE = {"mmsent.modeling.common_images", "mmsent.modeling.common_text"}

TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
PYTHON = [ROOT / name for name in TRACKED if name.endswith(".py") and (ROOT / name).exists()]


def module_name(path: Path) -> str:
    """Return the name under which a file is imported."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "src":
        parts = parts[1:]
    elif parts[0] in ("modeling", "dataset_scripts"):
        parts = ["mmsent", *parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PYTHON if path.relative_to(ROOT).parts[0] != "tests"}


def imports(name: str) -> set[str]:
    """Return the modules of this project that a module imports anywhere in its file."""
    path, imported = MODULES[name], set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])]
                )
            for alias in node.names:
                imported.add(f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base)
    return imported & set(MODULES)


def room(name: str) -> str:
    """Return the room of a module; the package itself is a room of its own."""
    if name == "mmsent":
        return name
    if name.split(".")[0] in SCRIPTS or ".".join(name.split(".")[:2]) in SCRIPTS:
        return "scripts"
    return name.split(".")[1]


def test_the_root_reads_like_a_table_of_contents():
    assert {name.split("/")[0] for name in TRACKED if name} == TOP_LEVEL


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"mmsent"}))
def test_arrows_lead_down(name):
    below = ROOMS[ROOMS.index(room(name)) :]
    upward = {other for other in imports(name) - {"mmsent"} if room(other) not in below}
    assert not upward, f"{name} imports {upward}: a room imports only those that stand below it in ROOMS"
    if room(name) != "scripts":
        assert "mmsent" not in imports(name), "only scripts import the whole package, which registers everything"


def test_the_package_itself_registers_and_no_more():
    assert {room(other) for other in imports("mmsent")} <= {"dataset_scripts", "modeling"}


def test_no_circle():
    graph, done = {name: imports(name) - {name} for name in MODULES}, set()
    while ready := {name for name in graph if name not in done and graph[name] <= done}:
        done |= ready
    assert set(graph) == done, f"these modules import each other: {sorted(set(graph) - done)}"


@pytest.mark.parametrize("name", sorted(name for name in MODULES if room(name) in ("modeling", "dataset_scripts")))
def test_modeling_and_corpora_import_little(name):
    if room(name) == "dataset_scripts":
        assert {other for other in imports(name) if room(other) == "modeling"} <= TORCH_FREE
    elif name.rpartition(".")[2] != "modeling":
        source = MODULES[name].read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.level:
                # transformers copies `from .sibling import name` beside a saved model, and nothing else
                assert node.level == 1
                assert node.module is not None
                assert node.module.startswith("common_"), f"{name} imports {node.module}, which is not shared"


@pytest.mark.parametrize("name", ["train.py", "push_to_hub.py"])
def test_the_scripts_tell_their_story_in_a_hundred_lines(name):
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 100


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"


def test_helpers_that_several_folders_import_are_at_the_top():
    """If a single file is collected, only its own folder and `tests` are importable."""
    tests = [path for path in PYTHON if path.relative_to(ROOT).parts[0] == "tests"]
    homes = {path.stem: path.parent for path in tests if path.parent.parent == ROOT / "tests"}
    for path in tests:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.Import) else []
            for name in [*names, getattr(node, "module", None)]:
                assert homes.get(name, path.parent) == path.parent, f"{path} imports {name}: move it to tests/"
