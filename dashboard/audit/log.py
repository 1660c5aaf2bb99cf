"""Writing the audit trail: append only, in the transaction of the change, never a secret."""

import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from dashboard.audit.models import AuditEvent, AuditHead

logger = logging.getLogger(__name__)

# A key somebody pasted into a reason or a name: its public part stays.
KEY = re.compile(r"\b(lw_(?:live|test|admin)_[0-9A-Za-z]{8})_[0-9A-Za-z]{20,}")
SECRETS = {"digest", "key", "password", "pepper", "secret", "token"}
OWN_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")


def record(
    by: AbstractBaseUser | AnonymousUser | str,
    verb: str,
    object: str,
    *,
    tenant: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
    request: HttpRequest | None = None,
) -> AuditEvent:
    """Append one act.  Call it inside the transaction that makes the change.

    ``by`` is a person, or the name of what acted ("system", "key XoBh07B0").  ``object`` reads
    ``kind:name``, such as ``tenant:acme`` or ``key:XoBh07B0``.  ``tenant`` puts the event into that
    tenant's own trail.
    """
    with transaction.atomic():
        AuditHead.objects.get_or_create(pk=1)
        head = AuditHead.objects.select_for_update().get(pk=1)  # one writer at a time
        event = AuditEvent(
            number=head.number + 1,
            at=timezone.now(),
            actor=_without_keys(by if isinstance(by, str) else by.get_username())[:150],
            address=str(request.META.get("REMOTE_ADDR", ""))[:64] if request else "",
            request_id=_request_id(request),
            verb=verb,
            object=_without_keys(object)[:200],
            tenant=tenant,
            before=_clean(before),
            after=_clean(after),
            reason=_without_keys(reason)[:500],
            prev=head.hash,
        )
        event.hash = event.sealed()
        event.save()
        head.number, head.hash = event.number, event.hash
        head.save()
        # Outside the database too: whoever rewrites the whole chain cannot rewrite the log.
        transaction.on_commit(lambda: logger.info("audit %d %s", event.number, event.hash))
    return event


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Both sides of a change, without what stayed the same."""
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}


def _request_id(request: HttpRequest | None) -> str:
    said = request.headers.get("X-Request-ID", "") if request else ""
    return said if OWN_ID.fullmatch(said) else ""


def _clean(values: Mapping[str, Any] | None) -> Any:
    """As JSON will give it back, so that a row read again has the hash it was written with."""
    if values is None:
        return None
    return _masked(json.loads(json.dumps(values, cls=DjangoJSONEncoder)))


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: "(not kept)" if name.lower() in SECRETS else _masked(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return _without_keys(value) if isinstance(value, str) else value


def _without_keys(text: str) -> str:
    return KEY.sub(r"\1_…", text.replace("\0", ""))
