"""A tenant's own requests in the line, and taking them out: never another tenant's."""

import msgspec
import pytest
from django.core.cache import cache
from django.utils import timezone
from msgspec.structs import replace

from dashboard.audit.models import AuditEvent
from gateway import newest, questions
from gateway.core.snapshot import encode
from gateway.models import Override
from tests.support.frames import Traffic
from tests.support.people import member

pytestmark = pytest.mark.django_db
PAGE, EVICT = "/tenant/acme/waiting/", "/tenant/acme/waiting/evict/"


@pytest.fixture(autouse=True)
def line():
    """A busy line of several tenants, as the gateway tells it."""
    traffic = Traffic(paused=("batch",))
    for _ in range(200):
        traffic.second()
    frame = traffic.frame(1.0)
    rows = traffic.frame(1.0, head=questions.LINE_MOST).pools[0].head
    own = sum(row.tenant == "acme" for row in rows)
    cache.set(newest.FRAME, encode(frame).decode(), 60)
    crowds = {("default", "batch", "acme"): own, ("default", "batch", "birch"): len(rows) - own}
    cache.set(newest.CROWDS, crowds, 60)
    cache.set(questions.LINE, msgspec.json.encode({"default": rows}), 60)
    yield rows
    cache.clear()


@pytest.fixture
def tess(client, acme):
    client.force_login(member("tess", acme))
    return client


def filled(**changes):
    usual = {
        "reason": "wrong file",
        "key": "k1",
        "saw_at": timezone.now().timestamp(),
        "confirmed": "True",
    }
    return usual | changes


def test_a_tenant_sees_its_own_places_in_the_whole_line_and_nobody_elses(tess, line):
    shown = tess.get(PAGE)

    (part,) = shown.context["parts"]
    own = [row for row in line if row.tenant == "acme"]
    assert [one.row for one in part.first] == own[:100]
    assert part.waiting == len(own) < len(line)
    html = shown.content.decode()
    assert f">{own[0].id}</th>" in html
    others = {row.tenant for row in line} - {"acme"}
    assert others
    assert not [name for name in others if name in html]
    assert not [row.id for row in line if row.tenant != "acme" and row.id in html]


def test_the_reason_is_a_sum_and_what_holds_a_request_is_said(tess, line):
    held = next(row for row in line if row.tenant == "acme" and row.held == "paused")
    lifted = replace(held, aged=2, boost=-1, effective_priority=-4, held="", overdue=True)
    rows = {"default": [lifted, replace(held, aged=0, effective_priority=-5)]}
    cache.set(questions.LINE, msgspec.json.encode(rows), 60)

    first, second = tess.get(PAGE).context["parts"][0].first

    assert first.why == "batch \u22125 + 2 aged \u2212 1 boost = \u22124, rescue lane"
    assert second.why == "batch \u22125. Its tier is paused."


def test_who_only_looks_sees_no_button(client, acme):
    client.force_login(member("vic", acme, "tenant-viewer"))

    html = client.get(PAGE).content.decode()

    assert "Waiting now" in html
    assert "Evict" not in html


def test_a_silent_gateway_is_told_from_an_empty_line(tess):
    cache.delete(newest.CROWDS)
    assert "Nothing of Acme waits." in tess.get(PAGE).content.decode()
    cache.clear()

    html = tess.get(PAGE).content.decode()

    assert "said nothing for 5 s" in html
    assert "Nothing of Acme waits." not in html


def test_a_tenants_admin_evicts_one_and_the_order_reaches_this_tenant_alone(tess, line):
    foreign = next(row.id for row in line if row.tenant != "acme")

    shown = tess.get(f"{EVICT}?ids={foreign}")
    sent = tess.post(f"{EVICT}?pool=default&ids={foreign}", filled())

    assert "1 waiting request is answered with 503" in shown.content.decode()
    assert (sent.status_code, sent.url) == (302, PAGE)
    order = Override.objects.get()
    assert (order.verb, order.pool, order.owner) == ("evict", "default", "tess")
    assert order.selection == {"ids": [foreign], "tenant": ["acme"]}  # the gateway finds none
    event = AuditEvent.objects.get(verb="line.evicted")
    assert (event.actor, event.tenant, event.reason) == ("tess", "acme", "wrong file")


def test_an_address_widens_nothing(tess):
    tess.post(f"{EVICT}?tenant=birch&tier=standard", filled(typed="evict"))

    assert Override.objects.get().selection == {"tenant": ["acme"]}


def test_more_than_twenty_are_typed_and_counted_first(tess, line):
    own = sum(row.tenant == "acme" for row in line)
    assert own > 20

    assert tess.post(EVICT, filled()).status_code == 422
    assert f"{own} waiting requests" in tess.get(EVICT).content.decode()
    assert not Override.objects.exists()


def test_what_became_of_it_stands_on_the_page(tess):
    tess.post(EVICT, filled(typed="evict"))
    Override.objects.update(applied=40, gateways=1, answered_at=timezone.now(), seen=40)

    html = tess.get(PAGE, headers={"HX-Target": "waiting"}).content.decode()

    assert "Evicted all that wait (tenant acme) by tess" in html
    assert "Applied to 40." in html
    assert "<html" not in html


def test_calling_it_off_does_nothing(tess):
    assert tess.post(EVICT, {"cancel": "yes"}).url == PAGE
    assert not Override.objects.exists()
