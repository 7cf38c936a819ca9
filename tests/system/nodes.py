"""A node of the DICOM network for the tests: a tree with the SCP that receives for it, and its daemon where wanted."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.system.listening import PATIENCE_SECONDS, until_listening
from tests.system.programs import REPOSITORY, STATICWADO, Place, running, write_config
from tests.system.servers import free_port

TITLE = "STATICWADO"


@dataclass(frozen=True, slots=True)
class Node(Place):
    """A configured node.

    Attributes:
        port: where its SCP is to listen.
    """

    port: int

    @property
    def drop(self) -> Path:
        """Where the SCP puts what it has received."""
        return self.root / ".staticwado" / "drop"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def scp_log(self) -> Path:
        return self.directory / "scp.log"


def prepare(
    directory: Path, peers: Mapping[str, int] | None = None, daemon: Mapping[str, Any] | None = None, **scp: Any
) -> Node:
    """Write the configuration of a node in a new directory.

    Args:
        directory: for everything of it.
        peers: AE title to port, of those that it knows; all of them on this machine.
        daemon: more of daemonConfig.
        scp: more of dicomWebScpConfig.
    """
    node = Node(directory, free_port())
    node.inbound.mkdir(parents=True)
    write_config(directory, {"rootDir": str(node.root)}, {"inbound": [{"dir": str(node.inbound)}], **(daemon or {})})
    known = {title: {"host": "127.0.0.1", "port": port} for title, port in (peers or {}).items()}
    network = {"dicomWebScpConfig": {"aeTitle": TITLE, "port": node.port, **scp}, "aeConfig": known}
    node.config.write_text(json.dumps(json.loads(node.config.read_text()) | network, indent=2))
    return node


@contextmanager
def receiving(node: Node, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the SCP alone until the context ends, and then by SIGTERM, upon which it must end well."""
    with node.scp_log.open("ab") as output:
        process = subprocess.Popen(
            [*STATICWADO, "-c", str(node.config), "scp"],
            stdout=output,
            stderr=output,
            env={**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(REPOSITORY), **environment},
            cwd=REPOSITORY,
            start_new_session=True,
        )
    try:
        until_listening(node.port, process)
        yield process
        assert process.poll() is None, f"the SCP ended by itself with {process.returncode}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0, "SIGTERM didn't end the SCP well"
    except BaseException as error:
        error.add_note(f"the SCP's log ends with:\n{node.scp_log.read_text(errors='replace')[-4000:]}")
        raise
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_SECONDS)


@contextmanager
def at_work(node: Node) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the daemon and the SCP until the context ends; the process given is the SCP."""
    with running(node.config), receiving(node) as process:
        yield process


def published(node: Node, instances: int) -> None:
    """Wait until the tree of a node has so many instances, and its daemon rests."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (now := node.status())["instances"] < instances or not now["idle"]:
        assert time.monotonic() < deadline, f"not {instances} published: {now}"
        time.sleep(0.05)
