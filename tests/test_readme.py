"""The README tells the truth: its table is that of results/, and its code runs as printed."""

import os
import re
import subprocess
import sys

import pytest
import tiny
from tiny import ROOT

from mmsent.training import benchmark

README = (ROOT / "README.md").read_text()


def test_the_table_is_the_one_that_benchmark_writes():
    table = re.search(r"<!-- results -->\n(.*)<!-- /results -->", README, re.DOTALL)[1]
    assert table.strip() == benchmark.table().strip()


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.slow
def test_the_python_blocks_run(tmp_path):
    train = [sys.executable, str(ROOT / "train.py"), "--num_train_epochs", "1", "--report_to", "none"]
    subprocess.run(train, cwd=tmp_path, check=True)
    tiny.picture(0).save(tmp_path / "picture.jpg")
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        uses_package = "import modeling" in block or "import dataset_scripts" in block
        environment = os.environ | {"PYTHONPATH": str(ROOT) if uses_package else ""}
        subprocess.run([sys.executable, "-c", block], cwd=tmp_path, env=environment, check=True)
    explain = re.search(r"python explain.py (.*)", README)[1]
    subprocess.run(f"{sys.executable} {ROOT / 'explain.py'} {explain}", shell=True, cwd=tmp_path, check=True)
    assert (tmp_path / "explanation.png").stat().st_size > 10_000
    assert (tmp_path / "explanation.html").stat().st_size > 10_000
