"""Usage by key, tenant, model and day: sums, CSV, chart."""

import csv
import io
from datetime import timedelta

import pytest
from django.utils import timezone

from dashboard.audit.models import AuditEvent
from dashboard.tenants import charts
from dashboard.tenants.charts import Part
from gateway.models import UsageRecord
from tests.support.people import member, person
from tests.support.usage import used


@pytest.fixture
def ada(client, db):
    client.force_login(person("ada", "admin"))
    return client


@pytest.fixture
def traffic(acme, birch):
    used(acme, "AAAAAAAA", times=2)
    used(acme, "BBBBBBBB", model="llama", outcome="rejected", prompt_tokens=None)
    used(acme, "AAAAAAAA", ago=timedelta(days=2), outcome="failed")
    used(acme, "AAAAAAAA", ago=timedelta(days=50))
    used(birch, "CCCCCCCC", times=3, prompt_tokens=1000)


def table(client, address: str) -> dict[str, tuple[int, ...]]:
    return {row.name: tuple(row[1:]) for row in client.get(address).context["table"]}


def test_one_tenant_s_usage_adds_up_by_key_model_and_day(ada, traffic):
    today = str(timezone.now().date())

    assert table(ada, "/tenant/acme/usage/?by=key") == {
        "AAAAAAAA": (3, 0, 1, 30, 15),
        "BBBBBBBB": (1, 1, 0, 0, 5),
    }
    assert table(ada, "/tenant/acme/usage/?by=model").keys() == {"qwen", "llama"}
    assert table(ada, "/tenant/acme/usage/?by=day")[today] == (3, 1, 0, 20, 15)
    assert table(ada, "/tenant/acme/usage/?days=90")["AAAAAAAA"][0] == 4


def test_all_tenants_stand_side_by_side_for_those_who_may_see_them(ada, traffic):
    assert list(table(ada, "/tenants/usage/")) == ["acme", "birch"]


@pytest.mark.parametrize("query", ["by=tenant", "by=../..", "days=-1", "days=9999", "unit=euro"])
def test_nonsense_in_the_address_is_the_default(ada, traffic, query):
    assert list(table(ada, f"/tenant/acme/usage/?{query}")) == ["AAAAAAAA", "BBBBBBBB"]


def test_csv_says_the_same_and_taking_it_is_an_act(ada, traffic):
    answer = ada.get("/tenant/acme/usage.csv?by=key")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))

    assert [(row["key"], row["requests"], row["refused"]) for row in rows] == [
        ("AAAAAAAA", "3", "0"),
        ("BBBBBBBB", "1", "1"),
    ]
    assert answer["Content-Disposition"].startswith('attachment; filename="usage-acme-by-key-')
    assert AuditEvent.objects.get(verb="usage.exported").object == "tenant:acme"


def test_a_model_that_a_caller_named_like_a_formula_is_text(ada, acme):
    used(acme, "AAAAAAAA", model="=1+1")

    assert "'=1+1" in ada.get("/tenant/acme/usage.csv?by=model").content.decode()


def test_a_tenant_s_people_see_their_own_usage_alone(client, acme, traffic):
    client.force_login(member("tess", acme, "tenant-viewer"))

    assert "CCCCCCCC" not in client.get("/tenant/acme/usage/").content.decode()
    assert client.get("/tenant/birch/usage.csv").status_code == 404
    assert client.get("/tenants/usage/").status_code == 403


def test_the_number_of_queries_is_fixed(ada, traffic, django_assert_num_queries):
    with django_assert_num_queries(9):
        ada.get("/tenant/acme/usage/")


@pytest.mark.django_db
def test_sums_without_a_row_are_empty(acme):
    rows = UsageRecord.objects.of_tenants([acme])

    assert (rows.used_by("key"), rows.used_per_day("key"), rows.requests_by_key()) == ([], [], {})


DAYS = ["2026-01-01", "2026-01-02"]


def test_the_chart_stacks_the_heaviest_at_the_bottom_and_draws_empty_days():
    figure = charts.usage([Part(DAYS[0], "a", 1), Part(DAYS[0], "b", 5)], DAYS, "requests")

    assert [(bar["name"], bar["y"]) for bar in figure["data"]] == [("b", [5, 0]), ("a", [1, 0])]
    assert all(bar["x"] == DAYS for bar in figure["data"])
    assert figure["layout"]["barmode"] == "stack"


def test_more_names_than_colours_end_in_others():
    parts = [Part(DAYS[1], f"k{n}", 10 - n) for n in range(8)]

    figure = charts.usage(parts, DAYS, "tokens")

    assert [bar["name"] for bar in figure["data"]] == ["k0", "k1", "k2", "k3", "others"]
    assert figure["data"][-1]["y"] == [0, 6 + 5 + 4 + 3]
    assert sum(sum(bar["y"]) for bar in figure["data"]) == sum(part.amount for part in parts)


def test_five_names_need_no_others():
    parts = [Part(DAYS[0], f"k{n}", 1) for n in range(5)]

    assert len(charts.usage(parts, DAYS, "tokens")["data"]) == 5


def test_no_colour_is_written_and_each_bar_has_a_pattern_of_its_own():
    figure = charts.usage([Part(DAYS[0], f"k{n}", 1) for n in range(4)], DAYS, "tokens")

    patterns = [bar["marker"]["pattern"]["shape"] for bar in figure["data"]]
    assert len(set(patterns)) == 4
    assert "color" not in str(figure["data"])
