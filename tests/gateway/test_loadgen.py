import asyncio
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from django.core.management import CommandError, call_command

from gateway.arrivals import MIXES, Arrival, seeded
from gateway.loadgen import Generator, LoadError, body_of, is_loopback
from gateway.tally import Outcome, Tally, quantile
from tests.support.clock import until
from tests.support.fake_gateway import Behaviour, FakeGateway

ROOT = Path(__file__).parents[2]
KEYS = {"acme": "lw_live_acme", "birch": "lw_live_birch"}
FAR = 10.0  # more seconds than any of these tests may take


def chats(count, *, task_type="chat", every_s=0.0, tenant="acme", stream=True):
    return [Arrival(n * every_s, tenant, task_type, 40, 8, stream) for n in range(count)]


async def drive(gateway, arrivals, **options):
    generator = Generator(gateway.url, KEYS, **options)
    async with asyncio.timeout(FAR):
        await generator.run(arrivals)
    return generator.tally


async def test_a_request_says_who_asks_what_for_and_how_much():
    async with FakeGateway().serve() as gateway:
        await drive(gateway, chats(1, tenant="birch", task_type="translate"))

    [(headers, call)] = gateway.calls
    assert headers["authorization"] == "bearer lw_live_birch"
    assert headers["x-task-type"] == "translate"
    assert len(call["messages"][0]["content"]) == 4 * 40
    assert (call["model"], call["max_tokens"], call["ignore_eos"]) == ("qwen", 8, True)
    assert call["stream"] is True


async def test_outcomes_and_waits_are_counted_by_the_tier_the_gateway_used():
    placed = {
        "chat": Behaviour("realtime", 10, wait_ms=20),
        "summarize": Behaviour("standard", 5, wait_ms=4000, refuse=(429, "queue_full")),
    }
    async with FakeGateway(placed).serve() as gateway:
        tally = await drive(gateway, chats(3) + chats(2, task_type="summarize"))

    [(first, realtime), (second, standard)] = tally.by_urgency
    assert (first, realtime.priority, realtime.sent, realtime.ok) == ("realtime", 10, 3, 3)
    assert quantile(realtime.samples["queue_wait_s"], 0.95) == 0.02
    assert len(realtime.samples["ttft_s"]) == 3
    assert (second, standard.sent, standard.refused) == ("standard", 2, {"queue_full": 2})
    assert not standard.samples["queue_wait_s"]  # a refusal's wait is not a wait for a turn


async def test_a_plain_reply_has_an_end_but_no_first_token():
    async with FakeGateway().serve() as gateway:
        tally = await drive(gateway, chats(1, stream=False))

    standard = tally.tiers["standard"]
    assert (standard.ok, len(standard.samples["e2e_s"])) == (1, 1)
    assert not standard.samples["ttft_s"]


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (Behaviour(break_off=True), "broken_off"),
        (Behaviour(last=b""), "cut"),
        (
            Behaviour(last=b'data: {"error": {"code": "upstream_stalled"}}\n\ndata: [DONE]\n\n'),
            "upstream_stalled",
        ),
        (Behaviour(tokens=0, last=b""), "cut"),
    ],
    ids=["connection broken", "no terminator", "error event", "nothing at all"],
)
async def test_a_stream_that_fails_half_way_is_no_success(behaviour, code):
    async with FakeGateway({"chat": behaviour}).serve() as gateway:
        tally = await drive(gateway, chats(2))

    assert tally.tiers["standard"].failed == {code: 2}
    assert tally.tiers["standard"].ok == 0


@pytest.mark.parametrize(
    "behaviour",
    [Behaviour(hold_s=FAR), Behaviour(tokens=100_000, gap_s=0.001)],
    ids=["in the line", "in mid-stream"],
)
async def test_a_share_of_the_clients_hangs_up(behaviour, monkeypatch):
    monkeypatch.setattr("gateway.loadgen.MEAN_PATIENCE_S", 0.02)
    async with FakeGateway({"chat": behaviour}).serve() as gateway:
        tally = await drive(gateway, chats(5), hang_up_share=1.0)
        await until(lambda: gateway.hung_up == 5)

        assert sum(tier.hung_up for tier in tally.tiers.values()) == 5
        assert gateway.open == 0


async def test_an_open_loop_does_not_wait_for_replies():
    answer = asyncio.Event()
    async with FakeGateway({"chat": Behaviour(held=answer)}).serve() as gateway:
        running = asyncio.create_task(drive(gateway, chats(20, every_s=0.002)))
        await until(lambda: gateway.open == 20)
        answer.set()
        tally = await running

    assert tally.tiers["standard"].ok == 20


async def test_more_than_the_limit_are_never_open_and_the_rest_is_reported():
    answer = asyncio.Event()
    async with FakeGateway({"chat": Behaviour(held=answer)}).serve() as gateway:
        generator = Generator(gateway.url, KEYS, concurrency_limit=6)
        running = asyncio.create_task(generator.run(chats(20)))
        await until(lambda: generator.tally.unsent == 14 and gateway.open == 6)
        answer.set()
        await running

    assert gateway.most_open == 6
    assert generator.tally.tiers["standard"].ok == 6


async def test_the_end_of_the_run_waits_only_so_long_for_open_requests():
    placed = {"chat": Behaviour(hold_s=FAR), "translate": Behaviour(hold_s=0.05)}
    async with FakeGateway(placed).serve() as gateway:
        tally = await drive(gateway, chats(3) + chats(2, task_type="translate"), grace_s=0.3)

    assert tally.unfinished == 3
    assert tally.tiers["standard"].ok == 2


async def test_the_duration_ends_what_would_go_on_for_ever():
    endless = seeded(MIXES["demo"], 100, Random(1), list(KEYS))
    async with FakeGateway().serve() as gateway:
        generator = Generator(gateway.url, KEYS)
        async with asyncio.timeout(FAR):
            await generator.run(endless, duration_s=0.3)

    assert 5 < len(gateway.calls) < 80


async def test_stopping_keeps_what_was_counted_so_far():
    async with FakeGateway({"translate": Behaviour(hold_s=FAR)}).serve() as gateway:
        generator = Generator(gateway.url, KEYS)
        arrivals = [
            *chats(2),
            *chats(1, task_type="translate"),
            Arrival(9e9, "acme", "", 1, 1, True),
        ]
        running = asyncio.create_task(generator.run(arrivals))
        await until(lambda: generator.tally.tiers and generator.tally.tiers["standard"].ok == 2)
        generator.stopping.set()
        async with asyncio.timeout(1):
            await running

    assert generator.tally.unfinished == 1


async def test_an_absent_gateway_is_an_error_with_its_address():
    generator = Generator(f"http://127.0.0.1:{free_port()}", KEYS)

    with pytest.raises(LoadError, match=r"127\.0\.0\.1:\d+ does not answer"):
        await generator.run(chats(1))


async def test_a_gateway_without_a_model_is_an_error():
    async with FakeGateway(models=()).serve() as gateway:
        with pytest.raises(LoadError, match="offers no model"):
            await drive(gateway, chats(1))


async def test_a_patient_run_waits_for_the_gateway_and_for_its_return():
    port, every_s, away_s = free_port(), 0.02, 1.0
    generator = Generator(f"http://127.0.0.1:{port}", KEYS, patient=True)
    running = asyncio.create_task(generator.run(chats(10_000, every_s=every_s)))
    await asyncio.sleep(0.05)

    async with FakeGateway(port=port).serve() as before:
        await until(lambda: len(before.calls) >= 3)
    await until(lambda: any(tier.failed for tier in generator.tally.tiers.values()))
    await asyncio.sleep(away_s)
    async with FakeGateway(port=port).serve() as after:
        await until(lambda: len(after.calls) >= 3)
        generator.stopping.set()
        await running

    failed = sum(tier.failed.total() for tier in generator.tally.tiers.values())
    assert 0 < failed < away_s / every_s / 2  # it did not go on knocking at a closed door
    assert generator.tally.late_s < away_s / 2  # nor send then what was due meanwhile


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_who_hangs_up_unplaced_counts_for_the_tier_of_its_kind():
    tally, chat = Tally(), chats(1)[0]

    tally.add(chat, Outcome("ok", tier="realtime", priority=10))
    tally.add(chat, Outcome("hung_up"))
    tally.add(chat._replace(tenant="birch"), Outcome("hung_up"))

    assert (tally.tiers["realtime"].sent, tally.tiers["?chat"].sent) == (2, 1)


def test_an_aged_request_does_not_lift_its_tier_in_the_table():
    tally, chat = Tally(), chats(1)[0]

    for priority in (-3, -5, 0):
        tally.add(chat, Outcome("ok", tier="batch", priority=priority))

    assert tally.tiers["batch"].priority == -5


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([3], 0.95, 3), ([4, 1, 3, 2], 0.5, 2), (range(1, 101), 0.95, 95)],
)
def test_a_quantile_is_a_value_that_was_seen(values, share, expected):
    assert quantile(values, share) == expected


@pytest.mark.parametrize("size", [1, 40, 16_000])
def test_a_body_weighs_four_bytes_a_token(size):
    call = json.loads(body_of(Arrival(0, "acme", "chat", size, 5, True), "qwen", 12_345))

    assert len(call["messages"][0]["content"]) == 4 * size


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000", True),
        ("http://[::1]:8000", True),
        ("http://10.0.0.7:8000", False),
        ("http://localhost.example.org", False),
        ("nonsense", False),
    ],
)
def test_only_this_machine_is_loopback(url, near):
    assert is_loopback(url) is near


@pytest.fixture
def command(tmp_path):
    """Starts ``manage.py loadgen`` with a data folder of its own; none outlives the test."""
    started = []

    def start(*words):
        here = ["env", f"LANEWAY_HOME={tmp_path}", sys.executable, "manage.py", "loadgen"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen([*here, *map(str, words)], cwd=ROOT, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def ended(process):
    out, err = await asyncio.to_thread(process.communicate, timeout=30)
    return process.returncode, out, err


async def test_the_command_prints_its_summary_as_json(command):
    async with FakeGateway({"chat": Behaviour("realtime", 10)}).serve() as gateway:
        run = command(
            *("--url", gateway.url, "--key", "k", "--rate", 50, "--duration", 0.5),
            *("--hang-up-share", 0, "--json"),
        )
        status, out, err = await ended(run)

    summary = json.loads(out)
    assert (status, err) == (0, "")
    assert sum(tier["ok"] for tier in summary["tiers"].values()) == len(gateway.calls) > 5
    assert summary["tiers"]["realtime"]["queue_wait_s"]["p95"] == 0


async def test_interrupting_the_command_shows_the_table_so_far(command, tmp_path):
    (tmp_path / "keys.json").write_text(json.dumps(KEYS))
    async with FakeGateway({"chat": Behaviour("realtime", 10)}).serve() as gateway:
        words = ("--keys-file", tmp_path / "keys.json", "--forever", "--rate", 50)
        run = command("--url", gateway.url, *words)
        await until(lambda: len(gateway.calls) >= 10)
        run.send_signal(signal.SIGINT)
        status, out, _ = await ended(run)

    assert status == 0
    assert "realtime (10)" in out
    assert "queue wait" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--url", "http://10.0.0.7:8000"), "--yes-remote"),
        (("--rate", "0"), "--rate must be"),
        (("--duration", "-1"), "--duration must be"),
        (("--trace", "nowhere.csv"), "--trace nowhere.csv"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(words, said):
    with pytest.raises(CommandError, match=said):
        call_command("loadgen", "--key", "k", *words)
