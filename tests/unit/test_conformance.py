"""The conformance statement says what the program does: its page is what text and tables make, and no status lacks."""

from staticwado_daemon.dimse import contexts
from tests import conformance


def test_the_page_is_what_the_program_says() -> None:
    written = conformance.PAGE.read_text(encoding="utf-8")
    assert written == conformance.page(), "run `python -m tests.conformance`"


def test_every_service_and_storage_class_is_in_it() -> None:
    written = conformance.PAGE.read_text(encoding="utf-8")
    for service in contexts.SERVICES:
        assert all(f"| {uid} |" in written for uid in service.classes)
    assert "{{" not in written
