"""Ordering something on a page: who may, what is asked first, what is kept, and who was faster."""

from datetime import timedelta
from itertools import count

import pytest
from django.core.cache import cache
from django.core.serializers.json import DjangoJSONEncoder
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from msgspec.structs import replace

from dashboard.accounts.confirming import CONFIRMED, LATELY_S
from dashboard.audit.models import AuditEvent
from dashboard.live.overrides import record_ended
from gateway import newest
from gateway.core.policy import TenantRules, default_policy
from gateway.core.snapshot import encode
from gateway.models import GatewayState, Override, PolicyVersion, Revision
from tests.support.frames import Traffic
from tests.support.people import person

pytestmark = pytest.mark.django_db
KEYS = count(1)
TIER = {"pool": "default", "tier": "batch"}
CROWDS = {
    ("default", "batch", "acme"): 30,
    ("default", "batch", "birch"): 12,
    ("default", "standard", "acme"): 3,
}


@pytest.fixture(autouse=True)
def frame(db):
    """A busy line: some wait in batch, which takes 2,000."""
    PolicyVersion.objects.publish(default_policy(), "first")
    traffic = Traffic(paused=("batch",))
    for _ in range(200):
        traffic.second()
    shown = replace(traffic.frame(1.0), pools=tuple(_open(p) for p in traffic.frame(1.0).pools))
    show(shown)
    cache.set(newest.CROWDS, CROWDS, 60)
    yield shown
    cache.clear()


def _open(pool):
    return replace(pool, tiers=tuple(replace(tier, state="open") for tier in pool.tiers))


def show(frame) -> None:
    cache.set(newest.FRAME, encode(frame).decode(), 60)


def signed_in(name: str, *roles: str, password: str | None = None) -> Client:
    browser = Client()
    browser.force_login(person(name, *roles, password=password))
    return browser


@pytest.fixture
def otto() -> Client:
    return signed_in("otto", "on-call")


@pytest.fixture
def ada() -> Client:
    return signed_in("ada", "admin")


def address(verb: str, **about: str) -> str:
    query = "&".join(f"{name}={value}" for name, value in about.items())
    return reverse("live:act", args=[verb]) + f"?{query}"


def filled(verb: str, **changes: object) -> dict[str, object]:
    usual = {
        "minutes": 15,
        "by": 2,
        "reason": "engine upgrade",
        "key": f"key-{next(KEYS)}",
        "saw_at": timezone.now().timestamp(),
        "confirmed": "True",
    }
    return usual | changes


def pause(browser: Client, **changes: object):
    return browser.post(address("pause", **TIER), filled("pause", **changes))


# Asking first


def test_a_pause_says_what_it_would_do_before_anybody_confirms(otto, frame):
    said = otto.get(address("pause", **TIER)).content.decode()

    tier = frame.pools[0].tiers[3]
    assert f"{tier.waiting} wait, {tier.in_per_s:.1f}/s arrive, full in about" in said
    assert "The oldest has waited" in said
    assert not Override.objects.exists()


def test_a_pause_is_a_row_and_an_audit_entry_in_one(otto):
    answer = pause(otto)

    row = Override.objects.get()
    assert answer.headers["Location"] == reverse("live:order", args=[row.pk])
    assert (row.verb, row.pool, row.tier, row.owner) == ("pause", "default", "batch", "otto")
    assert row.ends_at - row.begun_at == timedelta(minutes=15)
    event = AuditEvent.objects.get(verb="tier.paused")
    assert (event.actor, event.object) == ("otto", "tier:default/batch")
    assert event.reason == "engine upgrade"
    assert "paused batch" in otto.get(answer.headers["Location"]).content.decode().lower()


def test_the_button_that_enter_presses_is_cancel(otto):
    page = otto.get(address("pause", **TIER)).content.decode()

    form = page[page.index('class="form"') :]
    assert form.index('name="cancel"') < form.index('name="go"')
    otto.post(address("pause", **TIER), filled("pause", cancel="yes"))
    assert not Override.objects.exists()


def test_a_drain_wants_the_tiers_name_and_a_reason(otto):
    where = address("drain", **TIER)

    nothing = otto.post(where, filled("drain", minutes=30, reason="", typed=""))
    wrong = otto.post(where, filled("drain", minutes=30, typed="standard"))
    right = otto.post(where, filled("drain", minutes=30, typed="batch"))

    assert (nothing.status_code, wrong.status_code, right.status_code) == (422, 422, 302)
    assert "engine upgrade" in wrong.content.decode()  # what was typed stays
    assert Override.objects.get().verb == "drain"


@pytest.mark.parametrize(
    ("verb", "about", "fields", "asked"),
    [
        ("drain", TIER, {"typed": "batch"}, True),
        ("evict", TIER, {"typed": "evict"}, True),
        ("evict", {"pool": "default", "tenant": "acme", "tier": "standard"}, {}, False),
        ("pause", TIER, {}, False),
    ],
)
def test_what_cannot_be_taken_lightly_asks_again_who_it_is(verb, about, fields, asked):
    olga = signed_in("olga", "on-call", password="correct horse")
    session = olga.session
    session[CONFIRMED] -= LATELY_S
    session.save()

    shown = olga.get(address(verb, **about))
    sent = olga.post(address(verb, **about), filled(verb, **fields))

    assert [answer.status_code for answer in (shown, sent)] == ([302, 302] if asked else [200, 302])
    assert ("/again/" in sent.url) is asked
    assert Override.objects.exists() is not asked


@pytest.mark.parametrize(
    ("about", "fields", "status"),
    [
        ({"ids": "r1,r2"}, {}, 302),
        ({"tier": "batch", "tenant": "birch"}, {}, 302),
        ({"tier": "batch"}, {}, 422),  # 42: the name has to be typed
        ({"tier": "batch"}, {"typed": "evict"}, 302),
    ],
    ids=["two", "twelve", "forty-two", "forty-two, typed"],
)
def test_an_eviction_of_more_than_20_is_asked_for_twice(otto, about, fields, status):
    answer = otto.post(address("evict", pool="default", **about), filled("evict", **fields))

    assert answer.status_code == status
    assert Override.objects.exists() == (status == 302)


@pytest.mark.parametrize(("ids", "status"), [("a,b,c,d,e", 302), ("a,b,c,d,e,f", 422)])
def test_up_to_five_are_boosted_without_a_question(otto, ids, status):
    quick = filled("boost", reason="")
    del quick["confirmed"]

    answer = otto.post(address("boost", pool="default", ids=ids), quick)

    assert answer.status_code == status
    if status == 302:
        assert Override.objects.get().selection == {"ids": ids.split(",")}


def test_a_boost_promises_no_number_before_one_is_chosen(otto):
    answer = otto.get(address("boost", pool="default", ids="a"))

    assert "1 waiting request is moved by what you choose" in answer.content.decode()


def test_a_filter_travels_in_the_words_of_the_address(otto):
    where = address("boost", pool="default", tier="standard,batch", tenant="acme", task="summarize")
    page = otto.get(where).content.decode()
    otto.post(where, filled("boost", by=-3, seen=33))

    row = Override.objects.get()
    assert "At most 33 waiting requests are" in page
    assert row.selection == {
        "tier": ["batch", "standard"], "tenant": ["acme"], "task_type": ["summarize"],
    }  # fmt: skip
    assert (row.by, row.seen, row.ends_at) == (-3, 33, None)


@pytest.mark.parametrize("by", ["6", "-6", "x", ""])
def test_a_boost_has_five_levels_at_most(otto, by):
    answer = otto.post(address("boost", pool="default", ids="a"), filled("boost", by=by))

    assert answer.status_code == 422
    assert not Override.objects.exists()


def test_a_move_says_whom_it_lifts_past_what_and_is_the_admins(ada, otto, acme):
    policy = default_policy()
    PolicyVersion.objects.publish(
        replace(policy, tenants={"acme": TenantRules(ceiling=0)}), "a ceiling"
    )
    where = address("move", tenant="acme")

    assert otto.get(where).status_code == 403
    assert "33 that wait stay where they are" in ada.get(where).content.decode()
    ada.post(where, filled("move", tier="critical", minutes=60))

    row = Override.objects.get()
    assert (row.tenant, row.tier, row.pool) == ("acme", "critical", "")
    assert AuditEvent.objects.get(verb="tenant.moved").tenant == "acme"


def test_ending_what_runs_is_the_admins_and_typed(ada, otto):
    where = address("abort", pool="default", ids="req_1")

    assert otto.get(where).status_code == 403
    assert ada.post(where, filled("abort")).status_code == 422
    ada.post(where, filled("abort", typed="abort"))

    row = Override.objects.get()
    assert (row.verb, row.selection, row.ends_at) == ("abort", {"ids": ["req_1"]}, None)
    assert AuditEvent.objects.filter(verb="request.aborted").count() == 1


# What cannot be done


@pytest.mark.parametrize(
    ("verb", "about", "told"),
    [
        ("pause", {"pool": "default", "tier": "gold"}, "There is no tier"),
        ("pause", {"pool": "other", "tier": "batch"}, "There is no pool"),
        ("boost", {"pool": "other"}, "There is no pool"),
        ("move", {"tenant": "nobody"}, "There is no tenant"),
        ("abort", {"tier": "batch"}, "Say which requests"),
        ("move", {"tenant": "a%00"}, "a character that no name has"),
        ("boost", {"ids": "a%00"}, "a character that no name has"),
        ("evict", {"ids": ",".join(map(str, range(501)))}, "At most 500"),
    ],
)
def test_what_is_not_there_is_named(ada, verb, about, told):
    answer = ada.get(address(verb, **about))

    assert answer.status_code == 404
    assert told in answer.content.decode()


def test_an_unknown_action_is_not_found(otto):
    assert otto.get(address("explode", **TIER)).status_code == 404


def test_what_is_paused_cannot_be_paused_and_the_reason_stands_there(otto, ada):
    pause(ada)

    page = otto.get(address("pause", **TIER)).content.decode()
    sent = pause(otto)

    row = Override.objects.get()
    assert f"batch is paused already, by ada, until {row.ends_at:%H:%M} UTC" in page
    assert "disabled" in page
    assert sent.status_code == 409


def test_nobody_waits_so_nobody_is_evicted(otto):
    answer = otto.post(address("evict", pool="default", tier="realtime"), filled("evict"))

    assert answer.status_code == 409
    assert "Nobody waits here now." in answer.content.decode()


def test_while_the_gateway_is_silent_only_what_lasts_can_be_ordered(otto):
    cache.clear()

    evict = otto.post(address("evict", **TIER), filled("evict"))
    paused = pause(otto)

    assert evict.status_code == 409
    assert "said nothing for 5 s" in evict.content.decode()
    assert paused.status_code == 302


@pytest.mark.parametrize(
    "broken",
    [
        {"minutes": "7"}, {"minutes": ""}, {"key": ""}, {"key": "x" * 65}, {"saw_at": "soon"},
        {"saw_at": "1e99"}, {"saw_at": "nan"}, {"seen": "-1"}, {"seen": "9" * 30}, {"key": "a\0"}, {"reason": "a\0"}, {"reason": "x" * 201},
        {"confirmed": ""},
    ],
    ids=str,
)  # fmt: skip
def test_a_broken_form_loses_nothing_and_does_nothing(otto, broken):
    answer = pause(otto, **broken)

    assert answer.status_code == 422
    assert not Override.objects.exists()


# Twice, and at once


def test_a_form_sent_twice_is_one_order(otto):
    form = filled("pause")

    first = otto.post(address("pause", **TIER), form)
    second = otto.post(address("pause", **TIER), form)

    assert first.headers["Location"] == second.headers["Location"]
    assert Override.objects.count() == 1
    assert AuditEvent.objects.filter(verb="tier.paused").count() == 1


def test_who_was_faster_is_told_and_nothing_is_done(otto, ada):
    looked = timezone.now() - timedelta(seconds=10)
    pause(ada, reason="hers")

    late = otto.post(
        address("drain", **TIER),
        filled("drain", typed="batch", saw_at=looked.timestamp(), reason="mine"),
    )

    assert late.status_code == 409
    assert "Changed by ada" in late.content.decode()
    assert "mine" in late.content.decode()
    assert Override.objects.get().owner == "ada"


def test_a_drain_takes_the_place_of_the_pause(otto):
    pause(otto)

    otto.post(address("drain", **TIER), filled("drain", typed="batch", minutes=30))

    drain, first = Override.objects.all()
    assert (first.ended_by, drain.verb) == ("otto", "drain")
    assert list(Override.objects.in_force(timezone.now())) == [drain]


def test_ending_is_kept_and_a_second_click_does_nothing(otto, ada):
    pause(ada)
    row = Override.objects.get()

    for _ in range(2):
        otto.post(reverse("live:end", args=[row.pk]), {"saw": row.edits})

    row.refresh_from_db()
    assert (row.ended_by, row.edits) == ("otto", 1)
    assert AuditEvent.objects.filter(verb="override.ended").count() == 1


def test_fifteen_minutes_more_unless_it_moved_meanwhile(otto, ada):
    pause(ada)
    row = Override.objects.get()
    where = reverse("live:extend", args=[row.pk])

    assert otto.post(where, {"saw": "0"}).status_code == 302
    late = ada.post(where, {"saw": "0"})

    assert late.status_code == 409
    assert "Changed by otto" in late.content.decode()
    before, row = row, Override.objects.get()
    assert row.ends_at - before.ends_at == timedelta(minutes=15)


def test_orders_are_forgotten_when_no_chart_shows_them_any_more(otto, ada):
    pause(otto)
    otto.post(address("boost", pool="default", ids="req_1"), filled("boost", by=2))
    boost = Override.objects.get(verb="boost")
    otto.post(f"/live/actions/{boost.pk}/undo/")
    assert Override.objects.filter(undoes=boost).exists()

    Override.objects.all().forget(timezone.now() + timedelta(minutes=20))
    assert list(Override.objects.values_list("verb", flat=True)) == ["pause"]
    record_ended(timezone.now() + timedelta(minutes=16))
    revision = Revision.current()
    Override.objects.all().forget(timezone.now() + timedelta(minutes=14))
    assert Override.objects.exists()
    Override.objects.all().forget(timezone.now() + timedelta(minutes=16))

    assert not Override.objects.exists()
    assert Revision.current() == revision


def test_an_end_that_nobody_ordered_is_in_the_trail_once(otto, ada):
    pause(otto)
    drain = filled("drain", typed="batch")
    ada.post(address("drain", **TIER), drain)  # a person ends the pause
    later = timezone.now() + timedelta(minutes=16)

    record_ended(timezone.now())
    assert not AuditEvent.objects.filter(actor="system").exists()
    record_ended(later)
    record_ended(later)

    (event,) = AuditEvent.objects.filter(actor="system")
    row = Override.objects.get(key=drain["key"])
    assert (event.verb, event.object) == ("override.ended", "tier:default/batch")
    assert event.before["order"] == "drained batch"
    assert event.after["ended_at"] == DjangoJSONEncoder().default(row.ends_at)
    assert (row.ended_at, row.ended_by) == (row.ends_at, "")


def test_nothing_is_extended_past_a_day_or_after_its_end(otto):
    pause(otto, minutes=1440)
    row = Override.objects.get()
    where = reverse("live:extend", args=[row.pk])

    too_long = otto.post(where, {"saw": "0"})
    otto.post(reverse("live:end", args=[row.pk]), {"saw": "0"})
    over = otto.post(where, {"saw": "1"})

    assert "longer than 24 h" in too_long.content.decode()
    assert "It has ended" in over.content.decode()


@pytest.mark.parametrize("saw", ["", "x", "99999999999", "-1"])
def test_a_state_nobody_saw_ends_nothing(otto, saw):
    pause(otto)
    row = Override.objects.get()

    assert otto.post(reverse("live:end", args=[row.pk]), {"saw": saw}).status_code == 409


def test_an_admins_move_is_not_ended_by_on_call(otto, ada, acme):
    ada.post(address("move", tenant="acme"), filled("move", tier="critical", minutes=60))
    row = Override.objects.get()

    assert otto.post(reverse("live:end", args=[row.pk]), {"saw": "0"}).status_code == 403


# Undo


def boost(browser: Client) -> Override:
    browser.post(address("boost", pool="default", ids="a"), filled("boost"))
    return Override.objects.get()


def test_a_boost_is_taken_back_once_by_whoever_gave_it(otto, ada):
    row = boost(otto)
    where = reverse("live:undo", args=[row.pk])

    others = ada.post(where)
    for _ in range(2):
        otto.post(where)

    assert others.status_code == 409
    back = Override.objects.get(undoes=row)
    assert (back.verb, back.by, back.owner) == ("boost", 0, "otto")
    assert AuditEvent.objects.filter(verb="line.boost_undone").count() == 1


def test_ten_seconds_later_there_is_no_undo(otto):
    row = boost(otto)
    Override.objects.filter(pk=row.pk).update(begun_at=row.begun_at - timedelta(seconds=13))

    answer = otto.post(reverse("live:undo", args=[row.pk]))

    assert answer.status_code == 409
    assert "are over" in answer.content.decode()


# The gateway's answer, and strips


@pytest.mark.parametrize(
    ("seen", "applied", "told"),
    [
        (44, None, "has not answered yet"),
        (44, 41, "Applied to 41 of 44; 3 were dispatched or left meanwhile."),
        (2, 1, "Applied to 1 of 2; 1 was dispatched or left meanwhile."),
        (3, 3, "Applied to 3."),
    ],
)
def test_the_page_tells_the_gateways_own_answer(otto, seen, applied, told):
    otto.post(address("boost", pool="default", ids="a"), filled("boost", seen=seen))
    row = Override.objects.get()
    if applied is not None:
        Override.objects.answer(row.pk, applied, timezone.now())

    answer = otto.get(reverse("live:order", args=[row.pk]) + "?fragment")

    assert told in answer.content.decode()
    assert ("data-answered" in answer.content.decode()) == (applied is not None)


def test_a_gateway_that_has_not_answered_is_counted(otto):
    otto.post(address("boost", pool="default", ids="a"), filled("boost", seen=1))
    row = Override.objects.get()
    for name in ("one", "two"):
        GatewayState.objects.create(
            name=name, pid=1, revision=1, policy_version=1, seen_at=timezone.now()
        )
    Override.objects.answer(row.pk, 1, timezone.now())

    said = otto.get(reverse("live:order", args=[row.pk]) + "?fragment").content.decode()

    assert "Applied to 1. 1 of 2 gateways has not answered." in said
    assert "data-answered" not in said


@pytest.mark.parametrize("pk", [2, 2**63, 10**30])
def test_an_order_that_is_not_there_is_not_found(otto, pk):
    assert otto.get(f"/live/actions/{pk}/").status_code == 404
    assert otto.post(f"/live/actions/{pk}/end/").status_code == 404


@pytest.mark.parametrize(
    ("roles", "shown", "buttons"),
    [(("on-call",), True, True), (("viewer",), True, False), ((), False, False)],
    ids=["on-call", "viewer", "nobody"],
)
def test_a_strip_stands_on_every_page_with_buttons_for_those_who_may(otto, roles, shown, buttons):
    pause(otto)
    browser = signed_in("somebody", *roles)

    page = browser.get(reverse("accounts:password")).content.decode()

    assert ("batch paused" in page) == shown
    assert ("Resume now" in page) == buttons
    assert ("+15 min" in page) == buttons


def test_a_strip_goes_when_its_term_ends(otto):
    pause(otto)
    Override.objects.update(ends_at=timezone.now())

    assert "batch paused" not in otto.get(reverse("live:page")).content.decode()


def test_a_strips_button_leads_back_to_the_page_it_was_on_and_nowhere_else(otto):
    pause(otto)
    where = reverse("live:extend", args=[Override.objects.get().pk])

    back = otto.post(where, {"saw": "0", "next": "/policy/?a=1"})
    away = otto.post(where, {"saw": "1", "next": "//evil.example/"})

    assert back.headers["Location"] == "/policy/?a=1"
    assert away.headers["Location"] == reverse("live:page")


def test_what_was_ordered_is_listed_and_an_empty_list_says_what_to_do(otto):
    empty = otto.get(reverse("live:actions")).content.decode()
    pause(otto)

    listed = otto.get(reverse("live:actions")).content.decode()

    assert "Nothing was ordered yet" in empty
    assert "Paused batch" in listed
    assert "engine upgrade" in listed


def test_a_viewer_sees_the_live_page_without_buttons():
    page = signed_in("vera", "viewer").get(reverse("live:page")).content.decode()

    assert "data-tier-acts" not in page
    assert "Evict" not in page
