"""C-STORE: objects go into the drop folder as they come, and are answered with success when they are there for good.

Nothing is decoded. What is received is written beside the drop folder piece by piece; at its end the headers are
walked through, to see that it is whole and is what the request said; then it is synced, renamed, and answered. What
can't be used is kept among the rejected files and has a receipt, as what the daemon itself rejects.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from staticwado_daemon import libc
from staticwado_daemon.dimse import contexts
from staticwado_daemon.dimse.association.command import StoreRequest
from staticwado_daemon.dimse.association.messages import Answer, Reception
from staticwado_daemon.dimse.node.observed import Observed
from staticwado_daemon.dimse.receiving.audit import audit
from staticwado_daemon.dimse.receiving.durable import Folder
from staticwado_daemon.dimse.receiving.file_meta import FileMeta
from staticwado_daemon.dimse.receiving.refusal import Refusals
from staticwado_daemon.dimse.statuses import OUT_OF_RESOURCES, SUCCESS
from staticwado_daemon.errors import Transient
from staticwado_daemon.inbound.parts import Parts
from staticwado_daemon.pipeline.space import Space

_LOOK_BYTES: Final = 16 << 20
"""After so many bytes of an object it is seen whether there is still room, and the disk is set to work on them."""
_SYNC_FILE_RANGE_WRITE: Final = 2


class Receiver:
    """The storage service: what provider and server need of it.

    Args:
        drop: the drop folder, prepared, a real path.
        spaces: what is to be left free where objects go: on the drop folder's disk and on the tree's.
        maximum_bytes: of one object.
        observed: is told of every object.

    Raises:
        OSError: if nothing can be written in the drop folder.
    """

    contexts: Sequence[PresentationContext] = ()

    def __init__(self, drop: Path, spaces: Sequence[Space], maximum_bytes: int, observed: Observed) -> None:
        self.parts = Parts(drop)
        self.folder = Folder(drop)
        self.refusals = Refusals(drop)
        self.maximum_bytes = maximum_bytes
        self.observed = observed
        self._spaces = spaces
        self.handlers = ((evt.EVT_REQUESTED, _offer),)

    def begin(self, association: Association, context: PresentationContext, request: StoreRequest) -> Reception:
        """Be ready for an object."""
        self.observed.began(association)
        return _Object(self, association, request, str(context.transfer_syntax[0]))

    def shortage(self) -> str | None:
        """What there is too little of; None while there is enough."""
        return next((short for space in self._spaces if (short := space.shortage())), None)

    def close(self) -> None:
        """Remove what is incomplete; all associations have ended."""
        self.parts.close()


def _offer(event: evt.Event) -> None:
    """Accept what is stored, of whatever class and in whatever transfer syntax, of what this requestor proposes."""
    request = event.assoc.requestor.primitive
    if request is not None:
        offered = contexts.stored_as_requested(request.presentation_context_definition_list)
        event.assoc.acceptor.supported_contexts += offered


class _Object:
    """One object on its way in."""

    def __init__(self, receiver: Receiver, association: Association, request: StoreRequest, syntax: str) -> None:
        self._receiver = receiver
        self._association = association
        self._request = request
        self._syntax = syntax
        self._meta = _file_meta(association, request, syntax)
        self._received = 0
        self._looked = 0
        self._head = 0
        self._file: tuple[Path, int] | None = None
        self._failure: Answer | None = None
        if short := receiver.shortage():
            self._fail("too little space is left", reason=short)
            return
        try:
            self._file = receiver.parts.new()
            self._head = self._put(memoryview(self._meta.encoded()))
        except OSError as error:
            self._refused(error)

    def write(self, data: memoryview) -> None:
        """Take the next bytes; after a failure only to be rid of them."""
        self._received += len(data)
        if self._failure is not None:
            return
        if self._received > self._receiver.maximum_bytes:
            self._fail("the object exceeds the maximum size", reason="larger than maxObjectBytes")
            return
        try:
            self._put(data)
            if self._received - self._looked >= _LOOK_BYTES:
                self._look()
        except OSError as error:
            self._refused(error)

    def finish(self) -> Answer:
        """See what has come, and keep it or not."""
        answer = self._failure or self._kept()
        self._drop()
        self._receiver.observed.note(self._association, "C-STORE", answer.status, self._received)
        return answer

    def abandon(self) -> None:
        """Forget it: no object is kept in part."""
        self._drop()

    def _kept(self) -> Answer:
        if self._file is None:  # never: without a file there is a failure
            return Answer(OUT_OF_RESOURCES)
        path, descriptor = self._file
        try:
            fault = audit(descriptor, self._head, self._head + self._received, self._request, self._syntax)
            if fault is None:
                self._receiver.folder.take(descriptor, path, self._receiver.parts.name())
                return Answer(SUCCESS)
        except (OSError, Transient) as error:
            return self._refused(error)
        self._receiver.refusals.keep(path, self._receiver.parts.name(), fault, self._meta.sending)
        return Answer(fault.status, fault.reason)

    def _put(self, data: memoryview) -> int:
        if self._file is None:
            return 0
        written = 0
        while written < len(data):
            written += os.write(self._file[1], data[written:])
        return written

    def _look(self) -> None:
        """See whether there is still room, and have the disk begin: a large object would all be synced at its end."""
        if self._file is None:
            return
        with suppress(OSError):  # it is but a hint, which some file systems don't take
            length = self._received - self._looked
            libc.call("sync_file_range", self._file[1], self._looked, length, _SYNC_FILE_RANGE_WRITE)
        self._looked = self._received
        if short := self._receiver.shortage():
            self._fail("too little space is left", reason=short)

    def _refused(self, error: OSError | Transient) -> Answer:
        why = getattr(error, "strerror", None) or type(error).__name__
        return self._fail(f"can't be stored: {why}", reason=why)

    def _fail(self, comment: str, *, reason: str) -> Answer:
        self._failure = Answer(OUT_OF_RESOURCES, comment)
        self._receiver.refusals.log(OUT_OF_RESOURCES, reason, self._meta.sending)
        self._drop()
        return self._failure

    def _drop(self) -> None:
        """Close the file, and remove it if it is still where it was written."""
        if self._file is not None:
            path, descriptor = self._file
            self._file = None
            with suppress(OSError):
                os.close(descriptor)
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _file_meta(association: Association, request: StoreRequest, syntax: str) -> FileMeta:
    """The head of the file; who sends is the requestor, unless we have asked for it."""
    requestor, acceptor = association.requestor, association.acceptor
    called = str(getattr(requestor.primitive, "called_ae_title", "") or "")
    titles = (acceptor.ae_title, requestor.ae_title) if association.is_requestor else (requestor.ae_title, called)
    return FileMeta(request.sop_class_uid, request.sop_instance_uid, syntax, *titles)
