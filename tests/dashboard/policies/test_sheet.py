"""The pages of a draft: shown, saved as typed, refused, and never lost."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from dashboard.alerts.models import Rule
from dashboard.policies import form
from dashboard.policies.fields import AGEING, LIMITS, ON_EXCESS, POOL, TENANT, TIER
from dashboard.policies.fields import document as as_document
from dashboard.policies.meanings import MEANINGS
from dashboard.policies.models import Draft
from gateway.core.policy import load
from tests.support.policies import policies

pytestmark = pytest.mark.django_db
SECTIONS = ["tiers", "tasks", "tenants", "pool", "tenants/acme"]
HTMX = {"HX-Request": "true"}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_shows_and_looking_saves_nothing(as_ada, acme, section):
    answer = as_ada.get(f"/policy/draft/{section}/")

    assert answer.status_code == 200
    assert not Draft.objects.exists()
    assert not re.search(r"<[^>]+\s(?:style|on[a-z]+)=", answer.content.decode())


@pytest.mark.parametrize("section", SECTIONS)
def test_a_stranger_signs_in_first_and_a_viewer_is_refused(client, person, acme, section):
    path = f"/policy/draft/{section}/"
    assert client.get(path)["Location"] == f"/accounts/login/?next={path}"

    client.force_login(person("vera", "viewer"))

    assert (client.get(path).status_code, client.post(path).status_code) == (403, 403)


def test_there_is_no_page_for_a_tenant_nobody_knows(as_ada):
    assert as_ada.get("/policy/draft/tenants/nobody/").status_code == 404
    assert as_ada.get("/policy/draft/weather/").status_code == 404


def test_the_page_takes_a_fixed_number_of_queries(as_ada, person, django_assert_num_queries):
    for name in ("ben", "cleo"):
        Draft.objects.of(person(name, "admin")).write(
            Draft.objects.of(person(name + "2")).document, 0
        )
    as_ada.get("/policy/draft/tiers/")

    with django_assert_num_queries(16):
        as_ada.get("/policy/draft/tiers/")


def test_what_runs_first_stands_on_top_with_its_number(as_ada):
    rows = as_ada.get("/policy/draft/tiers/").context["groups"][0].rows

    assert [(row.title, row.cells[1].text) for row in rows] == [
        ("realtime", "10"),
        ("critical", "8"),
        ("standard", "0"),
        ("batch", "\u22125"),
        ("background", "\u221210"),
    ]


def test_units_are_understood_and_saved(as_ada, ada, sent):
    answer = sent(as_ada, "tiers", {"tiers.3.max_wait_s": "1.5h", "tiers.3.max_waiting": "4k"})

    tier = Draft.objects.get(person=ada).document["tiers"][3]
    assert (answer.status_code, tier["max_wait_s"], tier["max_waiting"]) == (302, 5400, 4000)


def test_a_tier_gets_a_colour_by_name_and_a_colour_that_is_none_is_refused(as_ada, ada, sent):
    sent(as_ada, "tiers", {"tiers.3.colour": "amber"})
    tiers = Draft.objects.get(person=ada).document["tiers"]
    assert [tier["colour"] for tier in tiers] == [None, None, None, "amber", None]
    assert 'value="amber" selected' in as_ada.get("/policy/draft/tiers/").content.decode()

    sent(as_ada, "tiers", {"tiers.3.colour": "puce"})
    said = as_ada.get("/policy/draft/tiers/").context["problems"]
    assert [(p.path, p.text) for p, _ in said] == [
        ("tiers.3.colour", "Choose one of blue, amber, teal, pink, grey.")
    ]

    sent(as_ada, "tiers", {"tiers.3.colour": ""})
    assert Draft.objects.get(person=ada).document["tiers"][3]["colour"] is None


def test_a_tier_tells_from_where_on_its_rules_warn_under_the_draft(as_ada, sent):
    def told():
        rows = as_ada.get("/policy/draft/tiers/").context["groups"][0].rows
        return {row.title: [levels.text for levels in row.alerts] for row in rows}

    assert told()["standard"] == [
        "queue against its limit: warn 700, crit 950",
        "wait p95: warn 1 min, crit 2 min",
    ]
    assert len(told()["realtime"]) == 3  # the oldest of the most urgent tier too

    answer = sent(as_ada, "tiers", {"tiers.2.target_wait_s": "90s"}, headers=HTMX)

    assert told()["standard"][1] == "wait p95: warn 1.5 min, crit 3 min"
    assert "wait p95: warn 1.5 min, crit 3 min" in answer.content.decode()
    rule = Rule.objects.get(metric="wait_p95")
    assert f'<a href="/alerts/rules/{rule.pk}/">' in answer.content.decode()

    sent(as_ada, "tiers", {"tiers.2.target_wait_s": "soon"})
    assert told()["standard"] == []


def test_saving_as_one_types_answers_with_the_lock_and_what_is_wrong(as_ada, ada, sent):
    answer = sent(as_ada, "tiers", {"tiers.3.max_wait_s": "soon"}, headers=HTMX)

    html = answer.content.decode()
    assert 'id="edit" value="1"' in html
    assert '<span class="note is-error" id="note-tiers-3-max_wait_s" hx-swap-oob="true">' in html
    assert '<a href="/policy/draft/tiers/#tiers-3-max_wait_s">batch: max wait</a>' in html
    page = as_ada.get("/policy/draft/tiers/").content.decode()
    assert 'value="soon"' in page  # kept as typed


def test_the_same_page_sent_twice_saves_once_and_shows_what_was_not_saved(as_ada, ada, sent):
    page = as_ada.get("/policy/draft/pool/")
    values = {c.name: c.text for g in page.context["groups"] for c in g.every_cell} | {"edit": "0"}
    as_ada.post("/policy/draft/pool/", values | {"rescue_share": "20%"})

    second = as_ada.post("/policy/draft/pool/", values | {"rescue_share": "30%"})

    assert second.status_code == 409
    assert second.context["unsaved"] == [("", "rescue lane", "30%", "20%")]
    assert Draft.objects.get(person=ada).document["rescue_share"] == 0.2


def test_another_window_s_typing_is_refused_in_place(as_ada, sent):
    sent(as_ada, "pool", {"rescue_share": "20%"})

    late = as_ada.post("/policy/draft/pool/", {"edit": "0"}, headers=HTMX)

    assert late.status_code == 409
    assert "changed in another window" in late.content.decode()


@pytest.mark.parametrize(
    ("do", "names"),
    [
        ("place:4:0", ["background", "realtime", "critical", "standard", "batch"]),
        ("place:3:2", ["realtime", "critical", "batch", "standard", "background"]),
        ("remove:2", ["realtime", "critical", "batch", "background"]),
        ("add", ["realtime", "critical", "tier-1", "standard", "batch", "background"]),
        ("place:99:0", ["realtime", "critical", "standard", "batch", "background"]),
        ("nonsense", ["realtime", "critical", "standard", "batch", "background"]),
    ],
)
def test_buttons_change_the_order(as_ada, sent, do, names):
    sent(as_ada, "tiers", {}, do=do)

    rows = as_ada.get("/policy/draft/tiers/").context["groups"][0].rows
    assert [row.title for row in rows] == names


def test_a_preset_changes_the_draft_alone(as_ada, ada, sent, first):
    sent(as_ada, "pool", {}, do="preset:strict")

    assert Draft.objects.get(person=ada).document["ageing"] is None
    assert first.as_policy().ageing is not None


def test_a_task_type_is_added_moved_and_emptied_away(as_ada, ada, sent):
    sent(
        as_ada,
        "tasks",
        {"task_types.0.name": "", "task_types.3.tier": "batch", "task_types.6.name": "ocr"},
    )

    tasks = Draft.objects.get(person=ada).document["task_types"]
    assert ("chat" in tasks, tasks["translate"], tasks["ocr"]) == (False, "batch", "standard")


def test_a_task_type_named_twice_is_told(as_ada, sent):
    answer = sent(as_ada, "tasks", {"task_types.1.name": "chat"})

    assert answer.status_code == 422
    assert "there already" in answer.content.decode()


def test_a_tenant_s_rules_are_kept_only_where_they_say_something(as_ada, ada, acme, sent):
    path = "tenants.acme"
    sent(
        as_ada,
        "tenants/acme",
        {f"{path}.ceiling": "0", f"{path}.tier_limits.batch.on_excess": "demote"},
    )
    rules = Draft.objects.get(person=ada).document["tenants"]["acme"]
    assert (rules["ceiling"], list(rules["tier_limits"])) == (0, ["batch"])

    sent(
        as_ada,
        "tenants/acme",
        {f"{path}.ceiling": "10", f"{path}.tier_limits.batch.on_excess": "reject"},
    )

    assert Draft.objects.get(person=ada).document["tenants"] == {}


def test_two_people_draft_side_by_side_and_see_each_other(as_ada, ada, otto, sent, client):
    sent(as_ada, "pool", {"rescue_share": "20%"})
    client.force_login(otto)

    sent(client, "tiers", {"tiers.0.max_waiting": "7"})

    html = client.get("/policy/draft/tiers/").content.decode()

    assert "ada also edits a draft (pool)" in html
    assert Draft.objects.get(person=ada).document["tiers"][0]["max_waiting"] == 100
    assert Draft.objects.get(person=otto).document["rescue_share"] == 0.1


def test_a_draft_from_before_a_field_was_there_still_opens(as_ada, ada, sent):
    sent(as_ada, "tiers", {"tiers.0.max_waiting": "7"})
    draft = Draft.objects.get(person=ada)
    del draft.document["tiers"][0]["max_waiting_tokens"], draft.document["max_waiting"]
    Draft.objects.update(document=draft.document)

    assert as_ada.get("/policy/draft/tiers/").status_code == 200
    assert as_ada.get("/policy/draft/review/").context["changes"] == [
        "realtime: max waiting 100 \u2192 7"
    ]


def test_discarding_takes_a_post_and_only_one_s_own(as_ada, ada, otto, sent):
    sent(as_ada, "pool", {"rescue_share": "20%"})
    Draft.objects.of(otto).write(Draft.objects.of(otto).document, 0)

    assert as_ada.get("/policy/draft/discard/").status_code == 405
    as_ada.post("/policy/draft/discard/")

    assert [draft.person for draft in Draft.objects.all()] == [otto]


class TestPolarity(TestCase):
    @settings(max_examples=20, deadline=None)
    @given(policies(), st.data())
    def test_a_higher_number_in_the_form_is_a_higher_priority_in_the_document(self, policy, data):
        document = as_document(policy)
        rows = form.groups("tiers", document, {})[0].rows
        numbers = data.draw(
            st.lists(st.integers(-10, 10), min_size=len(rows), max_size=len(rows), unique=True)
        )
        post = {f"tiers.{row.key}.priority": str(n) for row, n in zip(rows, numbers, strict=True)}
        post |= {f"tiers.{row.key}.name": row.title for row in rows}

        taken, errors = form.take("tiers", document, post)

        order = sorted(zip(numbers, (row.title for row in rows), strict=True), reverse=True)
        assert errors == {}
        assert [tier.name for tier in load(taken).by_urgency] == [name for _, name in order]
        again = form.groups("tiers", taken, {})[0].rows
        assert [row.title for row in again] == [name for _, name in order]


LABELS = {
    "tiers": {field.label for field in TIER},
    "tenants": {field.label for field in (*TENANT, *LIMITS, ON_EXCESS)},
    "pool": {field.label for field in (*AGEING, *POOL)},
}


@pytest.mark.parametrize("section", LABELS)
def test_every_number_of_a_page_is_explained_there(as_ada, acme, section):
    assert set(MEANINGS[section]) == LABELS[section] - {"name"}

    page = as_ada.get(f"/policy/draft/{section}/{'acme/' if section == 'tenants' else ''}")

    assert "What do these mean?" in page.content.decode()


@pytest.mark.parametrize("page", ["review", "preview"])
def test_what_needs_a_draft_says_so_and_leads_to_it(as_ada, page):
    answer = as_ada.get(f"/policy/draft/{page}/", follow=True)

    assert answer.redirect_chain == [("/policy/draft/tiers/", 302)]
    assert f"There was nothing to {page} yet" in answer.content.decode()
