"""Waiting for a server that was just started."""

import socket
import subprocess
import time
from typing import Any

PATIENCE_SECONDS = 60.0


def until_listening(port: int, process: subprocess.Popen[Any]) -> None:
    """Wait until this process, or somebody, takes connections at a port of this machine."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"it ended with {process.returncode}, before it listened on port {port}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"nobody listened on port {port} in time")
