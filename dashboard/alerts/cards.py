"""What the page of open alerts shows of each incident."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Prefetch

from dashboard.alerts import marks, message, metrics, past, wording
from dashboard.alerts.marks import Mark
from dashboard.alerts.models import (
    AlertEvent,
    AlertState,
    Heartbeat,
    Incident,
    Rule,
    Silence,
    hiding,
)
from dashboard.alerts.stored import restored
from dashboard.delivery.models import Delivery
from dashboard.delivery.watch import Health, health
from dashboard.units.shown import seconds, span
from gateway import newest
from gateway.core.policy import Tier
from gateway.core.snapshot import Frame
from gateway.models import PolicyVersion

SHOWN = timedelta(minutes=15)
WIDTH, HEIGHT = 120, 24
LATE_S = 5.0  # the evaluator's word turns red
IDLE_S = 15.0  # the notifier's


class Row(NamedTuple):
    """One instance that fires."""

    state: AlertState
    subject: str
    now: str
    limit: str
    path: str  # of a sparkline, 120 by 24
    pending: str  # that the next level is near
    silence: Silence | None
    busiest: list[tuple[str, float]]
    charts: str  # the live page over the time around it


class Card(NamedTuple):
    incident: Incident
    rule: Rule | None
    rows: list[Row]
    causes: list[Mark]
    down: str  # backends of its pool that are down beside it
    told: str
    sent: list[Delivery]  # the last message to each channel, on its way or there
    acked: bool


class Pulse(NamedTuple):
    """What the watchdog's tile says."""

    evaluator_s: float | None  # since its last round; None: never
    notifier: Health
    broken: int  # rules that are enabled and cannot be judged

    @property
    def evaluator_late(self) -> bool:
        return self.evaluator_s is None or self.evaluator_s > LATE_S

    @property
    def notifier_late(self) -> bool:
        return self.notifier.idle_s > IDLE_S


def cards(now: datetime, pk: int | None = None) -> list[Card]:
    """Crit first, those that somebody has taken on last; of one incident alone with its ``pk``."""
    said = Prefetch("events", AlertEvent.objects.filter(kind="said"))  # of all it may have many
    chosen = Incident.objects.open() if pk is None else Incident.objects.open().filter(pk=pk)
    opened = list(chosen.select_related("rule").prefetch_related("states__rule", said))
    silences = list(Silence.objects.active(now).select_related("owner", "rule"))
    frame = newest.frame()
    tiers = {tier.name: tier for tier in PolicyVersion.objects.newest_policy().tiers}
    found = []
    for incident in opened:
        rule = incident.rule
        firing = [row for row in incident.states.all() if row.severity]
        firing.sort(key=lambda row: (row.severity != "crit", -(row.priority or 0)))
        rows = [_row(row, frame, silences, tiers, now) for row in firing]
        causes = [mark for mark in marks.before(incident.opened_at) if mark.kind != "backend"]
        found.append(
            Card(
                incident,
                rule,
                rows,
                causes[:3],
                _down(incident, frame),
                _told(incident),
                Delivery.objects.newest_of(f"incident-{incident.pk}-"),
                incident.acked(now),
            )
        )
    return sorted(found, key=lambda card: (card.acked, card.incident.severity != "crit"))


def _down(incident: Incident, frame: Frame | None) -> str:
    pool = metrics.pool_of(frame, incident.pool)
    if pool is None or (incident.rule and incident.rule.metric == "backends_down"):
        return ""
    share, names = metrics.backends_down(pool)
    return names if share.value else ""


def _row(
    row: AlertState,
    frame: Frame | None,
    silences: list[Silence],
    tiers: dict[str, Tier],
    now: datetime,
) -> Row:
    rule = row.rule
    reading = None
    pool = metrics.pool_of(frame, row.pool)
    if frame is not None:
        found = metrics.read(rule.judged, frame, row.pool, row.tier)
        reading = next((one for one in found if one.instance == row.instance), None)
    if reading is not None:
        value = wording.value(rule.judged, *reading.sample)
        shown = reading.note or value
    else:
        shown = row.note or wording.value(rule.judged, row.value, row.at_least)
    tier = tiers.get(row.tier)
    points = past.points(rule.metric, row.pool, tier, now - SHOWN, now) if tier else []
    since = row.since or now
    return Row(
        row,
        wording.subject(row, rule),
        shown,
        wording.limit(rule.judged, row.threshold),
        path([point.value for point in points]),
        _pending(row, rule, tier.target_wait_s if tier else None, now),
        hiding(silences, row),
        metrics.busiest(pool, row.tier) if pool and row.tier else [],
        message.charts(since - SHOWN, now, row.pool, row.tier),
    )


def _pending(row: AlertState, rule: Rule, target_s: float | None, now: datetime) -> str:
    """``crit (over 2 min) pending 1m53s of 2 min``"""
    level = restored(row).crit
    if row.severity != "warn" or level.phase != "pending" or rule.error:
        return ""
    judged = rule.as_rule(target_s).crit
    if judged is None:
        return ""
    held = seconds(now.timestamp() - level.since)
    limit = wording.limit(rule.judged, judged.threshold)
    return f"crit ({limit}) pending {held} of {span(judged.for_s)}"


def _told(incident: Incident) -> str:
    said = list(incident.events.all())
    return f"{said[-1].text}, {wording.clock(said[-1].at)}" if said else ""


def path(values: list[float | None]) -> str:
    """The line of a sparkline: the highest of each of at most 120 parts; a gap stays a gap."""
    size = max(1, -(-len(values) // WIDTH))
    parts = [values[i : i + size] for i in range(0, len(values), size)]
    tops = [max((v for v in part if v is not None), default=None) for part in parts]
    most = max((top for top in tops if top is not None), default=0) or 1
    step = WIDTH / max(1, len(tops) - 1)
    drawn, pen = "", "M"
    for i, top in enumerate(tops):
        if top is None:
            pen = "M"
            continue
        drawn += f"{pen}{i * step:.1f},{HEIGHT - 1 - top / most * (HEIGHT - 2):.1f}"
        pen = "L"
    return drawn


def pending(now: datetime) -> list[tuple[AlertState, str, str]]:
    """What is true and does not fire yet: the state, whose it is, how long it held so far."""
    rows = AlertState.objects.filter(severity="", phase="pending").select_related("rule")
    found = []
    for row in rows:
        state = restored(row)
        began = min(level.since for level in (state.warn, state.crit) if level.phase == "pending")
        found.append((row, wording.subject(row, row.rule), seconds(now.timestamp() - began)))
    return found


def pulse(now: datetime) -> Pulse:
    last = Heartbeat.last()
    age_s = max(0.0, (now - last).total_seconds()) if last else None
    return Pulse(age_s, health(now), Rule.objects.enabled().exclude(error="").count())


def known_pools(now: datetime) -> list[str]:
    frame = newest.frame()
    names = {pool.name for pool in frame.pools} if frame else set()
    return sorted(names | set(past.pools(now - past.KEPT)))
