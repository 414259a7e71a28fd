"""Pictures from files, and what arrays of them are called."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from atpn.geometry import MARGIN

Array = NDArray[np.float32]
Images = NDArray[np.uint8]

STORED = 192  # side of the stored crops in pixels
FRAMED = 1 + 2 * MARGIN  # side of the region of interest / larger side of the landmark rectangle


def read_rgb(path: Path) -> Images:
    """Decode one image file to (H, W, 3) RGB; ValueError if it is not an image."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} is not an image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
