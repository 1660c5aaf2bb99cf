"""Every second: the frame is judged, changes are claimed, whoever should know is told.

Nothing is remembered between two rounds; all state is rows.  So a restart loses nothing, and of
several evaluators each change is made by one: the others see it in their next round.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from django.db import DatabaseError, transaction

from dashboard.alerts import incidents, metrics, open_now, rules, wording
from dashboard.alerts.metrics import Reading
from dashboard.alerts.models import AlertState, Heartbeat, Rule
from dashboard.alerts.stored import kept, restored
from dashboard.delivery.watch import idle_s_of_notifier
from gateway.aside import Aside
from gateway.core.snapshot import Frame

logger = logging.getLogger(__name__)

NO_BACKEND = "its pool has no backend"
KINDS = {
    ("", "warn"): "fired",
    ("", "crit"): "fired",
    ("warn", "crit"): "rose",
    ("crit", "warn"): "fell",
    ("warn", ""): "resolved",
    ("crit", ""): "resolved",
}


class Watch:
    """The ticker's listener, in a thread of its own."""

    def __init__(self) -> None:
        self._aside = Aside("alerts")

    async def __call__(self, frame: Frame) -> None:
        await self._aside.run(judge, frame)

    def close(self) -> None:
        self._aside.close()


class Judged(NamedTuple):
    """One rule at one instance in this round."""

    reading: Reading
    rule: rules.Rule
    threshold: float | None
    hidden_by: str


def judge(frame: Frame) -> None:
    """One round, at the frame's own moment."""
    at = datetime.fromtimestamp(frame.at, UTC)
    last = Heartbeat.last()
    gap = last is None or (at - last).total_seconds() > rules.GAP_S
    chosen = list(Rule.objects.enabled().select_related("hidden_while"))
    causes = _causes(chosen)
    _judge_all(chosen, lambda rule: _judged(rule, frame, causes), at, gap=gap)
    Heartbeat.beat(at)
    incidents.settle(at, frame)
    open_now.remember(at)


def judge_heartbeat(at: datetime) -> None:
    """What the Celery worker does: a dead evaluator cannot report itself."""
    last = Heartbeat.last()
    age_s = max(0.0, (at - last).total_seconds()) if last else None
    chosen = list(Rule.objects.enabled().filter(metric="heartbeat"))
    reading = Reading("", "", None, rules.Sample(age_s))
    _judge_all(chosen, lambda rule: [_of(rule, reading, None)], at, gap=False)
    incidents.settle(at, None)


def _causes(chosen: Sequence[Rule]) -> set[tuple[int, str]]:
    """Rules that hide others, and the pools they fired in when this round began."""
    ids = {rule.hidden_while_id for rule in chosen if rule.hidden_while_id}
    if not ids:
        return set()
    firing = AlertState.objects.filter(rule__in=ids, rule__enabled=True).exclude(severity="")
    return set(firing.values_list("rule_id", "pool"))


def _judged(rule: Rule, frame: Frame, causes: set[tuple[int, str]]) -> list[Judged]:
    if rule.metric not in metrics.METRICS:
        raise LookupError(f"There is no metric “{rule.metric}” to judge.")
    if rule.metric == "heartbeat":  # whoever judges is not silent
        return [_of(rule, Reading("", "", None, rules.Sample(0.0)), None)]
    if rule.metric == "notifier":
        idle_s = idle_s_of_notifier(datetime.fromtimestamp(frame.at, UTC))
        return [_of(rule, Reading("", "", None, rules.Sample(idle_s)), None)]
    targets = metrics.target_waits(frame)
    dark = {pool.name for pool in frame.pools if metrics.dark(pool)}
    return [
        _of(
            rule,
            reading,
            targets.get((reading.pool, reading.tier)),
            NO_BACKEND
            if rule.judged.waits and reading.pool in dark
            else _hidden_by(rule, reading.pool, causes),
        )
        for reading in metrics.read(rule.judged, frame, rule.pool, rule.tier)
    ]


def _hidden_by(rule: Rule, pool: str, causes: set[tuple[int, str]]) -> str:
    if rule.hidden_while is None or (rule.hidden_while_id, pool) not in causes:
        return ""
    return f"{rule.hidden_while.name} fires"


def _of(rule: Rule, reading: Reading, target_s: float | None, hidden_by: str = "") -> Judged:
    severity = "warn" if rule.warn is not None else "crit"
    return Judged(reading, rule.as_rule(target_s), rule.threshold(severity, target_s), hidden_by)


def _judge_all(
    chosen: Sequence[Rule],
    judged: Callable[[Rule], list[Judged]],
    at: datetime,
    *,
    gap: bool,
) -> None:
    rows: dict[int, dict[str, AlertState]] = {rule.pk: {} for rule in chosen}
    for row in AlertState.objects.filter(rule__in=rows).select_related("incident"):
        rows[row.rule_id][row.instance] = row
    for rule in chosen:
        try:
            _judge_rule(rule, judged(rule), rows[rule.pk], at, gap=gap)
        except DatabaseError:  # of no rule in particular
            raise
        except Exception as error:  # noqa: BLE001 -- a rule that is broken keeps no other from it
            _mark(rule, str(error) or type(error).__name__)
        else:
            _mark(rule, "")


def _mark(rule: Rule, error: str) -> None:
    """Say on its page that a rule cannot be judged, or that it can again.  What it fired stays."""
    if rule.error == error[:300]:
        return
    Rule.objects.filter(pk=rule.pk).update(error=error[:300])
    if error:
        logger.error("the alert rule %r cannot be judged: %s", rule.name, error)


def _judge_rule(
    rule: Rule, judged: list[Judged], known: dict[str, AlertState], at: datetime, *, gap: bool
) -> None:
    for one in judged:
        _judge_one(rule, one, known.pop(one.reading.instance, None), at, gap=gap)
    # Instances that are no more, such as a tier that was taken out of the policy: nothing to judge.
    for row in known.values():
        reading = Reading(row.pool, row.tier, row.priority, rules.Sample(None))
        gone = _of(rule, reading, None)
        _judge_one(rule, gone._replace(rule=_lenient(gone.rule)), row, at, gap=gap)


def _lenient(rule: rules.Rule) -> rules.Rule:
    return rule._replace(no_data="ok", keep_s=0.0)


def _judge_one(rule: Rule, one: Judged, row: AlertState | None, at: datetime, *, gap: bool) -> None:
    now = at.timestamp()
    before = restored(row)
    after = rules.evaluate(
        one.rule, one.reading.sample, rules.after_gap(before, now) if gap else before, now
    )
    if after == before and (row is None or row.hidden_by == one.hidden_by):
        return
    if row is None:
        if after.quiet:
            return
        row, _ = AlertState.objects.get_or_create(
            rule=rule,
            instance=one.reading.instance,
            defaults={"pool": one.reading.pool, "tier": one.reading.tier},
        )
        if row.revision:  # another evaluator was first
            return
    with transaction.atomic():
        _move(rule, one, row, before, after, at)


def _move(
    rule: Rule,
    one: Judged,
    row: AlertState,
    before: rules.State,
    after: rules.State,
    at: datetime,
) -> None:
    sample, severity = one.reading.sample, after.severity
    fired_at = after.fired_at
    threshold = one.rule.crit if severity == "crit" else one.rule.warn
    claimed = row.move(
        state=kept(after),
        severity=severity,
        phase=after.phase,
        since=datetime.fromtimestamp(fired_at, UTC) if fired_at else None,
        priority=one.reading.priority,
        value=sample.value,
        at_least=sample.at_least,
        threshold=threshold.threshold if threshold else one.threshold,
        note=one.reading.note[:300],
        hidden_by=one.hidden_by,
    )
    if not claimed or severity == before.severity:
        return
    if severity:
        incident = incidents.open_for(rule, row.pool, severity, at)
        AlertState.objects.filter(pk=row.pk).update(incident=incident)
        row.incident = incident
    if row.incident is not None:
        text = wording.change(rule, row, before.severity)
        kind = KINDS[before.severity, severity]
        row.incident.tell(at, kind, text, severity=severity, instance=row.instance)
