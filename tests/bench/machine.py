"""The machine that figures were taken on, as far as it explains them."""

import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("pydicom", "imagecodecs", "isal", "deflate", "numpy", "orjson")
_FILES = 500


def describe(scratch: Path) -> list[tuple[str, str]]:
    """Name and value of what matters: processor, memory, kernel, file system, libraries, and what else is going on."""
    load = os.getloadavg()[0]
    return [
        ("processor", f"{os.cpu_count()} x {_field('/proc/cpuinfo', 'model name')}"),
        ("memory", f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB"),
        ("kernel", platform.release()),
        ("file system", f"{_file_system(scratch)}; making a file takes {_file_microseconds(scratch):.0f} CPU-µs"),
        ("load average at the start", f"{load:.1f}" + (" (not idle: times are too long)" if load > 0.5 else "")),
        ("Python", platform.python_version()),
        ("libraries", ", ".join(f"{package} {version(package)}" for package in _PACKAGES)),
    ]


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _file_system(directory: Path) -> str:
    """The type of the mount that a directory is on (proc(5), mounts)."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    within = [(point, kind) for point, kind in mounts if directory.resolve().is_relative_to(point)]
    return max(within, key=lambda mount: len(mount[0]))[1]


def _file_microseconds(directory: Path) -> float:
    """CPU time for an empty file. On ext4 it grows tenfold for minutes after many files were deleted nearby."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        started = time.process_time()
        for number in range(_FILES):
            os.close(os.open(f"{folder}/{number}", os.O_WRONLY | os.O_CREAT, 0o600))
        return (time.process_time() - started) / _FILES * 1e6
