"""The straight line: read, digest, encode, decode and compare, write. Nothing is recorded, published or made durable.

No program that stores frames verified can cost less with these libraries; what staticwado costs beyond it is its own.
It runs in a process of its own: `python -m tests.bench.floor htj2k DIRECTORY FILE...` prints its CPU seconds.
"""

import ctypes
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import imagecodecs
import numpy as np
from isal import isal_zlib

from tests.bench.processes import REPOSITORY

_WARM_UP = 20
_SIZE = 512 * 512 * 2
_PIXEL_DATA = b"\xe0\x7f\x10\x00OW\0\0"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def milliseconds(mode: str, files: Sequence[Path], scratch: Path) -> float:
    """CPU milliseconds per instance of the straight line."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "tests.bench.floor", mode, str(scratch), *map(str, files)]
    printed = subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout
    return float(printed) / (len(files) - _WARM_UP) * 1e3


def _store(path: Path, directory: Path, codec: Callable[[bytes], bytes]) -> None:
    data = path.read_bytes()
    hashlib.sha256(data).hexdigest()
    start = data.rindex(_PIXEL_DATA) + len(_PIXEL_DATA) + 4
    frame = codec(data[start : start + _SIZE])
    frames = directory / path.stem / "frames"
    frames.mkdir(parents=True)
    (frames / "1").write_bytes(frame)


def _none(pixels: bytes) -> bytes:
    return bytes(isal_zlib.compress(pixels, 2, 31))


def _htj2k(pixels: bytes) -> bytes:
    frame = np.frombuffer(pixels, np.int16).reshape(512, 512)
    encoded = imagecodecs.htj2k_encode(frame, reversible=True)
    return _verified(bytes(encoded), imagecodecs.htj2k_decode(encoded), frame)


def _jls(pixels: bytes) -> bytes:
    frame = np.frombuffer(pixels, np.uint16).reshape(512, 512)
    encoded = imagecodecs.jpegls_encode(frame)
    return _verified(bytes(encoded), imagecodecs.jpegls_decode(encoded), frame)


def _verified(encoded: bytes, decoded: np.ndarray, frame: np.ndarray) -> bytes:
    if not np.array_equal(decoded, frame):
        raise SystemExit("a codec isn't lossless")
    return encoded


_CODECS = {"none": _none, "htj2k": _htj2k, "jls": _jls}


def _main(mode: str, directory: Path, files: Sequence[Path]) -> None:
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    libc.mallopt(_M_TRIM_THRESHOLD, 64 << 20)
    started = 0.0
    for number, path in enumerate(files):
        if number == _WARM_UP:
            started = time.process_time()
        _store(path, directory, _CODECS[mode])
    print(time.process_time() - started)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), [Path(each) for each in sys.argv[3:]])
