"""All that a gateway decides by, read from the rows as one value.

A row that cannot be read, after an upgrade or a repair by hand say, is left out and told of.  All
others are read nevertheless: a revoked key is refused whatever else is broken.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

from gateway import marks
from gateway.core.canary import Canary
from gateway.core.policy import KeyRules, Policy, TenantRules, default_policy
from gateway.core.snapshot import MarkView
from gateway.dial import Origin
from gateway.models import (
    APIKey,
    Backend,
    BackendRow,
    Override,
    OverrideRow,
    PolicyVersion,
    Revision,
    Rollout,
    Shadow,
    ShadowRow,
)

Network = IPv4Network | IPv6Network

SUNSET_BEFORE_S = 14 * 86_400  # how long before its end a key's replies tell of it
UNREADABLE = "unreadable"  # a status like those of ``APIKey``, which no row has


class Caller(NamedTuple):
    tenant: str
    tenant_id: int
    key_id8: str
    key_id: int
    kind: str
    tenant_rules: TenantRules
    key_rules: KeyRules
    policy: Policy
    policy_version: int
    notices: Mapping[str, str] = {}  # headers that tell of the key's end
    moved_to: str = ""  # the tier an override holds the tenant in at this moment


class Entry(NamedTuple):
    """One key as the token path sees it: its row, its tenant's status, and the caller it proves."""

    digest: bytes
    pepper_id: str
    status: str
    not_before: float | None  # unix seconds
    expires_at: float | None
    tenant_status: str
    caller: Caller
    retires_at: float | None = None  # a successor is there: valid until then
    networks: tuple[Network, ...] | None = None  # None: callers may come from anywhere
    notices: Mapping[str, str] = {}
    notices_from: float = math.inf  # unix seconds


class State(NamedTuple):
    revision: int
    policy_version: int  # 0: none is published yet
    policy: Policy
    entries: Mapping[str, Entry]  # by id8
    backends: tuple[BackendRow, ...]
    loaded_at: float  # unix seconds; also moved by every look that found nothing changed
    overrides: tuple[OverrideRow, ...] = ()
    marks: tuple[MarkView, ...] = ()
    canary: Canary | None = None  # a newer version that some tenants follow
    shadow: ShadowRow | None = None  # a policy that is decided beside, and only counted
    unreadable: tuple[str, ...] = ()  # rows that were left out: which, and why

    @property
    def newest_version(self) -> int:
        return self.canary.version if self.canary else self.policy_version


EMPTY = State(-1, 0, default_policy(), {}, (), 0.0)


def read(now: float) -> State:
    """Read everything.

    Raises:
        django.db.Error: the rows are out of reach.
        ValueError: versions of the policy were published, and none of them can be read.
    """
    revision = Revision.current()  # first: a change in between only means another reading
    at = datetime.fromtimestamp(now, UTC)
    bad: list[str] = []
    newest, trial = PolicyVersion.objects.in_force()
    canary = _canary(trial, bad) if trial else None
    policy, version = default_policy(), 0
    if newest:
        policy, version = _policy(trial.base if trial else newest.number, bad)
    return State(
        revision,
        version,
        policy,
        _entries(policy, version, canary, bad),
        tuple(_backends(bad)),
        now,
        tuple(_overrides(at, bad)),
        marks.recent(),
        canary,
        _shadow(at, bad),
        tuple(bad),
    )


def _policy(number: int, bad: list[str]) -> tuple[Policy, int]:
    """That version, or the nearest one before it that can be read; 0 is the default policy."""
    if number == 0:
        return default_policy(), 0
    for row in PolicyVersion.objects.filter(number__lte=number).order_by("-number").iterator(8):
        try:
            return row.as_policy(), row.number
        except ValueError as error:
            bad.append(f"policy {row} (the one before stays in force): {error}")
    raise ValueError(f"all versions of the policy: {'; '.join(bad)}")


def _canary(trial: Rollout, bad: list[str]) -> Canary | None:
    """None where its policy cannot be read: everybody follows the one before."""
    try:
        return trial.as_canary()
    except ValueError as error:
        bad.append(f"policy v{trial.version} (nobody follows it): {error}")
        return None


def _entries(
    policy: Policy, version: int, canary: Canary | None, bad: list[str]
) -> dict[str, Entry]:
    entries = {}
    for key in APIKey.objects.select_related("tenant"):
        if canary and key.tenant.slug in canary.tenants:
            entries[key.id8] = _entry(key, canary.policy, canary.version, bad)
        else:
            entries[key.id8] = _entry(key, policy, version, bad)
    return entries


def _entry(key: APIKey, policy: Policy, version: int, bad: list[str]) -> Entry:
    tenant, status = key.tenant, key.status
    try:
        rules = key.as_rules()
    except ValueError as error:
        bad.append(f"key {key.id8} (it is refused): {error}")
        rules = KeyRules()
        status = UNREADABLE if status == APIKey.Status.ACTIVE else status
    caller = Caller(
        tenant=tenant.slug,
        tenant_id=tenant.pk,
        key_id8=key.id8,
        key_id=key.pk,
        kind=key.kind,
        tenant_rules=policy.tenants.get(tenant.slug, _NO_RULES),
        key_rules=rules,
        policy=policy,
        policy_version=version,
    )
    expires_at, retires_at = _seconds(key.expires_at), _seconds(key.retires_at)
    notices_from, notices = _notices(_seconds(key.rotated_at), expires_at, retires_at)
    return Entry(
        digest=bytes(key.digest),
        pepper_id=key.pepper_id,
        status=status,
        not_before=_seconds(key.not_before),
        expires_at=expires_at,
        tenant_status=tenant.status,
        caller=caller,
        retires_at=retires_at,
        networks=_networks(key.id8, rules.networks, bad),
        notices=notices,
        notices_from=notices_from,
    )


_NO_RULES = TenantRules()


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None


def _networks(id8: str, texts: tuple[str, ...], bad: list[str]) -> tuple[Network, ...] | None:
    """One that cannot be read lets nobody in: a list that was meant to bind must not open."""
    if not texts:
        return None
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        bad.append(f"networks of the key {id8} (it lets nobody in): {error}")
        return ()


def _notices(
    rotated_at: float | None, expires_at: float | None, retires_at: float | None
) -> tuple[float, Mapping[str, str]]:
    """From when on replies tell of the key's end, and how: Deprecation is RFC 9745, Sunset RFC 8594."""
    ends = [at for at in (expires_at, retires_at) if at is not None]
    if not ends:
        return math.inf, {}
    sunset = {"sunset": format_datetime(datetime.fromtimestamp(min(ends), UTC), usegmt=True)}
    if retires_at is None or rotated_at is None:
        return min(ends) - SUNSET_BEFORE_S, sunset
    return rotated_at, {"deprecation": f"@{int(rotated_at)}"} | sunset


def _backends(bad: list[str]) -> Iterator[BackendRow]:
    for row in Backend.objects.all().as_rows():
        try:
            Origin.parse(row.url)
        except ValueError as error:
            bad.append(f"backend {row.name} (it gets nothing): {error}")
        else:
            yield row


def _overrides(at: datetime, bad: list[str]) -> Iterator[OverrideRow]:
    for order in Override.objects.current(at):
        try:
            yield order.as_row()
        except ValueError as error:
            bad.append(f"order no. {order.pk}, {order} (nobody carries it out): {error}")


def _shadow(at: datetime, bad: list[str]) -> ShadowRow | None:
    shadow = Shadow.objects.current(at)
    try:
        return shadow.as_row() if shadow else None
    except ValueError as error:
        bad.append(f"shadow no. {shadow.pk} (it counts nothing): {error}" if shadow else "")
        return None
