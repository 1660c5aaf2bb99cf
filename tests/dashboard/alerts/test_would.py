"""What a rule would have done with the past."""

from dashboard.alerts.rules import Level, Rule
from dashboard.alerts.would import Point, Would, would

RULE = Rule(Level(60, 2, 48), Level(120, 0, 96), keep_s=5)


def past(*values, step=1.0):
    return [Point(1000 + n * step, value) for n, value in enumerate(values)]


def test_a_calm_past_fires_nothing():
    assert would(RULE, past(*[10] * 100)) == Would()
    assert would(RULE, []) == Would()


def test_what_held_for_too_short_a_time_does_not_fire():
    assert would(RULE, past(10, 61, 61, 10, 10)) == Would()


def test_each_firing_counts_once_and_short_ones_apart():
    short = [61] * 5 + [10] * 10
    long = [61] * 80 + [10] * 10

    assert would(RULE, past(*short, *long, *short)) == Would(fired=3, short=2)


def test_a_dip_between_clear_and_threshold_is_no_end():
    assert would(RULE, past(*[61] * 5, *[50] * 30, *[61] * 5)) == Would(fired=1)


def test_crit_counts_as_crit():
    assert would(RULE, past(*[130] * 70, *[10] * 10)) == Would(fired=1, crit=1)


def test_a_hole_in_the_past_starts_what_is_pending_anew():
    before, after = past(61, 61), [Point(5000 + n, 61) for n in range(2)]

    assert would(RULE, [*before, *after]) == Would()


def test_pasts_of_several_tiers_add_up():
    assert Would(1, 1, 0) + Would(2, 0, 1) == Would(3, 1, 1)
