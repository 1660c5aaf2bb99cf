"""What another policy would have done with recorded traffic: the same arrivals through the production
scheduler under both, on a virtual clock.

Pure: records come in, figures for a page go out.  Nothing is drawn, so both policies meet exactly
the same requests.  Absolute waits near saturation are ill-conditioned: each policy runs at three
capacities, and what replaying the policy in force says is held against what was measured first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from gateway.core.engine import EngineConfig
from gateway.core.policy import Policy, Statement
from gateway.core.report import REFUSED, Outcome, Report, spread
from gateway.core.simulator import ENDPOINT, Arrival, Setup, simulate

CAPACITIES = (1.0, 0.9, 1.1)
CALIBRATED_ON = 2_000  # arrivals: enough for a mean
CLOSE = 0.03  # a model that serves this near to the truth is left as it is
TRUSTED = 0.25  # backtest error above which no number is shown
LEAST_S = 1.0  # waits below a second are compared with a second: 0.1 s for 0.05 s is no error
FEWEST = 20  # measured waits in a tier before they are compared
FELT = 0.1  # a change of less than a tenth, or ...
FELT_S = 0.2  # ... of less than this, is none
LONGER = 2.0  # times the top tier's p95 that need a typed confirmation

Figures = dict[str, Any]


class Recorded(NamedTuple):
    """One finished request.  ``stated``: it asked for a priority itself; None: its task decided."""

    at_s: float
    tenant: str
    task_type: str
    prompt_tokens: int
    output_tokens: int
    stated: int | None
    tier: str
    wait_s: float | None  # None: turned away at the door
    served_s: float | None  # from dispatch to the end, where it completed


class Machine(NamedTuple):
    """What the arrivals met."""

    engines: Mapping[str, EngineConfig]
    fixed: int | None  # an administrator's max_in_flight
    stored: int | None  # the limit a server had found


def says(arrival: Arrival) -> Statement:
    stated = arrival.stated if isinstance(arrival, Recorded) else None
    return Statement(endpoint=ENDPOINT, task_type=arrival.task_type or None, priority=stated)


class Replay:
    """Both policies over one record; ``told`` hears of each run's progress and may raise."""

    def __init__(
        self,
        before: Policy,
        after: Policy,
        arrivals: Sequence[Recorded],
        machine: Machine,
        told: Callable[[float], None],
        load: float = 1.0,
    ) -> None:
        self.before, self.after = before, after
        self.measured = arrivals
        self.arrivals = [one._replace(at_s=one.at_s / load) for one in arrivals]
        self.machine = machine
        self._told = told
        self._done = 0
        # Both policies at each capacity, and the one in force as it was where something is changed.
        self._runs = 2 * len(CAPACITIES) + 1

    def result(self, *, as_recorded: bool, lost: str = "") -> Figures:
        """``as_recorded`` False: another load or a server less, so the backtest is a run of its own."""
        scale = self._calibrated()
        backtest = None
        if not as_recorded:
            backtest = self._run(self.before, scale, self.measured, self.machine.engines)
        engines = {n: e for n, e in self.machine.engines.items() if n != lost}
        reports: dict[float, tuple[Report, Report]] = {}
        for capacity in CAPACITIES:
            old, new = (
                self._run(policy, scale / capacity, self.arrivals, engines)
                for policy in (self.before, self.after)
            )
            reports[capacity] = (old, new)
        old, new = reports[1.0]
        error, waits = backtested(backtest or old, self.measured)
        return {
            "n": len(self.arrivals),
            "error": error,
            "trusted": error is not None and error <= TRUSTED,
            "measured": waits,
            "tiers": _rows(reports, "tier", self.before, self.after),
            "tenants": _rows(reports, "tenant", self.before, self.after),
            "flips": flips(old, new),
            "confirm": confirmations(old, new, self.before, self.after),
        }

    def _run(
        self,
        policy: Policy,
        scale: float,
        arrivals: Sequence[Recorded],
        engines: Mapping[str, EngineConfig],
    ) -> Report:
        last_s = arrivals[-1].at_s or 1.0

        def told(at_s: float) -> None:
            self._told(min(1.0, (self._done + min(1.0, at_s / last_s)) / self._runs))

        setup = Setup(
            policy=policy,
            engines={name: slower(config, scale) for name, config in engines.items()},
            fixed=self.machine.fixed,
            stored=self.machine.stored,
            charges_quotas=True,
            says=says,
            told=told,
        )
        report = simulate(setup, arrivals)
        self._done = min(self._done + 1, self._runs - 1)
        return report

    def _calibrated(self) -> float:
        """By how much the model's steps are lengthened so that requests take as long as they did."""
        first = self.measured[:CALIBRATED_ON]
        took = [one.served_s for one in first if one.served_s]
        scale = 1.0
        for _ in range(3 if took else 0):
            report = self._run(self.before, scale, first, self.machine.engines)
            self._done = 0
            took_there = [
                one.finished_s - one.dispatched_ms / 1000
                for one in report.outcomes
                if one.finished_s is not None and one.dispatched_ms is not None
            ]
            if not took_there:
                break
            off = (sum(took) / len(took)) / (sum(took_there) / len(took_there))
            if abs(off - 1) <= CLOSE:
                break
            scale *= off
        return scale


def slower(config: EngineConfig, scale: float) -> EngineConfig:
    return replace(
        config,
        step_base_s=config.step_base_s * scale,
        step_per_decoding_s=config.step_per_decoding_s * scale,
        step_per_prefill_token_s=config.step_per_prefill_token_s * scale,
        step_per_kv_token_s=config.step_per_kv_token_s * scale,
    )


def backtested(
    report: Report, measured: Sequence[Recorded]
) -> tuple[float | None, dict[str, tuple[float, float]]]:
    """How far the replayed p95 are from the measured ones, weighted by requests; and both by tier.
    None where there is too little to compare."""
    waits: dict[str, list[float]] = {}
    for one in measured:
        if one.wait_s is not None:
            waits.setdefault(one.tier, []).append(one.wait_s)
    both: dict[str, tuple[float, float]] = {}
    off = weight = 0.0
    for tier, figures in report.tiers.items():
        known = waits.get(tier, [])
        if len(known) < FEWEST:
            continue
        was, told = spread(known).p95, figures.queue_wait.p95
        both[tier] = (was, told)
        off += len(known) * abs(told - was) / max(was, LEAST_S)
        weight += len(known)
    return (off / weight if weight else None), both


def _rows(
    reports: Mapping[float, tuple[Report, Report]], by: str, before: Policy, after: Policy
) -> list[Figures]:
    def side(report: Report, policy: Policy) -> dict[str, Figures]:
        groups: dict[str, list[Outcome]] = {}
        for one in report.outcomes:
            groups.setdefault(getattr(one, by), []).append(one)
        return {name: _figures(report, group, policy) for name, group in groups.items()}

    sides = {c: (side(old, before), side(new, after)) for c, (old, new) in reports.items()}
    old, new = sides[1.0]
    order = [tier.name for tier in (*after.by_urgency, *before.by_urgency)] if by == "tier" else []
    names = dict.fromkeys([name for name in order if name in old | new] or sorted(old | new))
    none: Figures = _figures(reports[1.0][0], [], before)
    rows = []
    for name in names:
        was, now = old.get(name, none), new.get(name, none)
        p95 = [[s[k].get(name, none)["p95"] for s in sides.values()] for k in (0, 1)]
        rows.append(
            {
                "name": name,
                "was": was,
                "now": now,
                "was_band": [min(p95[0]), max(p95[0])],
                "now_band": [min(p95[1]), max(p95[1])],
                "verdict": verdict(was["p95"], now["p95"]),
            }
        )
    return rows


def _figures(report: Report, group: Sequence[Outcome], policy: Policy) -> Figures:
    wait = spread(report.queue_wait_s(one) for one in group if one.fate not in REFUSED)
    targets = {tier.name: tier.target_wait_s for tier in policy.tiers}
    lost = sum(one.fate in REFUSED or one.fate in ("displaced", "expired") for one in group)
    within = sum(
        one.dispatched_ms is not None and report.queue_wait_s(one) <= targets.get(one.tier, 0)
        for one in group
    )
    return {
        "n": len(group),
        "p50": wait.p50,
        "p95": wait.p95,
        "worst": wait.worst,
        "refused": lost,
        "within": within / len(group) if group else 1.0,
    }


def verdict(was_s: float, now_s: float) -> str:
    if abs(now_s - was_s) <= max(FELT_S, FELT * was_s):
        return "same"
    return "better" if now_s < was_s else "worse"


def flips(old: Report, new: Report) -> dict[str, int]:
    """Requests that end in another way: both runs number them alike."""

    def served(one: Outcome) -> bool:
        return one.fate in ("completed", "running")

    pairs = list(zip(old.outcomes, new.outcomes, strict=True))
    return {
        "saved": sum(served(now) and not served(was) for was, now in pairs),
        "lost": sum(served(was) and not served(now) for was, now in pairs),
    }


def confirmations(old: Report, new: Report, before: Policy, after: Policy) -> list[str]:
    """Why publishing this needs to be typed, as sentences; empty where it does not."""
    found = []
    top = after.by_urgency[0].name
    was, now = old.tiers.get(before.by_urgency[0].name), new.tiers.get(top)
    if was and now and now.queue_wait.p95 > max(LONGER * was.queue_wait.p95, FELT_S):
        found.append(
            f"{top}: wait p95 {was.queue_wait.p95:.1f} s → {now.queue_wait.p95:.1f} s,"
            " more than twice as long"
        )
    if after.rescue_share:
        for tier in after.by_urgency:
            bound_s = _bound_s(new, (o for o in new.outcomes if o.tier == tier.name), after)
            if bound_s > tier.max_wait_s:
                found.append(
                    f"{tier.name}: it may wait {bound_s:.0f} s before its turn is certain, over"
                    f" its max wait {tier.max_wait_s:g} s"
                )
    return found


def _bound_s(report: Report, group: Iterable[Outcome], policy: Policy) -> float:
    """The longest bound on a wait of these: the target, and what may go before at the rate that
    it went at."""
    longest = 0.0
    for one in group:
        if one.passed is None:
            continue
        due_ms, let_pass, owed = one.passed
        used = let_pass * policy.rescue_share / owed
        target_s = (due_ms - one.arrived_ms) / 1000
        if used > 0:
            over_s = report.queue_wait_s(one) - target_s
            longest = max(longest, target_s + over_s / used)
    return longest
