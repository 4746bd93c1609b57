"""What all figures share: colours, fonts and how they are saved."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from mmsent.dataset_scripts.common_files import atomic_write

# Colour-blind readers can tell these apart (Okabe and Ito), and in grey their lightness differs; hatches and markers
# say the same once more.
COLORS = ("#00527f", "#d55e00", "#a6cfe8", "#555555", "#e6b35c", "#009e73")
HATCHES = ("", "///", "", "xx", "...", "\\\\\\")
MARKERS = ("v", "o", "^", "s", "D", "P")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by the suffix of the path. The same figure gives the same bytes."""
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "mmsent"}), atomic_write(path) as temporary:
        figure.savefig(
            temporary, format=path.suffix[1:], dpi=150, bbox_inches="tight", pad_inches=0.1, metadata=metadata
        )


def clean(axis) -> None:
    """Remove the frame of a panel but its left and lower line."""
    axis.spines[["top", "right"]].set_visible(False)
