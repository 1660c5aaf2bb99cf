"""One rule and one sample: a table of transitions, and random pasts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.alerts import rules
from dashboard.alerts.hours import parsed
from dashboard.alerts.rules import Hours, Level, LevelState, Rule, Sample, State, evaluate

WARN = Level(threshold=60, for_s=120, clear=48)
CRIT = Level(threshold=120, for_s=30, clear=96)
RULE = Rule(WARN, CRIT)
NOW = 1_000_000.0


def state(phase, ago=0.0, fired_ago=None):
    fired_at = NOW - (fired_ago if fired_ago is not None else ago)
    fires = phase in ("firing", "recovering")
    return State(warn=LevelState(phase, NOW - ago, fired_at if fires else 0.0))


TABLE = [
    # phase, for so long, sample → phase
    ("normal", 0, Sample(59.9), "normal"),
    ("normal", 0, Sample(60), "pending"),
    ("normal", 0, Sample(61), "pending"),
    ("normal", 0, Sample(60, at_least=True), "pending"),
    ("normal", 0, Sample(None), "normal"),
    ("pending", 119, Sample(61), "pending"),
    ("pending", 120, Sample(61), "firing"),
    ("pending", 119, Sample(59), "normal"),  # above clear: judged by the firing threshold
    ("pending", 500, Sample(None), "normal"),
    ("firing", 1, Sample(59), "firing"),  # between clear and threshold
    ("firing", 1, Sample(48.1), "firing"),
    ("firing", 1, Sample(48), "recovering"),
    ("firing", 1, Sample(None), "recovering"),
    ("recovering", 119, Sample(10), "recovering"),
    ("recovering", 120, Sample(10), "normal"),
    ("recovering", 119, Sample(61), "firing"),
    ("recovering", 119, Sample(50), "firing"),  # not under clear any more
]


@pytest.mark.parametrize(("phase", "ago", "sample", "after"), TABLE)
def test_a_phase_follows_from_the_one_before_and_the_sample(phase, ago, sample, after):
    assert evaluate(RULE, sample, state(phase, ago), NOW).warn.phase == after


def test_a_level_that_fires_again_while_it_recovers_keeps_its_beginning():
    again = evaluate(RULE, Sample(70), state("recovering", 60, fired_ago=500), NOW)

    assert (again.warn.phase, again.fired_at, again.changes) == ("firing", NOW - 500, ())


def test_without_a_hold_time_the_first_true_sample_fires():
    now = evaluate(Rule(WARN._replace(for_s=0), None), Sample(61), State(), NOW)

    assert (now.phase, now.severity, now.fired_at) == ("firing", "warn", NOW)


def test_the_levels_hold_apart_and_the_higher_one_names_the_severity():
    seen = State()
    for second in range(121):
        seen = evaluate(RULE, Sample(130), seen, NOW + second)
        expected = "" if second < 30 else "crit"
        assert seen.severity == expected

    assert seen.warn.phase == seen.crit.phase == "firing"
    lower = evaluate(RULE, Sample(90), seen, NOW + 200)
    assert (lower.crit.phase, lower.warn.phase, lower.severity) == ("recovering", "firing", "crit")
    assert evaluate(RULE, Sample(90), lower, NOW + 321).severity == "warn"


@pytest.mark.parametrize(
    ("policy", "before", "after"),
    [
        ("ok", "pending", "normal"),
        ("ok", "firing", "recovering"),
        ("keep", "pending", "pending"),
        ("keep", "firing", "firing"),
        ("alert", "normal", "pending"),
        ("alert", "firing", "firing"),
    ],
)
def test_what_no_data_means_is_the_rule_s_choice(policy, before, after):
    rule = RULE._replace(no_data=policy)

    assert evaluate(rule, Sample(None), state(before, 5), NOW).warn.phase == after


def test_a_time_that_is_left_is_true_under_its_level_and_clears_above():
    level = rules.level(600, 0, 0.8, below=True)
    rule = Rule(level, None, below=True)

    assert level.clear == 750
    fired = evaluate(rule, Sample(599), State(), NOW)
    assert fired.severity == "warn"
    assert evaluate(rule, Sample(700), fired, NOW + 1).phase == "firing"
    assert evaluate(rule, Sample(750), fired, NOW + 1).phase == "recovering"


def test_a_threshold_of_zero_means_any_at_all():
    rule = Rule(rules.level(0, 0, 0.8, below=False), None)

    assert evaluate(rule, Sample(0), State(), NOW).phase == "normal"
    fired = evaluate(rule, Sample(1), State(), NOW)
    assert fired.phase == "firing"
    assert evaluate(rule, Sample(0), fired, NOW).phase == "recovering"


def test_what_is_pending_begins_anew_when_nobody_watched_meanwhile():
    pending = state("pending", 119)

    assert rules.after_gap(pending, NOW).warn == LevelState("pending", NOW)
    firing = state("firing", 119)
    assert rules.after_gap(firing, NOW) == firing


def test_more_than_four_changes_in_ten_minutes_are_flapping_until_it_is_calm():
    rule = Rule(WARN._replace(for_s=0), None, keep_s=0)
    seen = State()
    for n in range(5):
        seen = evaluate(rule, Sample(61 if n % 2 == 0 else 1), seen, NOW + 60 * n)
        assert seen.flapping is (n == 4)

    seen = evaluate(rule, Sample(1), seen, NOW + 300)
    assert seen.flapping
    assert not evaluate(rule, Sample(1), seen, NOW + 901).flapping


MONDAY = 4 * 86_400.0  # 5 January 1970


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        ("always", MONDAY, True),
        ("mon-fri 08:00-18:00", MONDAY + 8 * 3600, True),
        ("mon-fri 08:00-18:00", MONDAY + 18 * 3600, False),
        ("mon-fri 08:00-18:00", MONDAY - 86_400 + 9 * 3600, False),
        ("sat,sun", MONDAY - 1, True),
        ("fri-mon", MONDAY + 1, True),
        ("22:00-06:00", MONDAY + 3600, True),
        ("mon 22:00-06:00", MONDAY + 86_400 + 3600, True),  # began on Monday
        ("mon 22:00-06:00", MONDAY + 3600, False),
        ("00:00-24:00", MONDAY, True),
    ],
)
def test_hours_are_days_and_times_in_utc(text, at, expected):
    assert rules.within(parsed(text), at) is expected


@pytest.mark.parametrize("text", ["now and then", "25:00-26:00", "08:00", "08:00-08:00", "mon-x"])
def test_hours_that_nobody_understands_are_refused_with_the_way_to_write_them(text):
    with pytest.raises(ValueError, match="mon-fri 08:00-18:00"):
        parsed(text)


def test_outside_its_hours_a_rule_judges_nothing_and_lets_go():
    rule = RULE._replace(hours=Hours(frozenset(), 0, 1440), no_data="alert")

    assert evaluate(rule, Sample(999), State(), NOW) == State()
    assert evaluate(rule, Sample(999), state("firing", 5), NOW).phase == "recovering"


values = st.one_of(st.none(), st.floats(0, 200), st.sampled_from([47.0, 48.0, 59.0, 60.0, 61.0]))


@given(st.lists(st.tuples(values, st.integers(1, 90)), max_size=60))
def test_a_random_past_never_fires_before_its_time_and_never_ends_early(samples):
    seen, now = State(), NOW
    true_since = calm_since = None
    for value, step in samples:
        now += step
        before = seen
        seen = evaluate(Rule(WARN, None), Sample(value), before, now)
        true = value is not None and value >= 60
        calm = value is None or value <= 48
        true_since = (true_since if true_since is not None else now) if true else None
        calm_since = (calm_since if calm_since is not None else now) if calm else None
        if not true:
            assert seen.warn.phase != "pending"  # resets on the first false
        if seen.severity and not before.severity:
            assert true_since is not None
            assert now - true_since >= WARN.for_s
        if before.severity and not seen.severity:
            assert calm_since is not None
            assert now - calm_since >= RULE.keep_s
        assert len(seen.changes) == len(set(seen.changes))
