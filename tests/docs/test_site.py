"""The site builds without a warning: links, anchors, references and docstrings are right."""

import subprocess
import sys

import pytest
from tiny import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-d", folder / "doctrees"]
    result = subprocess.run([*command, ROOT / "docs", folder / "html"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder / "html"


@pytest.mark.slow
def test_the_site_has_every_page(site):
    sources = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("notebooks/*.ipynb")]
    for path in sources:
        assert (site / path.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), path


@pytest.mark.slow
def test_the_reference_comes_from_the_code(site):
    api = (site / "api.html").read_text(encoding="utf-8")
    for name in ("mmsent.load_corpus", "explain_post", "CoMNConfig", "MIMNForSequenceClassification"):
        assert name in api
    assert "Return the number" not in api  # private helpers stay out
    assert "--allow_absolute_paths" in (site / "commands.html").read_text(encoding="utf-8")
    assert "per_device_train_batch_size" in (site / "arguments.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_nothing_of_the_site_needs_a_network(site):
    index = (site / "index.html").read_text(encoding="utf-8")
    assert not [part for part in index.split('src="')[1:] if part.startswith(("http", "//"))]
