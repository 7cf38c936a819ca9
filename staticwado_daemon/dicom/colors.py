"""Colour spaces: red, green and blue of luminance and colour differences (PS3.3 C.7.6.3.1.2, solved for them)."""

import numpy as np

from staticwado_daemon.dicom.native import Array

_FROM_YBR_FULL = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)
_FROM_YBR_PARTIAL = np.array([[1.1644, 0, 1.5960], [1.1644, -0.3918, -0.8130], [1.1644, 2.0172, 0]], np.float32)


def from_ybr_full(values: Array, bits: int = 8) -> Array:
    """Return red, green and blue of YBR_FULL samples of so many bits; not rounded, and not cut to their range."""
    middle = 1 << (bits - 1)
    colors: Array = (values - np.array([0, middle, middle], np.float32)) @ _FROM_YBR_FULL.T
    return colors


def from_ybr_partial(values: Array) -> Array:
    """Return red, green and blue of YBR_PARTIAL samples of 8 bits; not rounded, and not cut to their range."""
    colors: Array = (values - np.array([16, 128, 128], np.float32)) @ _FROM_YBR_PARTIAL.T
    return colors
