"""Sum attributions of pixels over the segments of an image, because single pixels look like noise."""

import numpy as np
from PIL import Image

SEGMENTS = 60  # the number of segments of an image, about
COMPACTNESS = 12  # how much a segment prefers nearby pixels to pixels of a similar colour


def segment(image: Image.Image, heat: np.ndarray) -> np.ndarray:
    """Return the attribution of each pixel's segment, divided by the number of its pixels: an array (H, W).

    The sum over a segment, and over the image, stays that of `heat`. Segments are superpixels of similar colour (SLIC;
    Achanta et al., IEEE TPAMI 2012).

    Args:
        heat: (H, W) The attribution of each pixel.

    Raises:
        ImportError: If scikit-image is not installed.
    """
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise ImportError("Explanations need scikit-image: pip install 'mmsent[explain]'.") from error
    pixels = np.asarray(image.resize(heat.shape[::-1]))  # (H, W, 3)
    labels = slic(pixels, SEGMENTS, COMPACTNESS, start_label=0)  # (H, W)
    sums = np.bincount(labels.ravel(), heat.ravel())
    return (sums / np.bincount(labels.ravel()))[labels]
