"""What was used: by key, tenant, model and day, as a chart, a table and CSV."""

import csv
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from dashboard.accounts import permissions as may
from dashboard.accounts.gate import open_in_tenant, open_to
from dashboard.audit.export import harmless
from dashboard.audit.log import record
from dashboard.tenants import charts
from gateway.models import Grouping, Tenant, UsageRecord

SPANS = {"1": "today", "7": "7 days", "30": "30 days", "90": "90 days"}
BY_TENANT: dict[Grouping, str] = {"tenant": "Tenant", "model": "Model", "day": "Day"}
BY_KEY: dict[Grouping, str] = {"key": "Key", "model": "Model", "day": "Day"}
UNITS = ("requests", "tokens")


@open_to(may.may_see_all_tenants)
@require_safe
def of_all(request: HttpRequest) -> HttpResponse:
    return _page(request, None)


@open_to(may.may_see_all_tenants)
@require_safe
def of_all_csv(request: HttpRequest) -> HttpResponse:
    return _csv(request, None)


@open_in_tenant(may.may_see_tenant)
@require_safe
def of_tenant(request: HttpRequest, tenant: Tenant) -> HttpResponse:
    return _page(request, tenant)


@open_in_tenant(may.may_see_tenant)
@require_safe
def of_tenant_csv(request: HttpRequest, tenant: Tenant) -> HttpResponse:
    return _csv(request, tenant)


def _page(request: HttpRequest, tenant: Tenant | None) -> HttpResponse:
    asked = _asked(request, tenant)
    rows, by, unit = asked["rows"], asked["by"], asked["unit"]
    names = dict(tenant.keys.values_list("id8", "name")) if tenant and by == "key" else {}
    parts = [
        charts.Part(
            f"{row.day:%Y-%m-%d}",
            "all" if by == "day" else names.get(row.name, row.name),
            row.requests if unit == "requests" else row.tokens,
        )
        for row in rows.used_per_day(by)
    ]
    table = rows.used_by(by)
    context = asked | {
        "tenant": tenant,
        "table": table,
        "names": names,
        "total_requests": sum(row.requests for row in table),
        "total_tokens": sum(row.tokens for row in table),
        "figure": charts.usage(parts, asked["days"], unit) if parts else None,
    }
    return render(request, "tenants/usage.html", context)


def _csv(request: HttpRequest, tenant: Tenant | None) -> HttpResponse:
    asked = _asked(request, tenant)
    by, table = asked["by"], asked["rows"].used_by(asked["by"])
    whose = tenant.slug if tenant else "all"
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = (
        f'attachment; filename="usage-{whose}-by-{by}-{asked["days"][0]}-{asked["days"][-1]}.csv"'
    )
    writer = csv.writer(answer)
    writer.writerow([by, "requests", "refused", "failed", "prompt_tokens", "completion_tokens"])
    writer.writerows([harmless(row.name), *row[1:]] for row in table)
    with transaction.atomic():
        record(
            request.user,
            "usage.exported",
            f"tenant:{whose}",
            tenant=tenant.slug if tenant else "",
            after={"by": by, "from": asked["days"][0], "to": asked["days"][-1]},
            request=request,
        )
    return answer


def _asked(request: HttpRequest, tenant: Tenant | None) -> dict[str, Any]:
    """What the address asks for; nonsense is the default."""
    groupings = BY_KEY if tenant else BY_TENANT
    by = request.GET.get("by", "")
    by = by if by in groupings else next(iter(groupings))
    span = request.GET.get("days", "")
    span = span if span in SPANS else "7"
    unit = request.GET.get("unit", "")
    unit = unit if unit in UNITS else UNITS[0]
    today = timezone.now().astimezone(UTC).date()
    first = today - timedelta(days=int(span) - 1)
    rows = UsageRecord.objects.since(datetime.combine(first, time(), UTC))
    return {
        "rows": rows.of_tenants([tenant]) if tenant else rows,
        "by": by,
        "span": span,
        "unit": unit,
        "units": UNITS,
        "spans": SPANS,
        "groupings": groupings,
        "days": [str(first + timedelta(days=n)) for n in range(int(span))],
    }
