"""The line on the chart is the rule."""

import pytest

from dashboard.alerts.levels import TIMES
from dashboard.alerts.models import Rule
from dashboard.alerts.thresholds import lines
from gateway.core.policy import default_policy
from gateway.models import PolicyVersion
from tests.support.people import person

pytestmark = pytest.mark.django_db


def told(metric):
    return {
        (line.tier, line.severity): line.value
        for line in lines(default_policy())
        if line.metric == metric
    }


def test_the_shipped_rules_draw_each_tier_s_target_and_its_limit():
    targets = {tier.name: tier.target_wait_s for tier in default_policy().tiers}

    assert told("wait_p95") == {
        (name, severity): target * times
        for name, target in targets.items()
        for severity, times in (("warn", 1), ("crit", 2))
    }
    assert told("queue")["realtime", "warn"] == 0.7 * default_policy().tier("realtime").max_waiting
    assert set(told("oldest")) == {("realtime", "warn"), ("realtime", "crit")}


def test_a_rule_that_is_off_or_of_another_metric_draws_nothing():
    Rule.objects.filter(metric="wait_p95").update(enabled=False)

    assert told("wait_p95") == {}
    assert {line.metric for line in lines(default_policy())} == {"oldest", "queue"}


def test_a_saved_rule_moves_the_line_on_the_live_page(client):
    PolicyVersion.objects.publish(default_policy(), "the first")
    client.force_login(person("vic", "viewer"))
    Rule.objects.exclude(metric="wait_p95").delete()
    Rule.objects.update(tier="standard", of_target=False, warn=45, crit=None)

    shown = client.get("/live/figures/").json()
    assert [shape["y0"] for shape in shown["charts"]["wait"]["layout"]["shapes"]] == [45]
    assert shown["levels"][0]["rule"] == Rule.objects.get().pk

    Rule.objects.update(warn=50)
    shown = client.get("/live/figures/").json()
    assert [shape["y0"] for shape in shown["charts"]["wait"]["layout"]["shapes"]] == [50]


@pytest.mark.parametrize(
    ("metric", "of_target", "at", "expected"),
    [
        ("wait_p95", True, "83.2", f"1.4 {TIMES} target"),
        ("wait_p95", False, "83.2", "83s"),
        ("queue", False, "750", "75%"),
        ("queue", False, "99999", "100%"),
    ],
)
def test_a_dragged_line_opens_the_form_with_its_level_and_saves_nothing(
    client, metric, of_target, at, expected
):
    client.force_login(person("ada", "admin"))
    Rule.objects.filter(metric=metric).update(of_target=of_target, crit=None)
    rule = Rule.objects.get(metric=metric)

    html = client.get(f"/alerts/rules/{rule.pk}/?level=warn&at={at}&tier=standard").content.decode()

    assert f'value="{expected}"' in html
    assert "not saved yet: it holds for each tier" in html
    assert Rule.objects.get(metric=metric).edit == 0


@pytest.mark.parametrize(
    "asked",
    [
        "level=warn&at=nan&tier=standard",
        "level=x&at=5&tier=standard",
        "level=warn&at=5&tier=nobody",
        "level=warn&at=-1&tier=standard",
        "level=warn&at=1e999&tier=batch",
    ],
)
def test_a_drag_that_makes_no_sense_changes_nothing_in_the_form(client, asked):
    client.force_login(person("ada", "admin"))
    rule = Rule.objects.get(metric="wait_p95")

    html = client.get(f"/alerts/rules/{rule.pk}/?{asked}").content.decode()

    assert f'value="1 {TIMES} target"' in html
    assert "not saved yet" not in html
