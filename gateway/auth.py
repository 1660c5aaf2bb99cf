"""Who is asking: from headers to tenant, rules and policy, without a query.

Keys, tenants and policy are one immutable value that is replaced whole.  A request keeps the value
it began with.  While the database is away the last good value stays in force.
"""

import hmac
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from ipaddress import IPv6Address, ip_address

from django.conf import settings
from django.db import Error

from gateway import errors, keys, reading
from gateway.aside import Aside
from gateway.models import APIKey, Revision
from gateway.reading import EMPTY, Caller, Entry, Network, State

__all__ = ["EMPTY", "Caller", "Directory", "Entry", "State", "allows_model"]

logger = logging.getLogger(__name__)

ADMIN_PATHS = ("/metrics", "/api/")
SHARED_PATH = "/v1/requests"  # a tenant sees its own there, an admin key sees all


class Directory:
    """Proves callers.  Nobody is known before the first ``load`` or ``refresh``."""

    def __init__(self, state: State = EMPTY, now: Callable[[], float] = time.time) -> None:
        self.state = state
        self._now = now
        self._peppers: Mapping[str, bytes] = settings.LANEWAY_PEPPERS
        # An unknown key costs what a known one costs, so time tells a stranger nothing.
        self._dummy = secrets.token_bytes(32)
        self._dummy_pepper = next(iter(self._peppers))
        self._aside = Aside("directory")

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
            django.db.Error, ValueError: the state stays as it was.
        """
        self.state = self._read()

    def _read(self) -> State:
        state = reading.read(self._now())
        for what in state.unreadable:
            logger.error("left out, it cannot be read: %s", what)
        lost = {entry.pepper_id for entry in state.entries.values()} - set(self._peppers)
        if lost:
            logger.error("keys made with pepper %s cannot be used: it is not configured", lost)
        return state

    def close(self) -> None:
        self._aside.close()

    @property
    def age_s(self) -> float:
        """Since the state was last seen to be that of the database."""
        return self._now() - self.state.loaded_at

    async def refresh(self) -> bool:
        """Load if anything changed since.  True if the state was replaced: here and not by the
        thread, so that whoever waits for this can tell the line of it before anybody else runs."""
        before = self.state
        self.state = await self._aside.run(self._newer_than, before)
        return self.state.revision != before.revision

    def _newer_than(self, state: State) -> State:
        try:
            if Revision.current() == state.revision:
                return state._replace(loaded_at=self._now())
            return self._read()
        except Error as error:
            logger.warning("the last known keys and policy stay in force: %s", error)
        except ValueError as error:
            logger.error("the last known keys and policy stay in force: %s", error)
        return state


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


def _within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        peer = ip_address(address)
    except ValueError:
        return False
    # An IPv4 caller of a dual-stack socket comes as ::ffff:10.2.7.9.
    mapped = peer.ipv4_mapped if isinstance(peer, IPv6Address) else None
    return any((mapped or peer) in network for network in networks)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M %Z")
