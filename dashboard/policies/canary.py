"""A version for some of the tenants first: started, watched, promoted, taken back.

``gateway.core.canary`` says how two versions live in one line, ``guards`` when one has to go.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest

from dashboard.accounts.permissions import may_publish
from dashboard.alerts.models import AlertState
from dashboard.audit.log import record
from dashboard.delivery.message import Message
from dashboard.delivery.models import Channel
from dashboard.delivery.posting import post
from dashboard.policies import guards, managed, publish
from dashboard.policies.guards import Group, Pair
from dashboard.policies.models import Draft
from gateway.core.canary import bar, obstacles
from gateway.core.snapshot import GroupView
from gateway.models import PolicyVersion, Rollout, Tenant, UsageRecord, policy_of

WINDOW = timedelta(minutes=5)  # that the two groups are compared over
MOST_ROWS = 5_000  # of the newest requests; a busier gateway is compared over fewer seconds
QUIET_S = 1800  # promoted by itself after so long, where that was ticked
TRIED = 20  # requests without which nothing was shown, so nothing is promoted by itself
REFUSED = frozenset({"rejected", "expired", "evicted"})


class CannotCarry(ValueError):
    """What the draft changes, a pool has once."""

    def __init__(self, what: Sequence[str]) -> None:
        told = ", ".join(what)
        super().__init__(f"A canary cannot carry what a pool has once: {told}.")


@transaction.atomic
def start(
    draft: Draft,
    edit: int,
    message: str,
    percent: int,
    guarded_by: Sequence[str],
    promotes: bool,
    author: User,
    request: HttpRequest | None = None,
) -> Rollout:
    """Publish the draft for ``percent`` of the tenants.

    Raises:
        BaseMoved, StaleDraft, ValueError: as ``publish.publish`` does.
        CannotCarry: it changes what cannot be shared.
        ValueError: there are fewer than two tenants.
    """
    before = publish.hold_to_edit(draft.base)
    policy = publish.take(draft, edit)
    base = policy_of(before)
    if what := obstacles(base, policy):
        raise CannotCarry(what)
    tenants = Tenant.objects.filter(status=Tenant.Status.ACTIVE).values_list("pk", flat=True)
    under = bar(tenants, percent)
    version = PolicyVersion.objects.publish(policy, message[: publish.LONGEST_MESSAGE], author)
    for over in Rollout.objects.filter(state=Rollout.State.RUNNING):  # of an older version
        publish.end(over, Rollout.State.TAKEN_BACK, f"v{before.number if before else 0} came.")
    row = Rollout.objects.create(
        version=version.number,
        base=before.number if before else 0,
        percent=percent,
        bar=under,
        guards=list(guarded_by),
        promotes_after_s=QUIET_S if promotes else None,
    )
    told: dict[str, Any] = {"canary_percent": percent, "guards": row.guards}
    publish.recorded("policy.canary_started", version, before, message, author, request, **told)
    managed.published_in_browser()
    return row


@transaction.atomic
def promote(row: Rollout, why: str, by: User | str, request: HttpRequest | None = None) -> bool:
    """Everybody follows it from now on.  False: it is over already."""
    publish.lock()
    if not publish.end(row, Rollout.State.PROMOTED, why):
        return False
    object = f"policy:v{row.version}"
    after = {"version": row.version}
    record(
        by, "policy.promoted", object, before={"percent": row.percent}, after=after, reason=why,
        request=request,
    )  # fmt: skip
    return True


def take_back(
    row: Rollout, why: str, author: User | None, request: HttpRequest | None = None
) -> PolicyVersion:
    """Publish the document before it again, for everybody.

    Raises:
        BaseMoved: it is over already.
    """
    base = PolicyVersion.objects.filter(number=row.base).first()
    policy = policy_of(base)
    return publish.put_back(policy, row.base, row.version, why, author, request, by="canary")


def look(now: datetime, waiting: Sequence[GroupView]) -> None:
    """What the ticker does about a canary: take it back when a guard trips, promote it when it was
    quiet for as long as was asked."""
    row = Rollout.objects.running()
    if row is None:
        return
    pairs = figures(row, now, waiting)
    why = guards.tripped(pairs, row.guards) or _alarm(row, pairs)
    if why:
        with transaction.atomic():
            back = take_back(row, why, None)
            title = f"Policy v{row.version} was taken back: {why}"
            lines = (
                f"{row.percent} % of the tenants had it. Everybody follows v{back.number} now.",
            )
            message = Message("firing", "warn", title, lines, at=now)
            post(message, Channel.objects.enabled(), f"canary-{row.version}")
        return
    quiet_s = (now - row.started_at).total_seconds()
    tried = sum(pair.canary.n for pair in pairs if not pair.tier) >= TRIED
    due = row.promotes_after_s is not None and quiet_s >= row.promotes_after_s and tried
    if due and _author_may_publish(row):  # else somebody who may decides
        promote(row, f"quiet for {quiet_s // 60:.0f} minutes", "canary")


def _author_may_publish(row: Rollout) -> bool:
    version = PolicyVersion.objects.select_related("author").get(number=row.version)
    return version.author is not None and may_publish(version.author)


def _alarm(row: Rollout, pairs: Sequence[Pair]) -> str:
    """A crit alert of a tier that the canary uses, which began to fire after it did."""
    tiers = [pair.tier for pair in pairs if pair.tier and (pair.canary.n or pair.canary.waiting)]
    if "alert" not in row.guards or not tiers:
        return ""
    firing = AlertState.objects.filter(severity="crit", tier__in=tiers)
    state = firing.filter(since__gte=row.started_at).select_related("rule").first()
    return f"{state.tier}: the alert {state.rule.name!r} fires" if state else ""


def figures(row: Rollout, now: datetime, waiting: Sequence[GroupView] = ()) -> list[Pair]:
    """Both groups over the same minutes: all together first, then by tier, the most urgent first."""
    base = PolicyVersion.objects.filter(number=row.base).first()
    policy = policy_of(base)
    found: dict[tuple[str, bool], dict[str, Any]] = {}
    since = max(row.started_at, now - WINDOW)
    rows = UsageRecord.objects.since(since).filter(policy_version__in=[row.version, row.base])
    columns = ("tier", "policy_version", "outcome", "queue_wait_s", "e2e_s")
    for tier, version, outcome, wait_s, e2e_s in rows.order_by("-arrived_at").values_list(*columns)[
        :MOST_ROWS
    ]:
        expired_s = e2e_s if outcome == "expired" else wait_s
        for name in ("", tier) if tier else ("",):
            count = found.setdefault((name, version == row.version), _nothing())
            count["n"] += 1
            count["refused"] += outcome in REFUSED
            count["failed"] += outcome == "failed"
            if name and expired_s is not None:
                count["waits"].append(expired_s)
    for group in waiting:
        count = found.setdefault((group.tier, group.version == row.version), _nothing())
        count["waiting"] += group.waiting
        ages = [age for age in (count["oldest_s"], group.oldest_s) if age is not None]
        count["oldest_s"] = max(ages, default=None)

    def side(name: str, newer: bool) -> Group:
        count = found.get((name, newer), _nothing())
        return Group(**{**count, "waits": tuple(sorted(count["waits"]))})

    tiers = [("", 0.0), *((tier.name, tier.target_wait_s) for tier in policy.by_urgency)]
    return [Pair(name, target_s, side(name, True), side(name, False)) for name, target_s in tiers]


def _nothing() -> dict[str, Any]:
    return {"n": 0, "refused": 0, "failed": 0, "waits": [], "waiting": 0, "oldest_s": None}


def tenants_of(row: Rollout) -> list[str]:
    """Who follows it."""
    tenants = Tenant.objects.filter(status=Tenant.Status.ACTIVE).values_list("pk", "slug")
    return [slug for pk, slug in tenants if row.takes(pk)]
