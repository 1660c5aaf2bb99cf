"""How the usage chart looks: pure, from sums to plain dicts.  Colours are roles, as on the live page."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from plotly.graph_objects import Bar, Layout

from gateway.core.policy import COLOURS

CLEAR = "rgba(0,0,0,0)"
SERIES = len(COLOURS) - 1  # as many as have a colour of their own; the others are one more
OTHERS = "others"
PATTERNS = ("", "/", ".", "x", "-")  # so that no bar is told from another by its colour alone


class Part(NamedTuple):
    """What one name used on one day, written YYYY-MM-DD."""

    day: str
    name: str
    amount: int


def usage(parts: Sequence[Part], days: Sequence[str], unit: str) -> dict[str, Any]:
    """Stacked bars, one a day of ``days``, the heaviest users at the bottom."""
    totals: dict[str, int] = {}
    for part in parts:
        totals[part.name] = totals.get(part.name, 0) + part.amount
    heaviest = sorted(totals, key=lambda name: (-totals[name], name))
    names = heaviest if len(heaviest) <= SERIES + 1 else heaviest[:SERIES]
    series = {name: dict.fromkeys(days, 0) for name in names}
    if len(heaviest) > len(names):
        series[OTHERS] = dict.fromkeys(days, 0)
    for part in parts:
        bars = series[part.name if part.name in names else OTHERS]
        if part.day in bars:
            bars[part.day] += part.amount
    return {
        "data": [_bar(name, bars, rank) for rank, (name, bars) in enumerate(series.items())],
        "layout": _layout(unit, legend=len(series) > 1),
        "trace_roles": [{"marker.color": COLOURS[rank]} for rank in range(len(series))],
        "roles": {
            "font.color": "muted",
            "xaxis.linecolor": "grid",
            "yaxis.gridcolor": "grid",
            "hoverlabel.bgcolor": "surface",
            "hoverlabel.bordercolor": "grid",
            "hoverlabel.font.color": "text",
        },
    }


def _bar(name: str, bars: dict[str, int], rank: int) -> dict[str, Any]:
    bar: dict[str, Any] = Bar(
        name=name,
        x=list(bars),
        y=list(bars.values()),
        marker={"pattern": {"shape": PATTERNS[rank], "solidity": 0.25}},
        hovertemplate="%{y:,}",
    ).to_plotly_json()
    return bar | {"x": list(bars), "y": list(bars.values())}


def _layout(unit: str, *, legend: bool) -> dict[str, Any]:
    layout: dict[str, Any] = Layout(
        autosize=True,
        barmode="stack",
        bargap=0.25,
        margin={"l": 56, "r": 14, "t": 8, "b": 28},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        showlegend=legend,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="x unified",
        font={"family": "system-ui, sans-serif", "size": 11},
        xaxis={"type": "category", "fixedrange": True, "nticks": 8, "tickangle": 0},
        yaxis={
            "fixedrange": True,
            "rangemode": "tozero",
            "zeroline": False,
            "title": {"text": unit, "font": {"size": 11}},
        },
    ).to_plotly_json()
    return layout
