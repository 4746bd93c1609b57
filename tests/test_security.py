"""SECURITY.md states the limits that are in force."""

import pytest
from tiny import ROOT

from mmsent.dataset_scripts.common_tables import MAX_CELL
from mmsent.modeling import common_images, common_urls

TEXT = (ROOT / "SECURITY.md").read_text()


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("pixels of an image", common_images.MAX_IMAGE_PIXELS),
        ("bytes of an image file", common_images.MAX_IMAGE_BYTES),
        ("bytes behind an address", common_urls.MAX_BYTES),
        ("seconds for an address", int(common_urls.MAX_SECONDS)),
        ("redirects of an address", common_urls.MAX_REDIRECTS),
        ("characters of a table's cell", MAX_CELL),
    ],
)
def test_limits(line, number):
    (row,) = (row for row in TEXT.splitlines() if row.startswith(f"| {line}"))
    assert row.endswith(f"| {number:,} |")
