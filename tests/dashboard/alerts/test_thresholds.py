"""The line on the chart is the rule."""

import pytest

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
