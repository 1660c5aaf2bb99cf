"""The charts' figures: plotly's own validators accept them, and no colour is in them."""

import json
import re

import msgspec
import pytest
from django.conf import settings
from msgspec.structs import replace
from plotly.graph_objects import Figure

from dashboard.alerts.levels import Line
from dashboard.live import charts, views
from gateway.core.policy import COLOURS, default_policy
from gateway.models import PolicyVersion
from tests.support.people import person

LINES = (
    Line("wait_p95", "standard", "", "warn", 60.0, 7),
    Line("wait_p95", "standard", "", "crit", 120.0, 7),
    Line("queue", "batch", "", "warn", 1400.0, 8),
    Line("oldest", "realtime", "", "warn", 2.0, 9),
)


@pytest.fixture
def figures():
    return charts.figures(default_policy(), LINES)


@pytest.mark.parametrize("name", ["queue", "wait"])
def test_plotly_accepts_the_figure(figures, name):
    figure = figures[name]

    Figure(data=figure["data"], layout=figure["layout"])  # raises for what it does not know


def test_the_lines_of_the_wait_chart_are_the_rules(figures):
    shapes = figures["wait"]["layout"]["shapes"]

    told = [(shape["label"]["text"], shape["y0"], shape["line"]["dash"]) for shape in shapes]
    assert told == [
        ("standard warn 1 min", 60, "dot"),
        ("standard crit 2 min", 120, "dash"),
    ]
    assert [level["rule"] for level in figures["wait"]["levels"]] == [7, 7]


def test_the_lines_of_the_queue_chart_are_in_requests(figures):
    (shape,) = figures["queue"]["layout"]["shapes"]

    assert (shape["label"]["text"], shape["y0"]) == ("batch warn 1\u2009400", 1400)


def test_without_a_rule_there_is_no_line():
    assert charts.figures(default_policy())["wait"]["layout"]["shapes"] == []


def test_tiers_come_most_urgent_first_whatever_the_document_says():
    policy = default_policy()
    turned = msgspec.structs.replace(policy, tiers=policy.tiers[::-1])

    traces = charts.figures(turned)["queue"]["data"]

    assert [trace["name"] for trace in traces] == [tier.name for tier in policy.by_urgency]


def test_lines_differ_by_dash_as_well_as_by_colour(figures):
    dashes = [trace["line"]["dash"] for trace in figures["queue"]["data"]]

    assert len(set(dashes)) == len(dashes) == 5


def test_a_gap_is_never_bridged(figures):
    assert all(trace["connectgaps"] is False for trace in figures["wait"]["data"])


def test_figures_name_roles_and_hold_no_colour(figures):
    text = json.dumps(figures)

    assert not re.search(r"#[0-9a-fA-F]{3,8}\b", text)
    assert set(re.findall(r"rgba?\([^)]*\)", text)) == {charts.CLEAR}
    assert figures["queue"]["roles"]["shapes[0].line.color"] == "threshold"
    assert figures["queue"]["trace_roles"][0] == {"line.color": "blue"}


def test_a_tier_s_own_colour_is_on_both_charts_and_at_the_live_page_s_rows(client, db):
    policy = default_policy()
    standard = replace(policy.tier("standard"), colour="pink")
    own = replace(
        policy, tiers=tuple(standard if t.name == "standard" else t for t in policy.tiers)
    )
    views._figures.cache_clear()  # other tests published another version 1
    PolicyVersion.objects.publish(own, "standard in pink")
    client.force_login(person("vic", "viewer"))

    shown = client.get("/live/figures/").json()

    assert shown["colours"] == own.colours
    for chart in shown["charts"].values():
        roles = {
            trace["name"]: role["line.color"]
            for trace, role in zip(chart["data"], chart["trace_roles"], strict=True)
        }
        assert roles == own.colours
        assert roles["standard"] == "pink"


def test_the_browser_knows_every_colour_in_both_themes():
    styles = (settings.BASE_DIR / "static/css/app.css").read_text()

    for colour in COLOURS:
        assert styles.count(f"--chart-{colour}: #") == 2
        assert f'[data-colour="{colour}"]' in styles
        for script in ("panels", "usage"):
            assert f'"{colour}"' in (settings.BASE_DIR / f"static/js/{script}.js").read_text()
        policies = (settings.BASE_DIR / "static/css/policies.css").read_text()
        assert f'option[value="{colour}"]' in policies
