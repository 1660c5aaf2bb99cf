"""The daily report as a page and as CSV."""

import csv
import io
from datetime import UTC

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard.audit.models import AuditEvent
from gateway import reports
from gateway.core.policy import default_policy
from gateway.models import PolicyVersion, Tenant
from tests.support.people import member, person
from tests.support.usage import used


@pytest.fixture
def ada(client, db):
    client.force_login(person("ada", "admin"))
    return client


@pytest.fixture
def today(acme, birch):
    PolicyVersion.objects.publish(default_policy(), "first")
    used(acme, "A", times=20, queue_wait_s=0.2, priority=0, policy_version=1)
    used(birch, "B", times=2, queue_wait_s=600.0, priority=0, policy_version=1)
    used(birch, "B", outcome="rejected", code="queue_full", priority=0)
    day = timezone.now().astimezone(UTC).date()
    reports.make(day)
    return day


def test_all_tenants_stand_side_by_side_and_by_tier_together(ada, today):
    answer = ada.get("/tenants/report/")

    page = answer.content.decode()
    assert [line.tenant for line in answer.context["lines"]] == ["acme", "birch"]
    assert [line.requests for line in answer.context["tiers"]] == [23]
    assert "queue_full" in page
    assert "91 %" in page  # 20 of 22 within the target


def test_a_tenant_s_people_see_their_own_day_alone(client, acme, today):
    client.force_login(member("tess", acme, "tenant-viewer"))

    assert "birch" not in client.get("/tenant/acme/report/").content.decode()
    assert client.get("/tenant/birch/report/").status_code == 404
    assert client.get("/tenants/report/").status_code == 403


def test_csv_says_the_same_and_taking_it_is_an_act(ada, today):
    answer = ada.get(f"/tenants/report.csv?day={today}")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))

    assert [(row["tenant"], row["requests"], row["reasons"]) for row in rows] == [
        ("acme", "20", ""),
        ("birch", "3", "queue_full:1"),
    ]
    assert f"report-all-{today}.csv" in answer["Content-Disposition"]
    assert AuditEvent.objects.get(verb="report.exported").object == "tenant:all"


@pytest.mark.parametrize("day", ["", "soon", "2026-13-40", "9999-12-31", "0001-01-01"])
def test_any_day_in_the_address_is_a_page(ada, today, day):
    answer = ada.get(f"/tenant/acme/report/?day={day}")

    assert answer.status_code == 200
    if day != "0001-01-01":
        assert answer.context["day"] == today


def test_a_day_without_requests_says_what_to_do(ada, today):
    page = ada.get("/tenants/report/?day=2020-01-01").content.decode()

    assert "manage.py report --day today" in page


def test_the_number_of_queries_does_not_grow_with_the_tenants(ada, today):
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            ada.get("/tenants/report/")
        return len(asked)

    before = queries()
    for n in range(5):
        used(Tenant.objects.create(slug=f"t{n}", name=f"T{n}"), "A", policy_version=1)
    reports.make(today)

    assert queries() == before
