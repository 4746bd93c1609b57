"""Segments of an image and the sums of their attributions."""

import sys

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsent.explanation.segments import segment


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 9), st.integers(8, 40), st.integers(8, 40))
def test_the_sums_stay(seed, height, width):
    heat = np.random.default_rng(seed).normal(size=(height, width))
    values = segment(tiny.picture(seed, 50, 30), heat)
    assert values.shape == heat.shape
    assert values.sum() == pytest.approx(heat.sum())
    for value in np.unique(values):  # Two segments have the same mean with probability 0.
        assert heat[values == value].sum() == pytest.approx(values[values == value].sum())


def test_a_segment_has_one_colour():
    """The attribution of one half of the image does not reach the other half."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    heat = np.zeros((64, 64))
    heat[::7, 35] = 1
    values = segment(Image.fromarray(pixels), heat)
    assert not values[:, :30].any()
    assert values[:, 30:].sum() == pytest.approx(heat.sum())
    assert len(np.unique(values)) < 100  # and no speckle


def test_without_scikit_image(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(ImportError, match=r"mmsent\[explain\]"):
        segment(tiny.picture(0), np.zeros((8, 8)))
