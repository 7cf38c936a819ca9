"""A real Orthanc for the tests: another maker's PACS, with storage and ports of its own."""

import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.system import dcmtk
from tests.system.servers import free_port

_PATIENCE_SECONDS = 30.0
_REQUEST_SECONDS = 300.0
"""A request that has Orthanc send or fetch is answered when all of that is done."""


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running Orthanc.

    Attributes:
        title: its AE title.
        port: where it listens for DICOM.
        http_port: where it takes requests over REST.
    """

    title: str
    port: int
    http_port: int

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """A request over REST and its answer, read where it is JSON; `body` is sent as JSON unless it is bytes."""
        status, answer = self._ask(method, path, body)
        assert status == 200, f"Orthanc answers {method} {path} with {status}:\n{answer.decode(errors='replace')}"
        return json.loads(answer) if answer.startswith((b"{", b"[")) else answer

    def refuses(self, method: str, path: str, body: object = None) -> str:
        """A request that must fail; what Orthanc says about it."""
        status, answer = self._ask(method, path, body)
        assert status >= 400, f"Orthanc answers {method} {path} with {status}"
        return answer.decode(errors="replace")

    def knows(self, name: str, title: str, port: int) -> None:
        """Tell it of a peer on this machine, of which it may ask everything and which may ask it everything."""
        self.ask("PUT", f"/modalities/{name}", {"AET": title, "Host": "127.0.0.1", "Port": port, "Timeout": 60})

    def upload(self, path: Path) -> str:
        """Hand it a file, which it keeps as it is; Orthanc's name for the instance."""
        answer = self.ask("POST", "/instances", path.read_bytes())
        return str(answer["ID"])

    def instances(self) -> dict[str, bytes]:
        """The file of each instance that it holds, by SOP Instance UID."""
        return {
            each["MainDicomTags"]["SOPInstanceUID"]: self.ask("GET", f"/instances/{each['ID']}/file")
            for each in self.ask("GET", "/instances?expand&since=0&limit=100000")
        }

    def empty(self) -> None:
        """Have it forget everything."""
        for patient in self.ask("GET", "/patients"):
            self.ask("DELETE", f"/patients/{patient}")

    def query(self, name: str, level: str, keys: Mapping[str, str]) -> str:
        """Have it query a peer (C-FIND); the path of the answers, for `answers` and `retrieve`."""
        return str(self.ask("POST", f"/modalities/{name}/query", {"Level": level, "Query": dict(keys)})["Path"])

    def answers(self, query: str) -> list[dict[str, str]]:
        """What was answered to a query: keyword to value."""
        found = self.ask("GET", f"{query}/answers?expand&simplify")
        return [{name: value for name, value in each.items() if isinstance(value, str)} for each in found]

    def _ask(self, method: str, path: str, body: object) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=_REQUEST_SECONDS)
        try:
            sent = body if body is None or isinstance(body, bytes) else json.dumps(body)
            connection.request(method, path, sent)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@contextmanager
def orthanc(directory: Path, **settings: object) -> Iterator[Orthanc]:
    """Run an Orthanc in a new directory until the context ends; the end of its log goes with a failure.

    It passes on what it holds as it is, whatever the transfer syntax and the SOP class, and answers everybody.
    """
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert program, "Orthanc is missing: apt-get install orthanc"
    directory.mkdir(parents=True)
    peer = Orthanc("ORTHANC", free_port(), free_port())
    configuration, log = directory / "orthanc.json", directory / "orthanc.log"
    configuration.write_text(json.dumps({**_settings(peer, directory), **settings}))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, configuration], cwd=directory, stdout=output, stderr=output, env=dcmtk.environment()
        )
    try:
        _wait_for(peer, process)
        yield peer
    except BaseException as error:
        error.add_note(f"Orthanc's log ends with:\n{log.read_text(errors='replace')[-4000:]}")
        raise
    finally:
        process.terminate()
        process.wait(_PATIENCE_SECONDS)


def _settings(peer: Orthanc, directory: Path) -> dict[str, object]:
    return {
        "StorageDirectory": str(directory / "storage"),
        "IndexDirectory": str(directory / "storage"),
        "Plugins": [],
        "HttpPort": peer.http_port,
        "DicomPort": peer.port,
        "DicomAet": peer.title,
        "DefaultEncoding": "Utf8",
        "AuthenticationEnabled": False,
        "UnknownSopClassAccepted": True,
        "AcceptedTransferSyntaxes": ["1.2.840.10008.1.*"],
        "TranscodeDicomProtocol": False,
        "OverwriteInstances": True,
        "SyncStorageArea": False,
        "StableAge": 1,
        "DicomScuTimeout": 60,
        "DicomAssociationCloseDelay": 0,
    }


def _wait_for(peer: Orthanc, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"Orthanc ended with {process.returncode}"
        try:
            peer.ask("GET", "/system")
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("Orthanc didn't listen in time")
