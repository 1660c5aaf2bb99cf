"""When people are told, and when they are left alone."""

from dashboard.alerts.saying import Told, due

WARN = {"default/standard": "warn"}
TOLD = Told(1, 1000.0, "warn", frozenset(WARN))


def say(told, loud, now, *, acked=False, flapping=False):
    return due(told, loud, opened_at=900.0, acked=acked, flapping=flapping, now=now)


def test_the_first_message_waits_ten_seconds_for_what_else_begins():
    assert say(Told(), WARN, 909) is None
    assert say(Told(), WARN, 910) == "firing"


def test_nothing_loud_is_nothing_said():
    assert say(Told(), {}, 5000) is None


def test_a_rise_to_crit_is_told_at_once_even_if_somebody_had_the_warning():
    assert say(TOLD, {"default/standard": "crit"}, 1001, acked=True) == "firing"


def test_another_tier_is_told_two_minutes_after_the_last_message():
    both = WARN | {"default/batch": "warn"}

    assert say(TOLD, both, 1119) is None
    assert say(TOLD, both, 1120) == "firing"


def test_a_tier_that_went_and_came_back_is_no_news():
    both = TOLD._replace(instances=frozenset({"default/standard", "default/batch"}))

    assert say(both, WARN, 1200) is None


def test_repeats_come_every_four_hours_and_for_crit_every_half_hour_until_acked():
    crit = TOLD._replace(severity="crit")
    loud = {"default/standard": "crit"}

    assert say(TOLD, WARN, 1000 + 4 * 3600 - 1) is None
    assert say(TOLD, WARN, 1000 + 4 * 3600) == "reminder"
    assert say(crit, loud, 1000 + 1799) is None
    assert say(crit, loud, 1000 + 1800) == "reminder"
    assert say(crit, loud, 1000 + 1800, acked=True) is None


def test_flapping_is_said_once_and_then_every_ten_minutes():
    assert say(TOLD, WARN, 1001, flapping=True) == "digest"
    said = TOLD._replace(flapping=True)
    assert say(said, WARN, 1599, flapping=True) is None
    assert say(said, WARN, 1600, flapping=True) == "digest"
    assert say(said, WARN, 1600, flapping=True, acked=True) is None


def test_what_flaps_and_turns_crit_waits_for_no_digest():
    said = TOLD._replace(flapping=True)

    assert say(said, {"default/standard": "crit"}, 1001, flapping=True) == "digest"
    assert say(said._replace(severity="crit"), WARN, 1599, flapping=True) is None
