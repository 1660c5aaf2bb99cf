"""Who is asking: from headers to tenant, rules and policy, without a query.

Keys, tenants and policy are one immutable value that is replaced whole.  A request keeps the value
it began with.  While the database is away the last good value stays in force.
"""

import hmac
import logging
import math
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import Error, close_old_connections, connection

from gateway import errors, keys, marks
from gateway.core.canary import Canary
from gateway.core.policy import KeyRules, Policy, TenantRules, default_policy
from gateway.core.snapshot import MarkView
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

logger = logging.getLogger(__name__)

Network = IPv4Network | IPv6Network

SUNSET_BEFORE_S = 14 * 86_400  # how long before its end a key's replies tell of it
ADMIN_PATHS = ("/metrics", "/api/")
SHARED_PATH = "/v1/requests"  # a tenant sees its own there, an admin key sees all


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

    @property
    def newest_version(self) -> int:
        return self.canary.version if self.canary else self.policy_version


EMPTY = State(-1, 0, default_policy(), {}, (), 0.0)


class Directory:
    """Proves callers.  Nobody is known before the first ``load`` or ``refresh``."""

    def __init__(self, state: State = EMPTY, now: Callable[[], float] = time.time) -> None:
        self.state = state
        self._now = now
        self._peppers: Mapping[str, bytes] = settings.LANEWAY_PEPPERS
        # An unknown key costs what a known one costs, so time tells a stranger nothing.
        self._dummy = secrets.token_bytes(32)
        self._dummy_pepper = next(iter(self._peppers))
        # A thread of its own: Django's shared one may be busy with somebody's page.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="directory")
        self._in_thread = sync_to_async(
            self._load_if_moved, thread_sensitive=False, executor=self._thread
        )

    def authenticate(self, headers: Mapping[str, str], endpoint: str, address: str = "") -> Caller:
        """Say who is asking, or refuse.  ``address`` is the peer's, for keys bound to networks.

        Raises:
            GatewayError: 401 or 403.
        """
        caller = self._identify(headers, address)
        is_admin, for_admins = caller.kind == "admin", endpoint.startswith(ADMIN_PATHS)
        allowed = caller.key_rules.endpoints
        if endpoint.startswith(SHARED_PATH):
            return caller
        if is_admin and not for_admins:
            message = "An admin key cannot use model endpoints. Use a live key."
        elif for_admins and not is_admin:
            message = f"Only an admin key opens {endpoint}."
        elif allowed and endpoint not in allowed:
            message = f"The key {caller.key_id8} may not use {endpoint}."
        else:
            return caller
        raise errors.forbidden("endpoint_not_allowed", message)

    def _identify(self, headers: Mapping[str, str], address: str) -> Caller:
        """Prove the key.

        Until the digest matched there is one answer for all failures; from then on the caller has
        proven the key and gets the true reason.
        """
        text = presented(headers)
        try:
            parts = keys.parse(text) if text else None
        except keys.Mistyped:
            raise errors.invalid_api_key("It looks mistyped or cut off.") from None
        if parts is None:
            raise errors.invalid_api_key()
        entry = self.state.entries.get(parts.id8)
        if not self._proven(parts.whole, entry) or entry is None:
            raise errors.invalid_api_key()
        self._refuse_if_not_valid(entry)
        if entry.networks is not None and not _within(address, entry.networks):
            message = f"The key {parts.id8} may not be used from {address or 'an unknown address'}."
            raise errors.forbidden("ip_not_allowed", message)
        caller = entry.caller
        if self._now() >= entry.notices_from:
            caller = caller._replace(notices=entry.notices)
        if self.state.overrides and (tier := self._moved_to(caller.tenant)):
            caller = caller._replace(moved_to=tier)
        return caller

    def _moved_to(self, tenant: str) -> str:
        now = self._now()
        moves = (row for row in self.state.overrides if row.verb == "move")
        return next((row.tier for row in moves if row.tenant == tenant and row.holds(now)), "")

    def _proven(self, whole: str, entry: Entry | None) -> bool:
        expected = entry.digest if entry else self._dummy
        pepper_id = entry.pepper_id if entry else self._dummy_pepper
        pepper = self._peppers.get(pepper_id)
        if pepper is None:  # lost: its keys are dead, `load` has said so
            expected, pepper = self._dummy, self._peppers[self._dummy_pepper]
        return hmac.compare_digest(keys.digest(whole, pepper), expected)

    def _refuse_if_not_valid(self, entry: Entry) -> None:
        id8, now = entry.caller.key_id8, self._now()
        if entry.status != APIKey.Status.ACTIVE:
            message = f"The key {id8} is {entry.status}. Ask your administrator for another one."
            raise errors.key_refused(f"api_key_{entry.status}", message)
        if entry.not_before is not None and now < entry.not_before:
            message = f"The key {id8} is valid from {_moment(entry.not_before)} on."
            raise errors.key_refused("api_key_not_yet_valid", message)
        if entry.retires_at is not None and now >= entry.retires_at:
            message = (
                f"The key {id8} was replaced at {_moment(entry.retires_at)}. Use its successor."
            )
            raise errors.key_refused("api_key_rotated", message)
        if entry.expires_at is not None and now >= entry.expires_at:
            message = f"The key {id8} expired at {_moment(entry.expires_at)}."
            raise errors.key_refused("api_key_expired", message)
        if entry.tenant_status != "active":
            message = f"The tenant {entry.caller.tenant} is suspended."
            raise errors.forbidden("tenant_suspended", message)

    def load(self) -> None:
        """Read everything anew.

        Raises:
            django.db.Error: the state stays as it was.
        """
        revision = Revision.current()  # first: a change in between only means another load
        trial = Rollout.objects.running()
        canary = trial.as_canary() if trial else None
        rows = PolicyVersion.objects
        newest = rows.filter(number=trial.base).first() if trial else rows.newest()
        policy = newest.as_policy() if newest else default_policy()
        version = newest.number if newest else 0
        entries = {}
        for key in APIKey.objects.select_related("tenant"):
            if canary and key.tenant.slug in canary.tenants:
                entries[key.id8] = _entry(key, canary.policy, canary.version)
            else:
                entries[key.id8] = _entry(key, policy, version)
        lost = {entry.pepper_id for entry in entries.values()} - set(self._peppers)
        if lost:
            logger.error("keys made with pepper %s cannot be used: it is not configured", lost)
        backends = Backend.objects.all().as_rows()
        now = self._now()
        shadow = Shadow.objects.current(datetime.fromtimestamp(now, UTC))
        self.state = State(
            revision,
            version,
            policy,
            entries,
            backends,
            now,
            Override.objects.current(datetime.fromtimestamp(now, UTC)).as_rows(),
            marks.recent(),
            canary,
            _readable(shadow) if shadow else None,
        )

    def close(self) -> None:
        """Let the thread and its connection go."""
        self._thread.submit(lambda: connection.close())  # looked up there: each thread has its own
        self._thread.shutdown()

    async def refresh(self) -> bool:
        """Load if anything changed since.  True if the state was replaced."""
        return await self._in_thread()

    def _load_if_moved(self) -> bool:
        close_old_connections()
        try:
            if Revision.current() == self.state.revision:
                self.state = self.state._replace(loaded_at=self._now())
                return False
            self.load()
        except Error as error:
            logger.warning("the last known keys and policy stay in force: %s", error)
            return False
        except ValueError:
            logger.exception("the newest policy cannot be read; the one before stays in force")
            return False
        return True


def presented(headers: Mapping[str, str]) -> str:
    """The key a request carries; never looked for in a URL, which ends up in logs."""
    scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return (headers.get("x-api-key") or headers.get("api-key") or "").strip()


def allows_model(caller: Caller) -> Callable[[str], bool]:
    """Whether a model is one the key may use; an empty list allows all."""
    models = frozenset(caller.key_rules.models)
    return models.__contains__ if models else _anything


def _anything(model: str) -> bool:
    return True


def _readable(shadow: Shadow) -> ShadowRow | None:
    """None where its policy is no longer understood, after an upgrade say: a shadow only counts,
    and must not keep a revoked key in force."""
    try:
        return shadow.as_row()
    except ValueError as error:
        logger.error("shadow %s is left out, it cannot be read: %s", shadow.pk, error)
        return None


def _entry(key: APIKey, policy: Policy, version: int) -> Entry:
    tenant = key.tenant
    caller = Caller(
        tenant=tenant.slug,
        tenant_id=tenant.pk,
        key_id8=key.id8,
        key_id=key.pk,
        kind=key.kind,
        tenant_rules=policy.tenants.get(tenant.slug, _NO_RULES),
        key_rules=key.as_rules(),
        policy=policy,
        policy_version=version,
    )
    expires_at, retires_at = _seconds(key.expires_at), _seconds(key.retires_at)
    notices_from, notices = _notices(_seconds(key.rotated_at), expires_at, retires_at)
    return Entry(
        digest=bytes(key.digest),
        pepper_id=key.pepper_id,
        status=key.status,
        not_before=_seconds(key.not_before),
        expires_at=expires_at,
        tenant_status=tenant.status,
        caller=caller,
        retires_at=retires_at,
        networks=_networks(key.id8, caller.key_rules.networks),
        notices=notices,
        notices_from=notices_from,
    )


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None


def _networks(id8: str, texts: tuple[str, ...]) -> tuple[Network, ...] | None:
    """One that cannot be read lets nobody in: a list that was meant to bind must not open."""
    if not texts:
        return None
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        logger.error("the key %s lets nobody in: %s", id8, error)
        return ()


def _within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        peer = ip_address(address)
    except ValueError:
        return False
    # An IPv4 caller of a dual-stack socket comes as ::ffff:10.2.7.9.
    mapped = peer.ipv4_mapped if isinstance(peer, IPv6Address) else None
    return any((mapped or peer) in network for network in networks)


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


_NO_RULES = TenantRules()


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M %Z")
