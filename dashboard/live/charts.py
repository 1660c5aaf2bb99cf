"""How the two large charts of the live page look: pure, from a policy to plain dicts.

No data is in here (it arrives over the websocket) and no colour: a figure names *roles*, the
browser fills in what its theme says.  ``roles`` maps plotly's attribute paths to role names, in
the form that ``Plotly.relayout`` and ``Plotly.restyle`` take.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

from plotly.graph_objects import Layout, Scatter

from dashboard.alerts.levels import Line
from dashboard.units.shown import count, span
from gateway.core.policy import Policy, Tier

# Line styles by rank, so that no line is told from another by its colour alone, whatever colours
# an administrator chose; five go round, as the colours do.
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
CLEAR = "rgba(0,0,0,0)"
LEVEL_DASHES = {"warn": "dot", "crit": "dash"}


class Figure(TypedDict):
    data: list[dict[str, Any]]
    levels: list[dict[str, Any]]  # whose line each of the first shapes is
    layout: dict[str, Any]
    trace_roles: list[dict[str, str]]
    roles: dict[str, str]


def figures(policy: Policy, lines: Sequence[Line] = ()) -> dict[str, Figure]:
    """Both charts; the lines across them are the thresholds of alert rules."""
    return {
        "queue": _figure(policy, [line for line in lines if line.metric == "queue"]),
        "wait": _figure(policy, [line for line in lines if line.metric == "wait_p95"]),
    }


def _figure(policy: Policy, lines: Sequence[Line]) -> Figure:
    tiers, colours = policy.by_urgency, policy.colours
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
    for place in range(len(lines)):
        roles[f"shapes[{place}].line.color"] = "threshold"
        roles[f"shapes[{place}].label.font.color"] = "muted"
    return {
        "data": [_trace(tier, rank) for rank, tier in enumerate(tiers)],
        "levels": [line._asdict() for line in lines],
        "layout": _layout([_line(line) for line in lines]),
        "trace_roles": [{"line.color": colours[tier.name]} for tier in tiers],
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


def _line(line: Line) -> dict[str, Any]:
    """A threshold across the whole chart: dotted for warn, dashed for crit, with its value."""
    said = count(line.value) if line.metric == "queue" else span(line.value)
    return {
        "name": line.tier,
        "type": "line",
        "layer": "between",  # over the grid, under the lines
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "yref": "y",
        "y0": line.value,
        "y1": line.value,
        "line": {"dash": LEVEL_DASHES[line.severity], "width": 1},
        "label": {
            "text": f"{line.tier} {line.severity} {said}",
            "textposition": "start" if line.severity == "warn" else "end",
            "yanchor": "bottom",
            "padding": 1,
            "font": {"size": 10},
        },
    }


def _layout(thresholds: list[dict[str, Any]]) -> dict[str, Any]:
    layout: dict[str, Any] = Layout(
        autosize=True,
        margin={"l": 50, "r": 118, "t": 16, "b": 26},
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
    ).to_plotly_json()
    return layout | {"shapes": thresholds}  # also when there is none, which plotly leaves out
