"""Settings of Sphinx, and the directives that write the reference: `commands`, `arguments` and `api`.

sphinx-build -W -n --keep-going docs build/docs              # any warning is an error
sphinx-build -D nb_execution_mode=force docs build/docs      # with the output of the notebooks
sphinx-build -b linkcheck docs build/links                   # checks external links, which needs a network
"""

import importlib.metadata

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import mmsent
from mmsent import docs_tables
from mmsent.cli import COMMANDS

project, author, release = "mmsent", "the authors of mmsent", importlib.metadata.version("mmsent")
copyright = author
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
html_theme = "furo"
html_title = "mmsent"
html_show_copyright = False
myst_heading_anchors = 3
nb_execution_mode = "off"  # The build checks the pages; a test of its own runs the notebooks.
nb_execution_timeout = 600

default_role = "code"  # Docstrings write names between single backticks.
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # Types are in the signatures.
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False
nitpick_ignore_regex = [("py:.*", ".*")]  # Classes of other packages have no page here, and no network is used.

# The public functions and classes by heading: a module, and the names in it that a user calls.
API = {
    "Load corpora": [("mmsent", ["load_corpus"])],
    "Load and use models": [
        ("mmsent.modeling.common_loading", ["load_model", "load_processor"]),
        ("mmsent.modeling.common_pipeline", ["ImageTextSentimentPipeline"]),
        ("mmsent.modeling.common_processing", ["MultimodalProcessor"]),
        ("mmsent.modeling.common_base", ["MultimodalPreTrainedModel", "MultimodalOutput"]),
        ("mmsent.modeling.common_heads", ["MultimodalForSequenceClassification"]),
        ("mmsent.modeling.common_config", ["MultimodalConfig"]),
        ("mmsent.modeling.common_memory", ["AspectMemoryConfig"]),
        ("mmsent.modeling.common_images", ["load_image", "BadImageError"]),
    ],
    "Explain": [
        ("mmsent.explanation.attribution", ["explain_post", "Explanation", "Hop"]),
        ("mmsent.explanation.html", ["to_html", "to_section"]),
    ],
    "Measure": [("mmsent.evaluation.scores", ["score", "majority_score"])],
}


def api_source() -> list[str]:
    """Return the reference as reStructuredText."""
    lines = []
    for heading, modules in API.items():
        lines += [heading, "-" * len(heading), ""]
        for module, names in modules:
            for name in names:
                lines += _autodoc(module, name)
    for row in mmsent.ARCHITECTURES.values():
        heading = f"{row.prefix}: {row.authors}, {row.venue} {row.year}"
        lines += [heading, "-" * len(heading), ""]
        for kind in (row.config, row.processor, row.model, row.classifier):
            lines += _autodoc(kind.__module__, kind.__name__)
    return lines


def _autodoc(module: str, name: str) -> list[str]:
    directive = "autoclass" if name[0].isupper() else "autofunction"
    own = [f"   :{option}:" for option in ("members", "show-inheritance") if directive == "autoclass"]
    return [f".. {directive}:: {module}.{name}", *own, ""]


class Api(SphinxDirective):
    """Write the reference of the functions and classes in `API` and of all architectures."""

    def run(self) -> list[nodes.Node]:
        text = "```{eval-rst}\n" + "\n".join(api_source()) + "\n```"
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Commands(SphinxDirective):
    """Write the help of every command as it is printed."""

    def run(self) -> list[nodes.Node]:
        helps = {name: docs_tables.command_help(name) for name in COMMANDS}
        text = "\n".join(f"## mmsent {name}\n\n```text\n{help}\n```\n" for name, help in helps.items())
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Arguments(SphinxDirective):
    """Write the tables of the arguments of train.py."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(docs_tables.arguments(), allow_section_headings=True)


def setup(app: Sphinx) -> None:
    for name, directive in (("api", Api), ("commands", Commands), ("arguments", Arguments)):
        app.add_directive(name, directive)
