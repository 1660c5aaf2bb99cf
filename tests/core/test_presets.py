from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.arrivals import Arrival
from gateway.core.policy import TenantRules, contradictions, default_policy, dump, load
from gateway.core.presets import FCFS_STEP_S, PRESETS, preset
from gateway.core.simulator import Setup, simulate
from tests.core.traffic import SMALL, SMALL_FULL, backlog, together

FOR_PEOPLE = replace(
    default_policy(),
    tenants={"acme": TenantRules(default_tier="batch", task_types={"chat": "critical"}, weight=50)},
)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_of_a_sound_policy_is_a_sound_policy(name):
    policy = preset(name, FOR_PEOPLE)

    assert contradictions(policy) == []
    assert load(dump(policy)) == policy
    assert policy.task_types.keys() == FOR_PEOPLE.task_types.keys()
    assert policy.tenants["acme"].weight == 50


def test_the_default_policy_is_the_classic_one():
    assert preset("classic") == default_policy()


@pytest.mark.parametrize(
    ("name", "ages", "rescue_share"),
    [
        ("classic", True, 0.10),
        ("guaranteed", False, 0.10),
        ("fair", False, 0.20),
        ("strict", False, 0.0),
    ],
)
def test_presets_differ_in_ageing_and_rescue_alone(name, ages, rescue_share):
    policy = preset(name, FOR_PEOPLE)

    assert (policy.ageing is not None, policy.rescue_share) == (ages, rescue_share)
    kept = replace(policy, ageing=FOR_PEOPLE.ageing, rescue_share=FOR_PEOPLE.rescue_share)
    assert kept == FOR_PEOPLE


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="no preset 'lifo'; there are classic, guaranteed"):
        preset("lifo")


def test_first_come_first_served_knows_no_tier_tenant_or_task_to_within_a_step():
    tasks = ("chat", "summarize", "batch_inference")
    jam = backlog(1, "ben", "batch_inference", 500, 200, 400)
    later = [
        Arrival(1.0 + n / 2, f"t{n % 5}", tasks[n % 3], 100, 50, stream=True) for n in range(120)
    ]

    setup = Setup(policy=preset("fcfs"), engines=SMALL, stored=SMALL_FULL)
    report = simulate(setup, together(jam, later))

    assert all(one.fate == "completed" for one in report.outcomes)
    last_ms = 0
    for one in sorted(report.outcomes, key=lambda one: one.dispatched_ms):
        assert one.arrived_ms > last_ms - 1_000 * FCFS_STEP_S
        last_ms = max(last_ms, one.arrived_ms)


def test_first_come_first_served_holds_nothing_back_for_anyone():
    policy = preset("fcfs")

    assert policy.holdback_share == 0
    assert policy.urgent_threshold > max(tier.priority for tier in policy.tiers)


def test_the_page_shows_tiers_and_presets_as_they_are():
    page = (Path(__file__).parents[2] / "docs" / "scheduling.md").read_text()

    for tier in default_policy().tiers:
        number = f"{tier.priority}".replace("-", "\N{MINUS SIGN}")
        waits = f"{tier.target_wait_s:g} s | {tier.max_wait_s:,g} s | {tier.max_waiting:,}"
        assert f"| {tier.name} | {number} | {waits} |" in page
    for name in PRESETS:
        share = f"{preset(name).rescue_share:.0%}".replace("%", " %")
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        assert f"| {'0' if share == '0 %' else share} |" in row
