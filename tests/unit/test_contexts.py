"""What is accepted of what requestors propose: all of storage, in the syntax that loses least."""

from collections.abc import Sequence

import pytest
from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom.presentation import CXNegotiationReturn, PresentationContext, negotiate_as_acceptor

from staticwado_daemon.dicom import transfer_syntaxes
from staticwado_daemon.dicom.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K_LOSSLESS,
    IMPLICIT_VR_LITTLE_ENDIAN,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LS_LOSSLESS,
)
from staticwado_daemon.dimse import contexts

CT = "1.2.840.10008.5.1.4.1.1.2"
PRIVATE = "1.2.826.0.1.3680043.2.1143.1"
NEWER = "1.2.840.10008.5.1.4.1.1.999.1"
HANGING_PROTOCOL = "1.2.840.10008.5.1.4.38.1"
WORKLIST = "1.2.840.10008.5.1.4.31"
PRIVATE_SYNTAX = "1.2.826.0.1.3680043.2.1143.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
MPEG2 = "1.2.840.10008.1.2.4.100"
SUPPORTED = contexts.messages([contexts.VERIFICATION, contexts.STUDY_ROOT_FIND])

Roles = dict[UID, tuple[bool | None, bool | None]]


def proposed(*wanted: tuple[str, Sequence[str]]) -> list[PresentationContext]:
    requested = [build_context(uid, list(syntaxes)) for uid, syntaxes in wanted]
    for number, each in enumerate(requested):
        each.context_id = 2 * number + 1
    return requested


def negotiated(requested: list[PresentationContext], roles: Roles | None = None) -> CXNegotiationReturn:
    return negotiate_as_acceptor(requested, [*SUPPORTED, *contexts.stored_as_requested(requested)], roles)


def accepted(*wanted: tuple[str, Sequence[str]]) -> list[str | None]:
    """The transfer syntax that is taken for each, None where the context is rejected."""
    results, _ = negotiated(proposed(*wanted))
    return [str(each.transfer_syntax[0]) if each.result == 0 else None for each in results]


def test_every_storage_class_of_the_standard_is_known() -> None:
    assert set(contexts.STORAGE) >= {str(each.abstract_syntax) for each in AllStoragePresentationContexts}
    assert len(contexts.STORAGE) == len(set(contexts.STORAGE))


def test_every_transfer_syntax_with_a_name_is_accepted_alone() -> None:
    for each in transfer_syntaxes.known():
        assert accepted((CT, [each.uid])) == [each.uid]


@pytest.mark.parametrize("uid", [CT, PRIVATE, NEWER, "1.2.840.10008.5.1.4.1.1.3", "1.2.840.10008.5.1.1.30"])
def test_a_class_by_which_something_is_stored_is_accepted(uid: str) -> None:
    assert contexts.is_storage(uid)
    assert accepted((uid, [IMPLICIT_VR_LITTLE_ENDIAN])) == [IMPLICIT_VR_LITTLE_ENDIAN]


@pytest.mark.parametrize(
    "uid",
    [
        HANGING_PROTOCOL,
        WORKLIST,
        contexts.COMMITMENT,
        contexts.PATIENT_ROOT_GET,
        "1.2.840.10008.5.1.4.1.1.201.1",
        "1.2.840.10008.5.1.4.99",
        "1.2.840.10008.1.3.10",
    ],
)
def test_a_class_by_which_nothing_of_a_patient_is_stored_is_not(uid: str) -> None:
    assert not contexts.is_storage(uid)
    assert accepted((uid, [IMPLICIT_VR_LITTLE_ENDIAN]), (CT, [IMPLICIT_VR_LITTLE_ENDIAN])) == [
        None,
        IMPLICIT_VR_LITTLE_ENDIAN,
    ]


def test_a_private_transfer_syntax_is_accepted_of_objects_but_not_of_messages() -> None:
    assert accepted((PRIVATE, [PRIVATE_SYNTAX]), (contexts.STUDY_ROOT_FIND, [PRIVATE_SYNTAX])) == [PRIVATE_SYNTAX, None]


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ([IMPLICIT_VR_LITTLE_ENDIAN, BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN], EXPLICIT_VR_LITTLE_ENDIAN),
        ([JPEG_BASELINE, EXPLICIT_VR_LITTLE_ENDIAN], EXPLICIT_VR_LITTLE_ENDIAN),
        ([JPEG_BASELINE, IMPLICIT_VR_LITTLE_ENDIAN], IMPLICIT_VR_LITTLE_ENDIAN),
        ([IMPLICIT_VR_LITTLE_ENDIAN, JPEG_LS_LOSSLESS], JPEG_LS_LOSSLESS),
        ([JPEG_2000, HTJ2K_LOSSLESS], HTJ2K_LOSSLESS),
        ([PRIVATE_SYNTAX, MPEG2], MPEG2),
        ([PRIVATE_SYNTAX, IMPLICIT_VR_LITTLE_ENDIAN], IMPLICIT_VR_LITTLE_ENDIAN),
    ],
)
def test_of_several_syntaxes_in_one_context_the_one_that_loses_least_is_taken(offered: list[str], taken: str) -> None:
    assert accepted((CT, offered)) == [taken]


def test_syntaxes_in_contexts_of_their_own_are_all_taken() -> None:
    offered = [JPEG_BASELINE, EXPLICIT_VR_LITTLE_ENDIAN, PRIVATE_SYNTAX, HTJ2K_LOSSLESS]
    assert accepted(*((CT, [each]) for each in offered)) == offered


def test_a_requestor_may_receive_what_it_gets() -> None:
    roles: Roles = {UID(CT): (False, True), UID(PRIVATE): (False, True)}
    wanted = proposed((CT, [IMPLICIT_VR_LITTLE_ENDIAN]), (PRIVATE, [IMPLICIT_VR_LITTLE_ENDIAN]))
    results, answers = negotiated(wanted, roles)
    assert [(each.as_scu, each.as_scp) for each in results] == [(True, False)] * 2
    assert {each.sop_class_uid: (each.scu_role, each.scp_role) for each in answers} == dict.fromkeys(
        (CT, PRIVATE), (False, True)
    )


def test_thousands_of_unknown_syntaxes_cost_little() -> None:
    many = [f"1.2.3.{number}" for number in range(2000)]
    assert accepted((CT, many)) == [many[0]]
    offered = contexts.stored_as_requested(proposed((CT, many)))
    assert len(offered[0].transfer_syntax) < len(contexts.STORAGE_SYNTAXES) + 100


def test_what_is_sent_is_proposed_as_it_is_and_uncompressed() -> None:
    stored = [(CT, HTJ2K_LOSSLESS), (CT, HTJ2K_LOSSLESS), (PRIVATE, IMPLICIT_VR_LITTLE_ENDIAN)]
    assert [(str(each.abstract_syntax), [*map(str, each.transfer_syntax)]) for each in contexts.sending(stored)] == [
        (CT, [HTJ2K_LOSSLESS]),
        (CT, [EXPLICIT_VR_LITTLE_ENDIAN]),
        (CT, [IMPLICIT_VR_LITTLE_ENDIAN]),
        (PRIVATE, [IMPLICIT_VR_LITTLE_ENDIAN]),
        (PRIVATE, [EXPLICIT_VR_LITTLE_ENDIAN]),
    ]


def test_what_is_received_is_proposed_in_one_context_for_each_class() -> None:
    assert [len(each.transfer_syntax) for each in contexts.receiving([CT, PRIVATE], [IMPLICIT_VR_LITTLE_ENDIAN])] == [
        1,
        1,
    ]
    assert [*map(str, contexts.receiving([CT])[0].transfer_syntax)] == [*contexts.STORAGE_SYNTAXES]


def test_services_have_distinct_classes() -> None:
    every = [uid for service in contexts.SERVICES for uid in service.classes]
    assert len(every) == len(set(every))


def test_the_common_storage_classes_fit_into_one_association() -> None:
    assert len(contexts.COMMON_STORAGE) < contexts.MAXIMUM
    assert set(contexts.COMMON_STORAGE) <= set(contexts.STORAGE)
    segmentation, report, dose = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.33", "481.2"
    assert {CT, segmentation, report, f"1.2.840.10008.5.1.4.1.1.{dose}"} <= set(contexts.COMMON_STORAGE)
