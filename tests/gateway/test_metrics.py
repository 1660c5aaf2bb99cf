"""What Prometheus reads: true numbers, a bounded number of series, and files that name real ones."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from gateway.busiest import CHOSEN_EVERY_S, NAMED, Busiest
from gateway.core.wire import Usage
from tests.support.clock import until

DEPLOY = Path(__file__).parents[2] / "deploy"


def samples(gateway) -> list[Sample]:
    text = gateway.proxy.metrics.text().decode()
    return [one for family in text_string_to_metric_families(text) for one in family.samples]


def value(gateway, name: str, **labels: str) -> float:
    (found,) = [
        one.value
        for one in samples(gateway)
        if one.name == name and labels.items() <= one.labels.items()
    ]
    return found


async def served(gateway, queue_time_ms: float | None = None) -> None:
    async with gateway.chat("chat", stream=False) as call:
        await until(lambda: gateway.vllm.generations)
        generation = gateway.vllm.generations.pop()
        usage = {"prompt_tokens": 12, "completion_tokens": 5}
        told = {"queue_time_ms": queue_time_ms} if queue_time_ms is not None else None
        generation.reply(200, {"choices": [], "usage": usage, "metrics": told})
        await call.done()


async def test_a_request_counts_by_tier_priority_and_tenant(gateway):
    await served(gateway)

    tier = {"pool": "default", "tier": "realtime"}
    assert value(gateway, "laneway_requests_total", **tier, outcome="completed") == 1
    waits = "laneway_request_queue_time_seconds"
    assert value(gateway, waits + "_count", **tier, priority="10") == 1
    assert value(gateway, waits + "_bucket", **tier, le="+Inf") == 1
    assert value(gateway, "laneway_tokens_total", **tier, kind="prompt") == 12
    assert value(gateway, "laneway_tenant_requests_total", tenant="acme", outcome="completed") == 1
    assert value(gateway, "laneway_tenant_tokens_total", tenant="acme", kind="generation") == 5
    assert value(gateway, "laneway_tenant_request_queue_time_seconds_count", tenant="acme") == 1


async def test_the_engine_s_wait_joins_the_gateway_s_where_it_is_told(gateway):
    await served(gateway)
    joined = "laneway_request_joined_queue_time_seconds"
    assert value(gateway, joined + "_count", tier="realtime") == 0

    await served(gateway, queue_time_ms=1500)

    assert value(gateway, joined + "_count", tier="realtime") == 1
    engine = value(gateway, "laneway_request_engine_queue_time_seconds_sum", tier="realtime")
    assert engine == 1.5
    assert value(gateway, joined + "_sum", tier="realtime") >= 1.5


async def test_gauges_show_the_line_as_it_stands(gateway):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with gateway.chat("translate"):
            await until(lambda: gateway.waiting == 1)
            standard = {"tier": "standard", "priority": "0"}
            assert value(gateway, "laneway_num_requests_waiting", **standard) == 1
            assert value(gateway, "laneway_num_requests_running", tier="realtime") == 2
            assert value(gateway, "laneway_slots_taken", backend="gpu-1") == 2
            assert value(gateway, "laneway_tier_target_wait_seconds", tier="realtime") == 2


def a_request(tenant: str, at_s: float = 0.0, outcome: str = "completed"):
    return SimpleNamespace(
        caller=SimpleNamespace(tenant=tenant),
        placement=object(),
        arrived_at=at_s,
        outcome=outcome,
        dispatched_at=at_s,
        queue_wait_s=0.5,
        first_byte_at=at_s,
        tokens=lambda: Usage(10, 5),
    )


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def by_tenant(registry) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in registry.collect():
        for one in family.samples:
            if one.name == "laneway_tenant_requests_total":
                name = one.labels["tenant"]
                found[name] = found.get(name, 0) + one.value
    return found


def test_a_thousand_tenants_are_twenty_and_the_others(registry):
    busiest = Busiest(registry)

    for n in range(1000):
        busiest.finished(a_request(f"t{n}"))

    counted = by_tenant(registry)
    assert len(counted) == NAMED + 1
    assert counted["other"] == 1000 - NAMED
    assert sum(counted.values()) == 1000


def test_the_busiest_of_late_take_the_names_and_no_series_ever_falls(registry):
    busiest = Busiest(registry)
    for n in range(NAMED):
        busiest.finished(a_request(f"early{n}"))
    for _ in range(50):
        busiest.finished(a_request("late"))
    before = by_tenant(registry)
    assert before["other"] == 50

    for _ in range(3):
        busiest.finished(a_request("late", at_s=CHOSEN_EVERY_S))

    after = by_tenant(registry)
    assert after["late"] == 3
    assert after["other"] == 50
    assert len(after) == NAMED + 1
    assert all(after[name] >= count for name, count in before.items() if name in after)
    assert set(before) - set(after) == {"early9"}  # of those with as few requests the last by name


def test_a_tenant_named_other_counts_among_the_others(registry):
    busiest = Busiest(registry)
    for tenant in ("other", *(f"t{n}" for n in range(NAMED))):
        busiest.finished(a_request(tenant))

    assert by_tenant(registry)["other"] >= 1
    assert sum(by_tenant(registry).values()) == NAMED + 1


# The files of deploy/ against what is exported


def expressions() -> Iterator[tuple[str, str]]:
    """Where an expression stands, and the expression."""
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]
    rules = yaml.safe_load((DEPLOY / "prometheus-rules.yaml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield f"rule {rule.get('alert') or rule['record']}", rule["expr"]


async def test_every_metric_and_label_that_the_files_use_is_exported(gateway):
    await served(gateway, queue_time_ms=10)
    exported: dict[str, set[str]] = {}
    for one in samples(gateway):
        exported.setdefault(one.name, set()).update(one.labels)

    used = set()
    for where, expression in expressions():
        labels = {name for names in exported.values() for name in names}
        for name, matchers in re.findall(r"\b(laneway_\w+)(\{[^}]*\})?", expression):
            assert name in exported, f"{where}: {name} is not exported"
            used.add(name)
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
                assert label in exported[name], f"{where}: {name} has no label {label}"
        for group in re.findall(r"\b(?:by|on|group_left)\s*\(([^)]*)\)", expression):
            for label in filter(None, (part.strip() for part in group.split(","))):
                assert label in labels, f"{where}: nothing has a label {label}"
    assert len(used) >= 20


def test_the_alert_rules_say_what_is_wrong_and_how_bad():
    rules = yaml.safe_load((DEPLOY / "prometheus-rules.yaml").read_text())

    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in ("warn", "crit")
        assert {"summary", "description"} <= rule["annotations"].keys()
