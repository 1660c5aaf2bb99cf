"""Made-up facts, and what the doctor makes of them; and one visit to servers that are there."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from msgspec.structs import replace

from gateway import doctor
from gateway.core.policy import default_policy
from gateway.doctor import looking, servers, site, traffic
from gateway.doctor.facts import Live, Server, Site, Traffic
from gateway.models import APIKey, Backend, PolicyVersion, UsageRecord
from gateway.selfreport import SelfReport
from tests.support.fake_vllm import fake_vllm

HEALTHY = Server(
    name="gpu-1",
    pool="default",
    url="http://gpu-1:8000",
    declared="priority",
    max_in_flight=None,
    version="0.32.0",
    models=("qwen",),
    report=SelfReport("priority", 256, 400_000, True, True, 2048, 5),
    reports_itself=True,
    kv_tokens=400_000,
    prefix_caching=True,
    clock_skew_s=0.3,
    ttft_s=0.1,
    live=Live("priority", 200, 268, 2),
)
UNKNOWN = HEALTHY._replace(report=SelfReport(), reports_itself=False, live=None)


def found(server: Server) -> dict[str, str]:
    """Severities by code; "ok" ones left out."""
    judged = servers.judge([server])
    return {one.code: one.severity for one in judged if one.severity != "ok"}


def test_a_healthy_server_has_no_finding():
    assert found(HEALTHY) == {}


@pytest.mark.parametrize(
    ("change", "code", "severity"),
    [
        ({"error": "no answer in time"}, "unreachable", "error"),
        ({"models": ()}, "no_models", "error"),
        ({"version": "0.6.2"}, "old_version", "error"),
        ({"version": "0.9.1"}, "old_version", "error"),
        ({"version": "0.31.0"}, "no_priority_header", "note"),
        ({"version": ""}, "unknown_version", "warning"),
        ({"report": HEALTHY.report._replace(policy="fcfs")}, "fcfs", "error"),
        ({"live": Live("priority", 400, 420, 3)}, "engine_queues", "warning"),
        ({"live": Live("priority", 268, 268, 40)}, "engine_queues", "warning"),
        ({"prefix_caching": False}, "no_prefix_cache", "note"),
        ({"report": HEALTHY.report._replace(queue_backstop=False)}, "no_backstop", "note"),
        (
            {"report": HEALTHY.report._replace(long_prefill_token_threshold=0)},
            "long_prefill",
            "note",
        ),
        ({"report": HEALTHY.report._replace(idle_timeout_s=3)}, "short_keep_alive", "warning"),
        ({"clock_skew_s": -90.0}, "clock", "note"),
        ({"probe_error": "500 to /v1/completions"}, "probe_failed", "warning"),
        ({"ttft_s": 4.2}, "slow_probe", "note"),
    ],
)
def test_each_fault_of_a_server_is_found_alone(change, code, severity):
    assert found(HEALTHY._replace(**change)) == {code: severity}


def test_a_policy_is_told_seen_or_stated_in_this_order():
    assert found(UNKNOWN) == {}
    assert found(UNKNOWN._replace(declared="unknown")) == {"unknown_policy": "warning"}
    assert "fcfs" in found(UNKNOWN._replace(live=Live("fcfs", 1, 8, 0)))
    assert "fcfs" in found(UNKNOWN._replace(declared="fcfs"))


def test_a_statement_that_is_wrong_is_said_to_be():
    liar = HEALTHY._replace(report=SelfReport(policy="fcfs"))

    message = next(one.message for one in servers.judge([liar]) if one.code == "fcfs")

    assert "it says so itself, though priority was stated" in message


@pytest.mark.parametrize(
    ("text", "version"),
    [("0.32.0+cpu", (0, 32, 0)), ("0.9.2rc1", (0, 9, 2)), ("dev", ()), ("", ())],
)
def test_versions_are_compared_as_numbers(text, version):
    assert servers.version_of(text) == version


BUSY = Traffic(requests=1000, wait_p95_s=12.0, tiers=("batch", "realtime"))


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ({}, set()),
        ({"requests": 3}, {"little_traffic"}),
        ({"wait_p95_s": 0.004}, {"no_pressure"}),
        ({"tiers": ("standard",)}, {"one_tier"}),
        ({"unstated": 900}, {"unstated"}),
        ({"clamped": (("k1", 70), ("k2", 2))}, {"clamped"}),
        ({"unmapped": (("ocr", 12),)}, {"unmapped"}),
    ],
)
def test_why_priority_has_no_effect(change, codes):
    judged = traffic.judge(BUSY._replace(**change))

    assert {one.code for one in judged if one.severity != "ok"} == codes


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ({}, set()),
        ({"database_error": "no route"}, {"database"}),
        ({"unapplied": ("gateway.0009_x",)}, {"migrations"}),
        ({"policy_version": 0}, {"no_policy"}),
        ({"keys_without_pepper": 3}, {"lost_pepper"}),
        ({"keys_in_use": 0}, {"no_keys"}),
        ({"gateway_error": "refused"}, {"not_running"}),
        ({"redis_error": "refused"}, {"redis"}),
        ({"workers": 0}, {"celery"}),
    ],
)
def test_each_fault_of_the_installation_is_found_alone(change, codes):
    well = Site(policy_version=4, keys_in_use=2, redis_error="", workers=1)

    judged = site.judge(well._replace(**change))

    assert {one.code for one in judged if one.severity != "ok"} == codes


def test_every_fault_comes_with_what_to_do():
    sick = HEALTHY._replace(prefix_caching=False, clock_skew_s=60.0, ttft_s=9.0, version="0.30.0")

    judged = [*servers.judge([sick]), *site.judge(Site(keys_without_pepper=1))]

    assert all(one.advice.endswith((".", "B.")) for one in judged if one.severity != "ok")


def usage(now: datetime, tenant, **fields) -> UsageRecord:
    row = {
        "request_id": "r",
        "arrived_at": now,
        "tenant": tenant,
        "key_id8": "ABCDEFGH",
        "tier": "standard",
        "reason": "default",
        "task_type": "",
        "queue_wait_s": 0.0,
        "e2e_s": 1.0,
        "policy_version": 1,
        "status": 200,
        "stream": True,
    }
    return UsageRecord(**{**row, **fields})


def test_traffic_is_read_from_the_last_hour(acme):
    now = datetime(2026, 1, 2, 12, tzinfo=UTC)
    UsageRecord.objects.bulk_create(
        [
            usage(now, acme),
            usage(now, acme, reason="task:chat, ceiling:standard", queue_wait_s=3.0),
            usage(now, acme, reason="default, task_unknown", task_type="ocr", tier="batch"),
            usage(now - timedelta(hours=2), acme, tier="realtime"),
        ]
    )

    seen = looking.traffic(now)

    assert seen == Traffic(
        requests=3,
        wait_p95_s=0.0,
        tiers=("batch", "standard"),
        unstated=2,
        clamped=(("ABCDEFGH", 1),),
        unmapped=(("ocr", 1),),
    )


def test_a_key_whose_pepper_is_gone_is_counted(acme, settings):
    APIKey.objects.issue(acme, "one")
    PolicyVersion.objects.publish(default_policy(), "first")
    settings.LANEWAY_PEPPERS = {"other": b"x" * 32}

    here = looking.site()

    assert (here.keys_in_use, here.keys_without_pepper, here.policy_version) == (1, 1, 1)


def test_a_row_that_gateways_leave_out_is_named(acme):
    PolicyVersion.objects.publish(default_policy(), "first")
    key = APIKey.objects.issue(acme, "one")[0]
    APIKey.objects.update(rules=["all"])

    found = [one for one in site.judge(looking.site()) if one.code == "unreadable"]

    assert [one.severity for one in found] == ["error"]
    assert f"key {key.id8} (it is refused)" in found[0].message


@pytest.mark.django_db(transaction=True)
async def test_a_visit_asks_the_servers_that_are_switched_on():
    async with fake_vllm() as vllm:
        vllm.automatic = True
        await Backend.objects.acreate(name="there", url=vllm.url)
        await Backend.objects.acreate(name="gone", url="http://127.0.0.1:9")
        await Backend.objects.acreate(name="off", url="http://127.0.0.1:9", enabled=False)

        report = await doctor.examine(datetime.now(UTC), {"there": Live("fcfs", 0, 8, 0)})

    codes = {(one.about, one.code) for one in report.findings}
    assert {("there", "fcfs"), ("there", "probe"), ("gone", "unreachable")} <= codes
    assert not [one for one in report.findings if one.about == "off"]
    assert report.findings[0].severity == "error"


@pytest.mark.django_db(transaction=True)
def test_the_command_exits_with_an_error_and_speaks_json(capsys):
    with pytest.raises(CommandError, match=r"errors? found\.$"):
        call_command("doctor")
    told = capsys.readouterr().out

    with pytest.raises(SystemExit) as ended:
        call_command("doctor", json=True)

    findings = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1
    assert "✗ backends: No backend is switched on" in told
    assert findings[0].keys() == {"severity", "about", "code", "message", "advice"}


def test_what_was_found_is_counted_in_words():
    one = doctor.Finding("warning", "keys", "no_keys", "Nobody has a key.")
    report = doctor.Report(
        [one, *(2 * [replace(one, severity="note")]), replace(one, severity="ok")]
    )

    assert report.counts == "no errors, 1 warning, 2 notes, 1 ok"
