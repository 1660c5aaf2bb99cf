"""How the two large charts of the live page look: pure, from a policy to plain dicts.

No data is in here (it arrives over the websocket) and no colour: a figure names *roles*, the
browser fills in what its theme says.  ``roles`` maps plotly's attribute paths to role names, in
the form that ``Plotly.relayout`` and ``Plotly.restyle`` take.
"""

from collections.abc import Callable
from typing import Any, TypedDict

from plotly.graph_objects import Layout, Scatter

from dashboard.live.templatetags.units import count, span
from gateway.core.policy import Policy, Tier

# Line styles by rank, so that no line is told from another by its colour alone.
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
CLEAR = "rgba(0,0,0,0)"


class Figure(TypedDict):
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    trace_roles: list[dict[str, str]]
    roles: dict[str, str]


def figures(policy: Policy) -> dict[str, Figure]:
    """Both charts; their threshold lines are the policy's own limits and target waits."""
    return {
        "queue": _figure(
            policy, lambda tier: tier.max_waiting, lambda limit: f"full {count(limit)}"
        ),
        "wait": _figure(
            policy, lambda tier: tier.target_wait_s, lambda wait: f"target {span(wait)}"
        ),
    }


def tier_role(rank: int) -> str:
    """Five colours go round; the dash tells the sixth tier from the first by its thresholds."""
    return f"tier-{rank % len(DASHES)}"


def _figure(
    policy: Policy, threshold: Callable[[Tier], float], words: Callable[[float], str]
) -> Figure:
    tiers = policy.by_urgency
    roles = {
        "font.color": "muted",
        "xaxis.linecolor": "grid",
        "xaxis.tickcolor": "grid",
        "yaxis.gridcolor": "grid",
        "yaxis.linecolor": "grid",
        "xaxis.spikecolor": "muted",
        "hoverlabel.bgcolor": "surface",
        "hoverlabel.bordercolor": "grid",
        "hoverlabel.font.color": "text",
    }
    for rank in range(len(tiers)):
        roles[f"shapes[{rank}].line.color"] = "threshold"
        roles[f"shapes[{rank}].label.font.color"] = "muted"
    return {
        "data": [_trace(tier, rank) for rank, tier in enumerate(tiers)],
        "layout": _layout([_line(tier, threshold(tier), words) for tier in tiers]),
        "trace_roles": [{"line.color": tier_role(rank)} for rank in range(len(tiers))],
        "roles": roles,
    }


def _trace(tier: Tier, rank: int) -> dict[str, Any]:
    trace: dict[str, Any] = Scatter(
        name=tier.name,
        x=[],
        y=[],
        text=[],
        mode="lines",
        connectgaps=False,
        line={"dash": DASHES[rank % len(DASHES)], "width": 1.75, "shape": "linear"},
        hovertemplate="%{text}",
    ).to_plotly_json()
    return trace


def _line(tier: Tier, value: float, words: Callable[[float], str]) -> dict[str, Any]:
    """A threshold across the whole chart: dotted, with the value as text at its left end."""
    return {
        "name": tier.name,
        "type": "line",
        "layer": "between",  # over the grid, under the lines
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "yref": "y",
        "y0": value,
        "y1": value,
        "line": {"dash": "dot", "width": 1},
        "label": {
            "text": f"{tier.name} {words(value)}",
            "textposition": "start",
            "yanchor": "bottom",
            "padding": 1,
            "font": {"size": 10},
        },
    }


def _layout(thresholds: list[dict[str, Any]]) -> dict[str, Any]:
    layout: dict[str, Any] = Layout(
        autosize=True,
        margin={"l": 50, "r": 118, "t": 8, "b": 26},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        showlegend=False,
        hovermode="x unified",
        dragmode="zoom",
        # A chart that somebody zoomed keeps its view while data moves under it.
        uirevision="live",
        font={"family": "system-ui, sans-serif", "size": 11},
        hoverlabel={"font": {"size": 11}, "namelength": -1},
        xaxis={
            "type": "date",
            "showgrid": False,
            "ticks": "outside",
            "ticklen": 4,
            "nticks": 6,
            "tickformat": "%H:%M",
            "tickformatstops": [
                {"dtickrange": [None, 30_000], "value": "%H:%M:%S"},
                {"dtickrange": [30_000, None], "value": "%H:%M"},
            ],
            "hoverformat": "%H:%M:%S",
            "fixedrange": False,
            "showspikes": True,
            "spikemode": "across",
            "spikethickness": 1,
            "spikedash": "solid",
        },
        # The browser sets range and ticks: it knows the data, and keeps a threshold in sight.
        yaxis={"fixedrange": True, "zeroline": False, "autorange": False, "range": [0, 10]},
        shapes=thresholds,
    ).to_plotly_json()
    return layout
