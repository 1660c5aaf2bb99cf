"""One tenant's own requests in the line: where they stand, and taking them out of it.

Places are those in the whole line, so a tenant sees how far down it stands and never who is ahead.
"""

from datetime import timedelta
from typing import NamedTuple

import msgspec
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from dashboard.accounts import permissions as may
from dashboard.accounts.gate import open_in_tenant
from dashboard.live import actions, orders
from dashboard.live.overrides import Order
from dashboard.live.why import BINDS, sum_of
from gateway import newest, questions
from gateway.core.selection import Selection
from gateway.core.snapshot import HeadRow
from gateway.models import Override, Tenant

SHOWN = 100
TOLD_FOR = timedelta(minutes=10)


class Standing(NamedTuple):
    row: HeadRow
    why: str
    expected: tuple[float, float] | None  # seconds from now


class Part(NamedTuple):
    """What waits in one pool."""

    pool: str
    waiting: int
    first: list[Standing]


@open_in_tenant(may.may_see_tenant)
@require_safe
def page(request: HttpRequest, tenant: Tenant) -> HttpResponse:
    """A page that renews its middle every two seconds."""
    now = timezone.now()
    ordered = Override.objects.of_tenant_alone(tenant.slug).filter(begun_at__gt=now - TOLD_FOR)
    context = {
        "tenant": tenant,
        "parts": parts(tenant.slug),
        "silent": newest.frame_text() is None,
        "may_evict": may.may_evict_own(request.user, tenant),
        "ordered": ordered[:5],
        "now": now,
    }
    fragment = request.headers.get("HX-Target") == "waiting"
    answer = render(request, f"tenants/{'_waiting' if fragment else 'waiting'}.html", context)
    answer["Cache-Control"] = "no-store"
    return answer


def parts(slug: str) -> list[Part]:
    """By pool, as far as the gateway told: how many wait, and the first of them."""
    waiting: dict[str, int] = {}
    for (pool, _, tenant), number in newest.crowds().items():
        if tenant == slug:
            waiting[pool] = waiting.get(pool, 0) + number
    answer = questions.ask_line() or b"{}"
    lines = msgspec.json.decode(answer, type=dict[str, tuple[HeadRow, ...]])
    own = {pool: [row for row in line if row.tenant == slug] for pool, line in lines.items()}
    return [
        Part(pool, number, [_standing(row) for row in own.get(pool, [])[:SHOWN]])
        for pool, number in sorted(waiting.items())
    ]


def _standing(row: HeadRow) -> Standing:
    why = sum_of(row.tier, row.priority, row.aged, row.boost, row.effective_priority)
    if row.held:
        why += f". {BINDS[row.held]}"
    elif row.overdue:
        why += ", rescue lane"
    return Standing(row, why, row.eta_s)


@open_in_tenant(may.may_evict_own)
@require_http_methods(["GET", "HEAD", "POST"])
def evict(request: HttpRequest, tenant: Tenant) -> HttpResponse:
    """All of a pool, or those that the address names; the gateway leaves other tenants' alone."""
    if "cancel" in request.POST:
        return redirect("tenant:waiting", tenant.slug)
    now = orders.scene()
    try:
        asked = orders.order_of("evict", request.GET, now)
    except orders.Unknown as error:
        messages.error(request, str(error))
        return redirect("tenant:waiting", tenant.slug)
    own = Selection(ids=asked.selection.ids, tenant=(tenant.slug,))
    done = actions.carry_out(request, Order("evict", asked.pool, selection=own), now, tenant=tenant)
    return redirect("tenant:waiting", tenant.slug) if isinstance(done, Override) else done
