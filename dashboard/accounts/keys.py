"""Keys as pages and the management API see them: proven by their digest, one query each."""

import hmac
from datetime import datetime
from ipaddress import ip_address, ip_network

from django.conf import settings

from gateway import keys
from gateway.errors import forbidden, invalid_api_key, key_refused
from gateway.models import APIKey

_BLANK = bytes(32)


def admin_key(authorization: str, at: datetime, address: str = "") -> APIKey:
    """The admin key in an ``Authorization`` header.

    Raises:
        GatewayError: 401 for what is no valid key, 403 for a key of another kind.
    """
    scheme, _, text = authorization.partition(" ")
    row = proven(text.strip() if scheme.lower() == "bearer" else "")
    _refuse_unless_in_use(row, at)
    if not _from_its_networks(row, address):
        raise forbidden("ip_not_allowed", f"The key {row.id8} may not be used from {address}.")
    if row.kind != APIKey.Kind.ADMIN:
        raise forbidden("key_not_admin", "This needs an admin key (lw_admin_…).")
    return row


def proven(text: str) -> APIKey:
    """The key that ``text`` is the whole of, in whatever state it may be.

    Raises:
        GatewayError: 401, and nothing of why.
    """
    try:
        parts = keys.parse(text)
    except keys.Mistyped:
        raise invalid_api_key("The key is mistyped or cut off.") from None
    if parts is None:
        raise invalid_api_key()
    row = APIKey.objects.select_related("tenant").filter(id8=parts.id8).first()
    pepper = settings.LANEWAY_PEPPERS.get(row.pepper_id, b"") if row else b""
    # Compared even when no row was found, so that the time taken tells no id.
    known = bytes(row.digest) if row and pepper else _BLANK
    if not hmac.compare_digest(keys.digest(parts.whole, pepper), known) or row is None:
        raise invalid_api_key()
    return row


def _refuse_unless_in_use(row: APIKey, at: datetime) -> None:
    if row.status != APIKey.Status.ACTIVE:
        raise key_refused(f"key_{row.status}", f"The key {row.id8} is {row.status}.")
    if row.tenant.status != row.tenant.Status.ACTIVE:
        raise forbidden("tenant_suspended", f"The tenant {row.tenant.slug} is suspended.")
    if row.retires_at and row.retires_at <= at:
        raise key_refused("key_rotated", f"The key {row.id8} was replaced. Use its successor.")
    if row.expires_at and row.expires_at <= at:
        raise key_refused("key_expired", f"The key {row.id8} has expired.")
    if row.not_before and row.not_before > at:
        raise key_refused("key_not_yet_valid", f"The key {row.id8} is not valid yet.")


def _from_its_networks(row: APIKey, address: str) -> bool:
    networks = row.as_rules().networks
    if not networks:
        return True
    try:
        return any(ip_address(address) in ip_network(network) for network in networks)
    except ValueError:
        return False  # a list that was meant to bind must not open
