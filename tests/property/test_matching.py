"""Matching, held against slow references that say the same in other words."""

from datetime import date, timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from staticwado_daemon.dicom import moments
from staticwado_daemon.dicom.matching import Key, matches, normalised, normalised_groups

TAG = "00100010"
TEXTS = st.text("ab^ =Aß\u00e4\u0130*?\n", max_size=12)
PATTERNS = st.text("ab^*?", min_size=1, max_size=12)
SUBJECTS = st.text("ab^", max_size=12)
DAYS = st.dates(date(1900, 1, 1), date(2099, 12, 31))
PLAIN = st.text("ab^ Aß\u00e4\u0130\n", max_size=12)
GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
NAMES = st.fixed_dictionaries({}, optional=dict.fromkeys(GROUPS, TEXTS))
PLAIN_NAMES = st.fixed_dictionaries({}, optional=dict.fromkeys(GROUPS, PLAIN)).filter(
    lambda name: any(normalised_groups(name))
)


def fits(pattern: str, text: str) -> bool:
    """Whether a text fits a pattern, letter by letter: what each prefix of the text has been led to."""
    reached = [not text[:length] for length in range(len(text) + 1)]
    for sign in pattern:
        if sign == "*":
            reached = [any(reached[: length + 1]) for length in range(len(text) + 1)]
        else:
            reached = [
                length > 0 and reached[length - 1] and sign in {"?", text[length - 1]}
                for length in range(len(text) + 1)
            ]
    return reached[-1]


def found(vr: str, asked: str, value: object) -> bool:
    return matches([Key(TAG, vr, (asked,))], {TAG: {"vr": vr, "Value": [value]}})


@given(PATTERNS, SUBJECTS)
def test_wild_cards_agree_with_a_slow_matcher(pattern, text):
    assert found("LO", pattern, text) == fits(pattern, text)


@given(PATTERNS, SUBJECTS)
def test_names_agree_with_it_but_for_empty_components(pattern, text):
    assume(normalised(pattern) and normalised(text))
    name = normalised(text)
    asked = normalised(pattern)
    padded = name + "^" * max(0, asked.count("^") - name.count("^"))
    universal = not pattern.strip("*") or not asked.strip("*")
    assert found("PN", pattern, {"Alphabetic": text}) == (universal or fits(asked, padded))


@given(
    st.one_of(st.none(), TEXTS, NAMES, st.integers(), st.floats(allow_nan=False)),
    st.sampled_from("LO PN DA IS UI TM".split()),
)
def test_universal_keys_match_whatever_there_is(value, vr):
    assert matches([Key(TAG, vr)], {TAG: {"vr": vr, "Value": [value]}})
    assert matches([Key(TAG, vr)], {})


@given(TEXTS)
def test_comparing_names_is_settled_after_one_go(name):
    assert normalised(normalised(name)) == normalised(name)


@given(PLAIN_NAMES, st.booleans())
def test_every_name_is_found_by_itself(name, shouted):
    groups = normalised_groups(name)
    asked = "=".join(groups)
    assert found("PN", asked.upper() if shouted and asked.upper().lower() == asked else asked, name)


@given(DAYS, DAYS, DAYS)
def test_ranges_of_dates_are_those_of_the_calendar(start, end, day):
    text = f"{day:%Y%m%d}"
    assert found("DA", f"{start:%Y%m%d}-{end:%Y%m%d}", text) == (start <= day <= end)
    assert found("DA", f"{start:%Y%m%d}-", text) == (start <= day)
    assert found("DA", f"-{end:%Y.%m.%d}", text) == (day <= end)


@given(DAYS, DAYS, DAYS, st.timedeltas(timedelta(), timedelta(days=400)))
def test_a_wider_range_finds_no_less(start, end, day, more):
    assume(start <= end and start.year > 1901 and end.year < 2098)
    text = f"{day:%Y%m%d}"
    if found("DA", f"{start:%Y%m%d}-{end:%Y%m%d}", text):
        assert found("DA", f"{start - more:%Y%m%d}-{end + more:%Y%m%d}", text)


TIMES = st.times().map(lambda each: each.strftime("%H%M%S.%f"))
LESS = st.sampled_from([2, 4, 6, 8, 13])


@given(TIMES, LESS, TIMES, LESS, TIMES, LESS)
def test_times_are_found_wherever_a_moment_of_them_is(start, less, end, lesser, value, least):
    """A value that leaves something open is found by every range that finds one of the moments that it may mean."""
    if found("TM", f"{start[:less]}-{end[:lesser]}", value):
        assert found("TM", f"{start[:less]}-{end[:lesser]}", value[:least])
    assert found("TM", value[:least], value)
    assert found("TM", value, value[:least])


@given(st.datetimes().filter(lambda moment: moment.year >= 1900), st.integers(-12 * 60, 14 * 60))
def test_a_moment_is_found_in_every_time_zone(moment, minutes):
    assume(moment.year <= 9998)
    sign, distance = "-" if minutes < 0 else "+", abs(minutes)
    here = f"{moment + timedelta(minutes=minutes):%Y%m%d%H%M%S.%f}{sign}{distance // 60:02}{distance % 60:02}"
    utc = f"{moment:%Y%m%d%H%M%S.%f}+0000"
    assert found("DT", utc, here)
    assert found("DT", here, utc)


@given(st.text("0123456789-+.: ", max_size=30))
def test_whatever_is_written_is_a_range_or_none(text):
    for read in (moments.date, moments.time, moments.date_time):
        wanted = moments.within(text, read)
        if wanted and wanted.start and wanted.end and not wanted.is_backward:
            assert wanted.meets(wanted.start)
            assert wanted.meets(wanted.end)
