"""Stand in for journald: run a program under /run/systemd/journal/socket and print the entries it sent, as JSON.

Run in a mount namespace of its own, because the socket's place is fixed. The program is ended once it has said that
files are done, or that it has stopped.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

subprocess.run(["mount", "--make-rprivate", "/"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
Path("/run/systemd/journal").mkdir(parents=True)
entries: list[list[str]] = []
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
    journal.bind("/run/systemd/journal/socket")
    journal.settimeout(120)
    reader, writer = os.pipe()
    status = os.fstat(writer)
    process = subprocess.Popen(
        sys.argv[1:],
        stdout=subprocess.DEVNULL,
        stderr=writer,
        env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
    )
    try:
        while not entries or "STATICWADO_EVENT=daemon_stopped" not in entries[-1]:
            entries.append(journal.recv(1 << 20).decode().splitlines())
            if "STATICWADO_EVENT=files_done" in entries[-1]:
                process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
sys.stdout.write(json.dumps(entries) + "\n")
