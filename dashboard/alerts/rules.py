"""One rule judges one sample: pure, so that a page can replay the past with it.

    NORMAL ─true─▶ PENDING ─true for `for_s`─▶ FIRING ─under `clear`─▶ RECOVERING ─for `keep_s`─▶ NORMAL
       ▲─first false──┘                          ▲──not under `clear`──────┘

A rule has two levels, each with its own threshold and its own ``for_s``; they move apart from one
another, and the higher one that fires names the severity.  ``now`` is unix seconds.
"""

from typing import Literal, NamedTuple

Phase = Literal["normal", "pending", "firing", "recovering"]
Severity = Literal["", "warn", "crit"]
NoData = Literal["ok", "keep", "alert"]

FLAPPING_S = 600.0
MOST_CHANGES = 4  # in FLAPPING_S; more is flapping
GAP_S = 10.0  # nobody judged for so long: what is pending starts anew
ALWAYS = frozenset(range(7))


class Sample(NamedTuple):
    """``at_least``: the value is a lower bound.  None: there is nothing to judge."""

    value: float | None
    at_least: bool = False


class Level(NamedTuple):
    """``clear`` is on the calm side of ``threshold``: between the two, what fires goes on firing."""

    threshold: float
    for_s: float
    clear: float


class Hours(NamedTuple):
    """When a rule judges: weekdays (Monday is 0) and minutes of the day, all in UTC.

    From 22:00 to 06:00 belongs to the day on which it began.
    """

    days: frozenset[int] = ALWAYS
    from_min: int = 0
    until_min: int = 1440


class Rule(NamedTuple):
    warn: Level | None
    crit: Level | None
    below: bool = False  # true under the threshold, as for a time that is left
    keep_s: float = 120.0
    no_data: NoData = "ok"
    hours: Hours = Hours()


class LevelState(NamedTuple):
    phase: Phase = "normal"
    since: float = 0.0  # when the phase began
    fired_at: float = 0.0  # kept while it recovers


class State(NamedTuple):
    warn: LevelState = LevelState()
    crit: LevelState = LevelState()
    changes: tuple[float, ...] = ()  # when the severity came or went, over the last FLAPPING_S

    @property
    def severity(self) -> Severity:
        if self.crit.phase in ("firing", "recovering"):
            return "crit"
        return "warn" if self.warn.phase in ("firing", "recovering") else ""

    @property
    def phase(self) -> Phase:
        """Of the level that matters most."""
        if self.severity:
            return self.crit.phase if self.severity == "crit" else self.warn.phase
        return "pending" if "pending" in (self.warn.phase, self.crit.phase) else "normal"

    @property
    def fired_at(self) -> float | None:
        """Since when something fires, without a break."""
        fired = [level.fired_at for level in (self.warn, self.crit) if _fires(level)]
        return min(fired) if fired else None

    @property
    def flapping(self) -> bool:
        return len(self.changes) > MOST_CHANGES

    @property
    def quiet(self) -> bool:
        """As if nothing had ever been."""
        return self.phase == "normal" and not self.changes


def evaluate(rule: Rule, sample: Sample, state: State, now: float) -> State:
    if not within(rule.hours, now):
        sample = Sample(None)
        rule = rule._replace(no_data="ok")
    warn = _step(rule, rule.warn, sample, state.warn, now)
    crit = _step(rule, rule.crit, sample, state.crit, now)
    changes = tuple(at for at in state.changes if now - at < FLAPPING_S)
    moved = State(warn, crit, changes)
    if bool(moved.severity) != bool(state.severity):
        moved = moved._replace(changes=(*changes, now))
    return moved


def after_gap(state: State, now: float) -> State:
    """Nobody watched for a while: what was pending was not seen to hold, so it begins again."""
    return state._replace(warn=_again(state.warn, now), crit=_again(state.crit, now))


def true(rule: Rule, value: float | None) -> bool:
    """Whether a value could begin anything."""
    levels = [level for level in (rule.warn, rule.crit) if level]
    return any(_judge(rule, level, Sample(value))[0] for level in levels)


def within(hours: Hours, now: float) -> bool:
    minute = int(now // 60) % 1440
    day = (int(now // 86_400) + 3) % 7  # the epoch was a Thursday
    if hours.from_min < hours.until_min:
        return day in hours.days and hours.from_min <= minute < hours.until_min
    if minute >= hours.from_min:
        return day in hours.days
    return minute < hours.until_min and (day - 1) % 7 in hours.days


def level(threshold: float, for_s: float, clear_share: float, *, below: bool) -> Level:
    """Clears at a share of the threshold; under a threshold of a ``below`` rule that is past it."""
    clear = threshold / clear_share if below else threshold * clear_share
    return Level(threshold, for_s, clear)


def _step(
    rule: Rule, level: Level | None, sample: Sample, state: LevelState, now: float
) -> LevelState:
    if level is None:
        return LevelState()
    if sample.value is None and rule.no_data == "keep":
        return state
    true, clear = _judge(rule, level, sample)
    if state.phase == "normal" and true:
        state = LevelState("pending", now)
    if state.phase == "pending":
        if not true:
            return LevelState()
        return LevelState("firing", now, now) if now - state.since >= level.for_s else state
    if state.phase == "firing" and clear:
        state = LevelState("recovering", now, state.fired_at)
    if state.phase == "recovering":
        if not clear:
            return LevelState("firing", now, state.fired_at)
        return LevelState() if now - state.since >= rule.keep_s else state
    return state


def _judge(rule: Rule, level: Level, sample: Sample) -> tuple[bool, bool]:
    """Whether the sample is true for the level, and whether it is on the calm side of ``clear``."""
    value = sample.value
    if value is None:
        return rule.no_data == "alert", rule.no_data == "ok"
    if rule.below:
        return value < level.threshold, value >= level.clear
    # A threshold of 0 means "any at all".  That a value is a lower bound changes nothing: what is
    # known to be over the threshold is over it.
    return value > 0 and value >= level.threshold, value <= level.clear


def _fires(state: LevelState) -> bool:
    return state.phase in ("firing", "recovering")


def _again(state: LevelState, now: float) -> LevelState:
    return LevelState("pending", now) if state.phase == "pending" else state
