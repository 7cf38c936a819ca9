"""pynetdicom's bare receive: chunks into a file, which gets its name, and success; nothing is looked at or durable.

No receiver that is made of pynetdicom can cost less. It runs in a process of its own: `python -m tests.bench.bare PORT
DIRECTORY`, until it is ended.
"""

import socket
import sys
import tempfile
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import CTImageStorage

TITLE = "BARE"


def _main(port: int, directory: Path) -> None:
    _config.STORE_RECV_CHUNKED_DATASET = True
    tempfile.tempdir = str(directory)
    entity = AE(TITLE)
    entity.maximum_pdu_size = 0
    entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    handlers = [(evt.EVT_CONN_OPEN, without_delay), (evt.EVT_C_STORE, _keep)]
    entity.start_server(("127.0.0.1", port), block=True, evt_handlers=handlers)


def without_delay(event: evt.Event) -> None:
    """Have a new connection send at once; a handler for EVT_CONN_OPEN."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _keep(event: evt.Event) -> int:
    path = Path(event.dataset_path)
    path.rename(path.with_suffix(".kept"))
    return 0x0000


if __name__ == "__main__":
    _main(int(sys.argv[1]), Path(sys.argv[2]))
