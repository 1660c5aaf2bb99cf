"""What a day came to, by tenant and tier: a page and CSV."""

import csv
from datetime import UTC, date, timedelta

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from dashboard.accounts import permissions as may
from dashboard.accounts.gate import open_in_tenant, open_to
from dashboard.audit.log import record
from gateway import reports
from gateway.models import Tenant, TierDay

EARLIEST = date(2020, 1, 2)  # before there was any


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
    today = timezone.now().astimezone(UTC).date()
    day = _asked(request, today)
    rows = list(TierDay.objects.of(day, tenant))
    context = {
        "tenant": tenant,
        "day": day,
        "today": today,
        "before": day - timedelta(days=1),
        "after": day + timedelta(days=1) if day < today else None,
        "lines": reports.lines(rows),
        "tiers": [] if tenant else reports.by_tier(rows),
    }
    return render(request, "tenants/report.html", context)


def _csv(request: HttpRequest, tenant: Tenant | None) -> HttpResponse:
    day = _asked(request, timezone.now().astimezone(UTC).date())
    whose = tenant.slug if tenant else "all"
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="report-{whose}-{day}.csv"'
    writer = csv.writer(answer)
    writer.writerow(reports.COLUMNS)
    writer.writerows(map(reports.cells, reports.lines(TierDay.objects.of(day, tenant))))
    with transaction.atomic():
        record(
            request.user,
            "report.exported",
            f"tenant:{whose}",
            tenant=tenant.slug if tenant else "",
            after={"day": day},
            request=request,
        )
    return answer


def _asked(request: HttpRequest, today: date) -> date:
    """The day that the address asks for, in UTC; nonsense is today."""
    try:
        return max(EARLIEST, min(today, date.fromisoformat(request.GET.get("day", ""))))
    except ValueError:
        return today
