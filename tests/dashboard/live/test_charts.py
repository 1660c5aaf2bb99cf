"""The charts' figures: plotly's own validators accept them, and no colour is in them."""

import json
import re

import msgspec
import pytest
from plotly.graph_objects import Figure

from dashboard.live import charts
from gateway.core.policy import default_policy


@pytest.fixture
def figures():
    return charts.figures(default_policy())


@pytest.mark.parametrize("name", ["queue", "wait"])
def test_plotly_accepts_the_figure(figures, name):
    figure = figures[name]

    Figure(data=figure["data"], layout=figure["layout"])  # raises for what it does not know


def test_the_lines_of_the_wait_chart_are_the_targets_of_the_policy(figures):
    lines = {shape["name"]: shape["y0"] for shape in figures["wait"]["layout"]["shapes"]}

    assert lines == {tier.name: tier.target_wait_s for tier in default_policy().tiers}
    assert figures["wait"]["layout"]["shapes"][2]["label"]["text"] == "standard target 1 min"


def test_the_lines_of_the_queue_chart_are_where_a_tier_is_full(figures):
    lines = {shape["name"]: shape["y0"] for shape in figures["queue"]["layout"]["shapes"]}

    assert lines == {tier.name: tier.max_waiting for tier in default_policy().tiers}


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
    assert figures["queue"]["trace_roles"][0] == {"line.color": "tier-0"}
