"""What people type, and what they are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.units import typed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30s", 30),
        ("1.5m", 90),
        (" 2 h ", 7200),
        ("1h 10m", 4200),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("10 min", 600),
        ("45", 45),
        ("1D", 86_400),
    ],
)
def test_times_are_understood(text, value):
    assert typed.seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "1m 30", "-5s", "5 parsecs", "s", "1..5s", "9" * 50])
def test_what_is_no_time_is_refused_with_a_way_to_write_it(text):
    with pytest.raises(ValueError, match="like 30s"):
        typed.seconds(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("600", 600), ("2k", 2000), ("1.5K", 1500), ("1.5M", 1_500_000), ("6 000", 6000)],
)
def test_counts_are_understood(text, value):
    assert typed.count(text) == value


@pytest.mark.parametrize("text", ["", "1.5", "2m", "1,5k", "-1", "0.0001k", "6 00"])
def test_what_is_no_count_is_refused(text):
    with pytest.raises(ValueError, match="whole number"):
        typed.count(text)


@pytest.mark.parametrize(
    ("text", "value"), [("10%", 0.1), ("7 %", 0.07), ("0.1", 0.1), ("0", 0), ("12.5%", 0.125)]
)
def test_shares_are_understood(text, value):
    assert typed.share(text) == value


@pytest.mark.parametrize("text", ["", "10", "1", "half", "-5%"])
def test_a_bare_number_that_may_mean_percent_is_no_share(text):
    with pytest.raises(ValueError, match="like 10%"):
        typed.share(text)


@pytest.mark.parametrize(("text", "value"), [("\u22125", -5), ("-5", -5), ("+5", 5), (" 10 ", 10)])
def test_priorities_take_either_minus(text, value):
    assert typed.priority(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(30, "30s"), (60, "1m"), (90, "1.5m"), (100, "100s"), (7200, "2h"), (0.5, "0.5s"), (0, "0s")],
)
def test_times_are_shown_as_short_as_they_can_be(value, text):
    assert typed.seconds_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(600, "600"), (2000, "2k"), (1234, "1234"), (10**6, "1M")]
)
def test_counts_are_shown_short(value, text):
    assert typed.count_text(value) == text


@given(st.floats(min_value=0, max_value=86_400))
def test_a_time_shown_and_read_is_the_same(value):
    assert typed.seconds(typed.seconds_text(value)) == value


@given(st.integers(0, 10**9))
def test_a_count_shown_and_read_is_the_same(value):
    assert typed.count(typed.count_text(value)) == value


@given(st.floats(min_value=0, max_value=1))
def test_a_share_shown_and_read_is_the_same(value):
    assert typed.share(typed.share_text(value)) == value


@given(st.integers(-10, 10))
def test_a_priority_shown_and_read_is_the_same(value):
    assert typed.priority(typed.priority_text(value)) == value


@given(st.text(max_size=60))
@pytest.mark.parametrize("read", [typed.seconds, typed.count, typed.share, typed.priority])
def test_any_text_is_a_number_or_a_sentence(read, text):
    try:
        read(text)
    except ValueError as error:
        sentence = str(error)
    else:
        sentence = "Write a number"

    assert sentence.startswith("Write a")


@pytest.mark.parametrize(
    ("value", "said"), [(2, "2 s"), (90, "1.5 min"), (3900, "65 min"), (7200, "2 h"), (0, "0 s")]
)
def test_a_sentence_has_room_for_a_space(value, said):
    assert typed.seconds_said(value) == said
    assert typed.seconds(said) == value
    assert typed.share_said(0.1) == "10 %"
