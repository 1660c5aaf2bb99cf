"""A run's records → the figures of the tables.  Pure; used while measuring and afterwards."""

import itertools
from collections import Counter
from statistics import fmean
from typing import Any

KIND, AT, PROMPT, OUTPUT, STREAM, STATUS, SENT, QUEUE_WAIT_MS, FIRST, LAST, CHUNKS = range(11)
OK = 200
# Of the low requests answered: between these two moments the engine is full.
FROM_SHARE, TO_SHARE = 0.15, 0.80
Row = list[Any]


def quantile(values: list[float], share: float) -> float | None:
    """The value that ``share`` of them do not exceed; None without any."""
    ordered = sorted(values)
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)


def ttft(row: Row) -> float:
    """From the moment the request was due."""
    return float(row[FIRST] - row[AT])


def full_between(records: list[Row]) -> tuple[float, float] | None:
    ends = sorted(row[LAST] for row in records if row[KIND] == "low" and row[STATUS] == OK)
    if len(ends) < 20:
        return None
    return ends[int(FROM_SHARE * len(ends))], ends[int(TO_SHARE * len(ends))]


def at(rows: list[dict[str, Any]], name: str, moment: float) -> float | None:
    """A counter's value at a moment between two looks."""
    for before, after in itertools.pairwise(rows):
        if before["t"] <= moment <= after["t"]:
            share = (moment - before["t"]) / max(1e-9, after["t"] - before["t"])
            return float(before[name] + share * (after[name] - before[name]))
    return None


def rate(rows: list[dict[str, Any]], name: str, start: float, end: float) -> float | None:
    first, last = at(rows, name, start), at(rows, name, end)
    if first is None or last is None or end <= start:
        return None
    return (last - first) / (end - start)


def mean(rows: list[dict[str, Any]], name: str, start: float, end: float) -> float | None:
    values = [row[name] for row in rows if start <= row["t"] <= end]
    return round(fmean(values), 2) if values else None


def summary(
    records: list[Row],
    watched: list[dict[str, Any]],
    traced: list[dict[str, Any]],
    window: tuple[float, float] | None = None,
) -> dict[str, Any]:
    done = [row for row in records if row[STATUS] == OK]
    figures: dict[str, Any] = {"statuses": dict(Counter(str(row[STATUS]) for row in records))}
    window = window or full_between(records)
    if done:
        last = max(row[LAST] for row in done)
        figures["last_s"] = round(last, 2)
        figures["whole_tok_s"] = round(sum(row[OUTPUT] for row in done) / last, 1)
    if window:
        a, b = window
        ended = [row for row in done if a <= row[LAST] < b]
        figures |= {
            "from_s": round(a, 2),
            "to_s": round(b, 2),
            "tok_s": round(sum(row[OUTPUT] for row in ended) / (b - a), 1),
            "req_s": round(len(ended) / (b - a), 2),
        }
        produced = rate(watched, "generation_tokens", a, b)
        figures["engine_tok_s"] = round(produced, 1) if produced else None
        figures["engine_running"] = mean(watched, "running", a, b)
        figures["engine_waiting"] = mean(watched, "waiting", a, b)
        for name in ("base_limit", "held_back", "lookahead", "pace"):
            if traced:
                figures[name] = mean(traced, name, a, b)
    if watched:
        figures["engine_waiting_most"] = max(row["waiting"] for row in watched)
        figures["kv_most"] = round(max(row["kv"] for row in watched), 3)
        figures["preemptions"] = watched[-1]["preemptions"] - watched[0]["preemptions"]
        queued = watched[-1]["queue_n"] - watched[0]["queue_n"]
        queue_s = watched[-1]["queue_s"] - watched[0]["queue_s"]
        figures["engine_wait_mean_s"] = round(queue_s / queued, 3) if queued else None
        figures["cached_tokens"] = watched[-1]["cached_tokens"] - watched[0]["cached_tokens"]
    if traced:
        figures["loop_late_ms_most"] = max(row["late_ms"] for row in traced)
    urgent = [row for row in done if row[KIND] == "urgent" and row[STREAM]]
    if window:
        urgent = [row for row in urgent if row[AT] < window[1]]
    if urgent:
        waits = [ttft(row) for row in urgent]
        figures["urgent_n"] = len(urgent)
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"), (1, "most")):
            figures[f"urgent_ttft_{name}"] = quantile(waits, share)
        queued_ms = [float(row[QUEUE_WAIT_MS]) for row in urgent if row[QUEUE_WAIT_MS] is not None]
        figures["urgent_queued_p99_s"] = (quantile(queued_ms, 0.99) or 0) / 1000
        figures["late_ms_p99"] = round(
            1000 * (quantile([row[SENT] - row[AT] for row in urgent], 0.99) or 0), 1
        )
    return figures
