"""Attribute matching: a table for each rule of PS3.4 section C.2.2.2."""

import time

import pytest

from staticwado_daemon.dicom.matching import (
    LONGEST_VALUE,
    MOST_VALUES,
    Key,
    Unmatchable,
    is_universal,
    matches,
    normalised,
    normalised_groups,
)

NAME, PATIENT_ID, DATE, TIME, UID, NUMBER = "00100010", "00100020", "00080020", "00080030", "0020000D", "00200011"
MODALITIES, SEQUENCE, CODE, SCHEME = "00080061", "00081032", "00080100", "00080102"


def does(vr, asked, *values, tag=PATIENT_ID):
    return matches([Key(tag, vr, (asked,) if isinstance(asked, str) else asked)], {tag: {"vr": vr, "Value": [*values]}})


def person(alphabetic="", ideographic="", phonetic=""):
    groups = {"Alphabetic": alphabetic, "Ideographic": ideographic, "Phonetic": phonetic}
    return {group: text for group, text in groups.items() if text}


@pytest.mark.parametrize(
    ("vr", "asked", "value", "found"),
    [
        ("LO", "ID-1", "ID-1", True),
        ("LO", "ID-1", "id-1", False),  # only names are matched without regard to case
        ("LO", "ID-1", "ID-12", False),
        ("LO", " ID-1 ", "ID-1", True),
        ("LO", "ID-1", " ID-1  ", True),
        ("CS", "CT", "CT", True),
        ("CS", "CT", "MR", False),
        ("SH", "Ä 1", "Ä 1", True),
        ("AS", "045Y", "045Y", True),
        ("AS", "045Y", "540M", False),
        ("AE", "SCANNER", "SCANNER", True),
        ("LT", "two\\lines", "two\\lines", True),
        ("AT", "0028000a", "0028000A", True),
        ("UI", "1.2.3", "1.2.3", True),
        ("UI", "1.2.3", "1.2.30", False),
    ],
)
def test_a_single_value(vr, asked, value, found):
    assert does(vr, asked, value) is found


@pytest.mark.parametrize("dataset", [{}, {PATIENT_ID: {"vr": "LO"}}, {PATIENT_ID: {"vr": "LO", "Value": [None]}}])
@pytest.mark.parametrize("asked", [(), ("",), ("  ",), ("*",), ("***",), ("a", "*")])
def test_universal_keys_match_what_is_empty_or_absent(dataset, asked):
    key = Key(PATIENT_ID, "LO", asked)
    assert is_universal(key)
    assert matches([key], dataset)
    assert not matches([Key(PATIENT_ID, "LO", ("?",))], dataset)
    assert not matches([Key(PATIENT_ID, "LO", ("ID",))], dataset)


@pytest.mark.parametrize("vr", ["AS", "AT", "CS", "DA", "DS", "DT", "IS", "PN", "TM", "UI", "US"])
def test_a_star_is_universal_in_every_vr(vr):
    key = Key(PATIENT_ID, vr, ("*",))
    assert is_universal(key)
    assert matches([key], {})


def test_a_list_of_uids():
    listed = ("1.2.3", "1.2.4")
    assert does("UI", listed, "1.2.4")
    assert not does("UI", listed, "1.2.5")
    many = tuple(f"1.2.{number}" for number in range(10_000))
    assert does("UI", many, "1.2.9999")


@pytest.mark.parametrize(
    ("asked", "value", "found"),
    [
        ("HEAD*", "HEAD", True),
        ("HEAD*", "HEAD CT", True),
        ("*CT", "HEAD CT", True),
        ("*CT", "HEAD CT ", True),
        ("*AD*", "HEAD CT", True),
        ("H??D", "HEAD", True),
        ("H?D", "HEAD", False),
        ("?", "", False),
        ("a*b*c", "a b b c", True),
        ("a*b*c", "a c b", False),
        ("a*?c", "ac", False),
        ("a.c", "abc", False),
        ("[a]*", "[a]b", True),
        ("a*\\d", "a1", False),
        ("first*second", "first\nsecond", True),
        ("*ab*ab", "ab", False),
        ("head*", "HEAD", False),
    ],
)
@pytest.mark.parametrize("vr", ["LO", "ST", "UC", "UT", "SH", "AE", "UR", "LT", "CS"])
def test_wild_cards(vr, asked, value, found):
    assert does(vr, asked, value) is found


@pytest.mark.parametrize(
    ("vr", "asked", "fault"),
    [
        ("DA", "2024*", "(0010,0020) is no date or range of dates"),
        ("DA", "20241301", "(0010,0020) is no date or range of dates"),
        ("DA", "-", "(0010,0020) is no date or range of dates"),
        ("TM", "1?", "(0010,0020) is no time or range of times"),
        ("TM", "2500", "(0010,0020) is no time or range of times"),
        ("DT", "2024*", "(0010,0020) is no date-time or range of date-times"),
        ("UI", "1.2.*", "(0010,0020) is no UID or list of UIDs"),
        ("UI", "1" * 65, "(0010,0020) is no UID or list of UIDs"),
        ("IS", "1*", "(0010,0020) is no number"),
        ("IS", "1_0", "(0010,0020) is no number"),
        ("DS", "nan", "(0010,0020) is no number"),
        ("US", "٣", "(0010,0020) is no number"),
        ("AT", "PatientID", "(0010,0020) is no attribute tag"),
        ("XX", "1", "(0010,0020) has an unknown VR"),
        ("LO", "x" * (LONGEST_VALUE + 1), "(0010,0020) has more than 1024 characters"),
        ("LO", tuple(str(number) for number in range(MOST_VALUES + 1)), "(0010,0020) has more than 100 values"),
    ],
)
def test_what_cannot_be_matched_with_is_named_by_its_tag_alone(vr, asked, fault):
    with pytest.raises(Unmatchable) as refused:
        does(vr, asked, "x")
    assert refused.value.reason == fault
    assert refused.value.tag == PATIENT_ID
    assert len(fault) <= 64, "it must fit into Error Comment"


@pytest.mark.parametrize(
    ("asked", "value", "found"),
    [
        ("20240229", "20240229", True),
        ("20240229", "2024.02.29", True),  # ACR-NEMA
        ("2024.02.29", "20240229", True),
        ("20240101-20240131", "20240101", True),
        ("20240101-20240131", "20240131", True),
        ("20240101-20240131", "20240201", False),
        ("20240101 - 20240131", "20240115", True),
        ("20240101-", "20240101", True),
        ("20240101-", "20231231", False),
        ("-20240101", "20240101", True),
        ("-20240101", "20240102", False),
        ("20240131-20240101", "20240115", False),  # runs backward
        ("20240101", "unknown", False),
        ("2024.01.01-2024.01.31", "20240115", True),
    ],
)
def test_dates(asked, value, found):
    assert does("DA", asked, value, tag=DATE) is found


@pytest.mark.parametrize(
    ("asked", "value", "found"),
    [
        ("101500", "101500", True),
        ("1015", "101500.000", True),  # by their meaning, not as text
        ("1015", "101559", True),  # the key leaves the second open
        ("101500", "1015", True),  # so does the value
        ("10", "105959.999999", True),
        ("10", "11", False),
        ("10:15:00", "101500", True),  # ACR-NEMA
        ("101500", "10:15:00.5", True),
        ("101500.1", "10:15:00.2", False),
        ("1000-1200", "1000", True),
        ("1000-1200", "120059", True),
        ("1000-1200", "120100", False),
        ("-1200", "000000", True),
        ("1200-", "235960", True),
        ("1200-", "1159", False),
        ("2200-0600", "2300", False),  # past midnight isn't a range (C.2.2.2.5.2)
        ("2200-0600", "23", False),
    ],
)
def test_times(asked, value, found):
    assert does("TM", asked, value, tag=TIME) is found


@pytest.mark.parametrize(
    ("asked", "value", "found"),
    [
        ("2024", "20240229101500", True),
        ("20240229", "202402291015", True),
        ("20240229-20240301", "20240301235959", True),
        ("20240229-", "2023", False),
        ("-2023", "202312312359", True),
        ("20240229100000+0100", "20240229090000+0000", True),
        ("20240229100000-0500", "20240229150000+0000", True),  # a single moment, not a range that runs backward
        ("20240229100000-0500-20240229110000-0500", "20240229153000+0000", True),
        ("20240229100000-0500-", "20240229145900+0000", False),
        ("-20240229100000-0500", "20240229145900+0000", True),
        ("20240229100000+0100-20240229110000+0100", "20240229103000", True),  # no offset: as the key's clock shows it
        ("2024-0500", "2024", True),
        ("20240230000000+0100", "2024", None),
        ("00010101000000+0100", "2024", None),
        ("0000", "2024", None),
        ("20241", "2024", None),
        ("20240229.5", "2024", None),
    ],
)
def test_date_times(asked, value, found):
    if found is None:
        with pytest.raises(Unmatchable):
            does("DT", asked, value)
    else:
        assert does("DT", asked, value) is found


@pytest.mark.parametrize(
    ("vr", "asked", "value", "found"),
    [
        ("IS", "5", 5, True),
        ("IS", "+05", 5, True),
        ("IS", "5", 50, False),
        ("IS", "5", "5,5", False),
        ("DS", "1.50", 1.5, True),
        ("DS", "15e-1", 1.5, True),
        ("DS", ".5", 0.5, True),
        ("DS", "2", 2.0, True),
        ("US", "512", 512, True),
        ("FD", "0.1", 0.1, True),
        ("UV", "18446744073709551615", "18446744073709551615", True),
        ("UV", "18446744073709551614", "18446744073709551615", False),
    ],
)
def test_numbers_are_compared_as_such(vr, asked, value, found):
    assert does(vr, asked, value) is found


@pytest.mark.parametrize(
    ("asked", "name", "found"),
    [
        ("Doe^John", person("Doe^John"), True),
        ("DOE^JOHN", person("Doe^John"), True),
        ("doe^john^^^", person("Doe^John"), True),
        ("Doe^John", person("Doe^John^^Dr."), False),
        ("Doe", person("Doe^John"), False),
        ("Doe*", person("DOE^JOHN"), True),
        ("Doe ^ John", person("Doe^John"), True),
        ("Doe^*", person("Doe"), True),  # "Doe" is "Doe^^^^"
        ("Doe^J*^*", person("Doe^John"), True),
        ("Doe?", person("Doe"), False),
        ("*^John", person("Doe^John"), True),
        ("D?e^J*", person("Doe^John"), True),
        ("STRASSE", person("Straße"), True),
        ("ΔΙΟΝΎΣΙΟΣ*", person("Διονύσιος^Αλέξανδρος"), True),
        ("müller", person("MÜLLER"), True),
        ("mu\u0308ller", person("MÜLLER"), True),  # the same letter in two characters
        ("Yamada*", person("Yamada^Tarou", "山田^太郎", "やまだ^たろう"), True),
        ("山田*", person("Yamada^Tarou", "山田^太郎", "やまだ^たろう"), True),
        ("やまだ*", person("Yamada^Tarou", "山田^太郎", "やまだ^たろう"), True),
        ("=山田*", person("Yamada^Tarou", "山田^太郎", "やまだ^たろう"), True),
        ("=Yamada*", person("Yamada^Tarou", "山田^太郎", "やまだ^たろう"), False),
        ("yamada*=山田*", person("Yamada^Tarou", "山田^太郎"), True),
        ("yamada*=山本*", person("Yamada^Tarou", "山田^太郎"), False),
        ("yamada^tarou=*=*", person("Yamada^Tarou"), True),
        ("==ﾔﾏﾀﾞ*", person("Yamada", "", "ヤマダ^タロウ"), True),  # JIS X 0201's kana of half width
        ("ヤマダ\uff0a", person("ﾔﾏﾀﾞ^ﾀﾛｳ"), True),
        ("Doe", "Doe", True),  # as some write DICOM JSON
        ("Doe", {"Alphabetic": 5}, False),
        ("*=*", {}, True),
        ("^", {}, True),
    ],
)
def test_names(asked, name, found):
    assert does("PN", asked, name, tag=NAME) is found


def test_names_in_the_form_in_which_they_are_compared():
    assert normalised("DOE ^ John^^") == "doe^john"
    assert normalised("") == ""
    assert normalised_groups(person("Doe^J", "", "\uff24\uff4f\uff45")) == ("doe^j", "", "doe")
    assert normalised_groups(None) == ("", "", "")


def test_one_of_several_values_is_enough_on_both_sides():
    assert does("CS", "MR", "CT", "MR", tag=MODALITIES)
    assert does("CS", ("PT", "MR"), "CT", "MR", tag=MODALITIES)
    assert not does("CS", ("PT", "US"), "CT", "MR", tag=MODALITIES)
    assert does("PN", ("a*", "b*"), None, person("Bcd"))
    assert does("DA", ("20240101", "20250101-"), "20260101")


@pytest.mark.parametrize("vr", ["LO", "PN", "DA", "IS", "UI", "TM"])
def test_two_quotation_marks_ask_for_what_is_empty(vr):
    asks = [Key(PATIENT_ID, vr, ('""',))]
    assert matches(asks, {})
    assert matches(asks, {PATIENT_ID: {"vr": vr}})
    assert not matches(asks, {PATIENT_ID: {"vr": vr, "Value": ["20240101"]}})
    assert not matches(asks, {PATIENT_ID: {"vr": vr, "BulkDataURI": "bulkdata/1"}})


def test_empty_or_a_value():
    assert does("LO", ('""', "ID"), "ID")
    assert matches([Key(PATIENT_ID, "LO", ('""', "ID"))], {})
    assert not does("LO", ('""', "ID"), "OTHER")


def procedures(*codes):
    items = [{CODE: {"vr": "SH", "Value": [code]}, SCHEME: {"vr": "SH", "Value": [scheme]}} for code, scheme in codes]
    return {SEQUENCE: {"vr": "SQ", "Value": items}}


def asked_for(*pairs):
    return [Key(SEQUENCE, "SQ", items=(tuple(Key(tag, "SH", (value,) if value else ()) for tag, value in pairs),))]


def test_one_item_must_match_all_keys_of_the_item():
    dataset = procedures(("CT1", "LOCAL"), ("MR1", "SCT"))
    assert matches(asked_for((CODE, "CT*"), (SCHEME, "LOCAL")), dataset)
    assert not matches(asked_for((CODE, "CT*"), (SCHEME, "SCT")), dataset)
    assert not matches(asked_for((CODE, "CT*")), {})
    assert not matches(asked_for((CODE, "CT*")), {SEQUENCE: {"vr": "SQ", "Value": ["no item"]}})


def test_a_sequence_that_asks_for_nothing_matches_everything():
    for key in (Key(SEQUENCE, "SQ"), Key(SEQUENCE, "SQ", items=((),)), *asked_for((CODE, ""))):
        assert is_universal(key)
        assert matches([key], {})
        assert matches([key], procedures(("CT1", "LOCAL")))


def test_sequences_inside_sequences():
    inner = Key(SEQUENCE, "SQ", items=((Key(CODE, "SH", ("CT1",)),),))
    outer = Key("0040A730", "SQ", items=((inner,),))
    assert matches([outer], {"0040A730": {"vr": "SQ", "Value": [{}, procedures(("CT1", "LOCAL"))]}})
    assert not matches([outer], {"0040A730": {"vr": "SQ", "Value": [{}, procedures(("MR1", "LOCAL"))]}})


def test_nested_sequences_cost_what_their_keys_do():
    key = Key(CODE, "SH", ("CT1",))
    dataset = {CODE: {"vr": "SH", "Value": ["CT1"]}}
    for _ in range(22):
        key = Key(SEQUENCE, "SQ", items=((key,),))
        dataset = {SEQUENCE: {"vr": "SQ", "Value": [dataset]}}
    began = time.process_time()
    assert matches([key], dataset)
    assert time.process_time() - began < 1.0


def test_all_keys_must_match():
    dataset = {PATIENT_ID: {"vr": "LO", "Value": ["ID"]}, NUMBER: {"vr": "IS", "Value": [3]}}
    assert matches([Key(PATIENT_ID, "LO", ("ID",)), Key(NUMBER, "IS", ("3",))], dataset)
    assert not matches([Key(PATIENT_ID, "LO", ("ID",)), Key(NUMBER, "IS", ("4",))], dataset)
    assert matches([], dataset)


def test_what_says_how_to_read_a_query_and_what_is_binary_is_not_matched():
    assert matches([Key("00080005", "CS", ("ISO_IR 100",)), Key("00091001", "UN", ("x",))], {})


def test_values_of_another_kind_than_the_key_do_not_match():
    for vr, asked in (("LO", "1"), ("UI", "1"), ("DA", "20240101"), ("PN", "1"), ("AS", "1"), ("AT", "00100010")):
        assert not does(vr, asked, {"Other": {}}, 1.5, ["1"])
    assert not does("IS", "1", {"Other": {}}, ["1"])


def test_no_pattern_takes_for_ever():
    began = time.process_time()
    for asked in ("*a" * 500 + "b", "*" + "a?" * 500 + "b", "a*" * 500 + "?b", "*a?" * 300 + "*b*"):
        assert not does("LO", asked, "a" * 1024)
        assert not does("PN", asked, person("a" * 1024), tag=NAME)
    assert time.process_time() - began < 2.0
