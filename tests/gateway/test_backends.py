"""Servers come, go, fall ill and change: what happens to the requests meanwhile."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from msgspec.structs import replace

from gateway import backends, pools
from gateway.auth import Directory
from gateway.backends import Fleet
from gateway.core.outlook import look
from gateway.core.policy import KeyRules, default_policy
from gateway.core.witness import SAME_STEP_MS
from gateway.errors import GatewayError
from gateway.metrics import Metrics
from gateway.models import BackendRow
from gateway.proxy import Proxy
from gateway.records import Recorder
from gateway.upstream import Upstream
from tests.gateway.conftest import Gateway, state_of
from tests.support.clock import until
from tests.support.fake_vllm import FakeVLLM, fake_vllm

FIGURES = """\
vllm:num_requests_running{engine="0",model_name="qwen"} 3.0
vllm:num_requests_waiting{engine="0",model_name="qwen"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="qwen"} 0.25
"""


def row(vllm: FakeVLLM, name: str = "gpu-1", **changes) -> BackendRow:
    return BackendRow(name, "default", vllm.url, "priority", 4, True)._replace(**changes)


@pytest.fixture
async def two():
    """A gateway before two servers."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(fake_vllm()) for _ in range(2)]
        rows = [row(servers[0]), row(servers[1], "gpu-2")]
        state, issued = state_of(default_policy(), {"acme": KeyRules()}, rows)
        fleet, upstream = Fleet(), Upstream()
        proxy = Proxy(Directory(state), fleet, upstream, Metrics(fleet), Recorder())
        await upstream.start()
        fleet.configure(state.backends, state.policy, 1)
        gateway = Gateway(proxy, servers[0], issued)
        await until(lambda: all(one.up for one in gateway.pool.backends.values()))
        yield gateway, servers
        await fleet.close()
        await upstream.close()


async def ask_many(gateway: Gateway) -> list[int]:
    """Eight requests with prompts of their own, so that both servers have their share."""
    statuses = []
    for number in range(8):
        messages = [{"role": "user", "content": f"question {number}"}]
        async with gateway.chat("chat", stream=False, messages=messages) as call:
            statuses.append((await call.done()).status)
    return statuses


async def test_equal_prompts_stay_with_one_server_and_others_spread(two):
    gateway, servers = two
    servers[0].automatic = servers[1].automatic = True

    await ask_many(gateway)
    spread = [len(server.generations) for server in servers]
    for _ in range(4):
        async with gateway.chat("chat", stream=False) as call:
            await call.done()
    after = [len(server.generations) for server in servers]

    assert min(spread) > 0
    assert sorted(b - a for a, b in zip(spread, after, strict=True)) == [0, 4]


async def test_a_request_that_finds_its_server_gone_runs_on_another(two):
    gateway, servers = two
    servers[0].automatic = servers[1].automatic = True
    await servers[0].stop()

    assert await ask_many(gateway) == [200] * 8
    assert len(servers[1].generations) == 8
    assert gateway.pool.backends["gpu-1"].state == "down"
    await servers[0].start()


async def test_a_line_waits_for_its_server_to_come_back(gateway):
    await gateway.vllm.stop()
    await until(lambda: not gateway.pool.backends["gpu-1"].up)

    async with gateway.chat("chat", stream=False) as call:
        await until(lambda: gateway.waiting == 1)
        gateway.vllm.automatic = True
        await gateway.vllm.start()
        await call.done()

    assert call.status == 200


async def test_a_line_does_not_wait_for_ever(gateway, monkeypatch):
    monkeypatch.setattr(pools, "NO_BACKEND_TTL_S", 0.2)
    await gateway.vllm.stop()
    await until(lambda: not gateway.pool.backends["gpu-1"].up)

    async with gateway.chat("chat") as waiting:
        await waiting.done()
    async with gateway.chat("chat") as late:
        await late.done()

    for call in (waiting, late):
        assert (call.status, call.json()["error"]["code"]) == (503, "no_backend")
        assert "retry-after" in call.headers
    assert gateway.waiting == 0
    await gateway.vllm.start()


async def test_a_line_does_not_wait_for_ever_for_a_server_that_only_says_it_is_well(
    gateway, monkeypatch
):
    monkeypatch.setattr(pools, "NO_BACKEND_TTL_S", 0.2)
    for _ in range(5):
        gateway.pool.steering.failed(gateway.pool.backends["gpu-1"])

    async with gateway.chat("chat") as waiting:
        await waiting.done()

    assert (waiting.status, waiting.json()["error"]["code"]) == (503, "no_backend")


SHORT = replace(
    default_policy(),
    tiers=tuple(replace(t, target_wait_s=0.1, max_wait_s=0.2) for t in default_policy().tiers),
)


@pytest.mark.parametrize("policy", [SHORT])
async def test_who_waits_too_long_for_no_server_at_all_met_no_limit(gateway):
    await gateway.vllm.stop()
    await until(lambda: not gateway.pool.backends["gpu-1"].up)
    async with gateway.chat("chat") as waiting:
        await waiting.done()
    await gateway.vllm.start()

    assert (waiting.status, waiting.json()["error"]["code"]) == (503, "no_backend")
    assert "x-should-retry" not in waiting.headers


@pytest.mark.parametrize("status", [500, 401])
async def test_a_server_that_answers_with_errors_does_not_draw_the_line(two, status):
    gateway, servers = two
    servers[0].status = status
    servers[1].automatic = True

    first = [await ask_many(gateway) for _ in range(2)]
    assert {502, 200} == {*first[0], *first[1]}
    assert gateway.pool.backends["gpu-1"].breaker.is_open
    assert await ask_many(gateway) == [200] * 8


async def test_the_last_server_is_asked_on_whatever_it_answers(gateway):
    gateway.vllm.status = 500
    statuses = []
    for _ in range(6):
        async with gateway.chat("chat", stream=False) as call:
            statuses.append((await call.done()).status)
    gateway.vllm.status, gateway.vllm.automatic = 200, True
    async with gateway.chat("chat", stream=False) as well:
        await well.done()

    assert (statuses, well.status) == ([502] * 6, 200)


async def test_five_broken_answers_close_the_way_to_a_server(two):
    gateway, servers = two
    sick = gateway.pool.backends["gpu-1"]
    for _ in range(5):
        gateway.pool.steering.failed(sick)

    servers[1].automatic = True
    assert await ask_many(gateway) == [200] * 8
    assert servers[0].generations == []


async def test_one_tiny_completion_opens_the_way_again(two):
    gateway, servers = two
    sick = gateway.pool.backends["gpu-1"]
    for _ in range(5):
        gateway.pool.steering.failed(sick)
    sick.api_key = "of-the-server"
    sick.breaker.open_until_ms = gateway.pool.queue.now_ms()
    servers[0].automatic = True

    await until(lambda: not sick.breaker.is_open)

    probe = servers[0].generations[0]
    assert (probe.path, probe.body["max_tokens"]) == ("/v1/completions", 1)
    assert probe.headers["authorization"] == "Bearer of-the-server"


@pytest.mark.parametrize("status", [500, 401])
async def test_a_tiny_completion_that_fails_keeps_the_way_closed(two, status):
    gateway, servers = two
    sick = gateway.pool.backends["gpu-1"]
    servers[0].status = status
    for _ in range(5):
        gateway.pool.steering.failed(sick)
    due_ms = sick.breaker.open_until_ms = gateway.pool.queue.now_ms()

    await until(lambda: sick.breaker.open_until_ms != due_ms)

    assert sick.breaker.is_open


async def test_when_most_are_broken_the_least_bad_stay_in_service():
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(fake_vllm()) for _ in range(4)]
        rows = [row(one, f"gpu-{number}") for number, one in enumerate(servers)]
        fleet = Fleet()
        fleet.configure(rows, default_policy(), 1)
        pool = fleet.pools["default"]
        await until(lambda: all(one.up for one in pool.backends.values()))
        for name in ("gpu-1", "gpu-2", "gpu-3"):
            for _ in range(5):
                pool.steering.failed(pool.backends[name])
        serving = [one.name for one in look(pool.queue.scheduler, 0).backends if one.open]
        await fleet.close()

    assert len(serving) == 2
    assert "gpu-0" in serving


async def test_what_a_server_shows_is_seen(gateway):
    gateway.vllm.metrics = FIGURES
    await until(lambda: gateway.pool.backends["gpu-1"].figures.scrape.running)

    view = gateway.pool.view().backends[0]

    assert (view.engine_running, view.engine_waiting, view.kv_usage) == (3, 2, 0.25)
    assert view.state == "up"


@pytest.mark.parametrize("slots", [4])
async def test_less_urgent_requests_wait_for_memory_that_the_server_shows(gateway):
    config = 'vllm:cache_config_info{block_size="16",engine="%d",num_gpu_blocks="10"} 1.0\n'
    gateway.vllm.metrics = FIGURES + config % 0 + config % 1
    await until(lambda: gateway.pool.backends["gpu-1"].figures.kv_tokens == 320)
    backend = gateway.pool.queue.scheduler.slots.backends.by_name["gpu-1"]
    await until(lambda: backend.most_footprint == 304)
    async with gateway.chat("summarize", max_tokens=100, n=2) as first:
        await until(lambda: len(gateway.vllm.generations) == 1)
        async with gateway.chat("summarize", max_tokens=150) as second:
            await until(lambda: gateway.waiting == 1)
            async with gateway.chat("chat", max_tokens=150) as urgent:
                await until(lambda: len(gateway.vllm.generations) == 2)
                went = gateway.vllm.generations[1].body["max_tokens"], gateway.waiting
                urgent.hang_up()
                await urgent.done()
            first.hang_up()
            await first.done()
            await until(lambda: gateway.waiting == 0)
            second.hang_up()
            await second.done()

    await until(lambda: gateway.in_flight == 0)
    assert went == (150, 1)
    assert backend.footprint == 0


async def test_requests_of_another_client_are_seen(gateway):
    backend = gateway.pool.backends["gpu-1"]
    gateway.vllm.metrics = FIGURES  # 3 run and 2 wait there, and none of them is ours

    def strangers() -> int:
        backend.wake.set()
        return gateway.pool.view().backends[0].strangers

    await until(lambda: strangers() == 5)


async def test_a_server_that_shows_nothing_is_served_all_the_same(gateway):
    gateway.vllm.automatic = True
    gateway.vllm.metrics = "vllm:num_requests_running{} nonsense\n"

    async with gateway.chat("chat", stream=False) as call:
        await call.done()

    assert call.status == 200


async def test_an_administrators_limit_bounds_held_back_slots_too(gateway):
    fleet = gateway.proxy.fleet
    fleet.configure([row(gateway.vllm, max_in_flight=10)], default_policy(), 1)

    view = gateway.pool.view()

    assert (view.limit, view.held_back) == (10, 1)


async def test_a_server_taken_out_of_service_finishes_what_it_has(gateway):
    async with gateway.chat("chat", stream=False) as running:
        await until(lambda: gateway.vllm.generations)
        gateway.proxy.fleet.configure([row(gateway.vllm, enabled=False)], default_policy(), 1)
        async with gateway.chat("chat") as late:
            await until(lambda: gateway.waiting == 1)
            gateway.vllm.generations[0].finish()
            await running.done()
            late.hang_up()

    assert running.status == 200
    assert len(gateway.vllm.generations) == 1


async def test_a_server_removed_while_it_runs_something_leaks_nothing(gateway):
    async with gateway.chat("chat", stream=False) as running:
        await until(lambda: gateway.vllm.generations)
        gateway.proxy.fleet.configure([], default_policy(), 1)
        gateway.vllm.generations[0].finish()
        await running.done()

    assert running.status == 200
    assert gateway.in_flight == 0
    assert look(gateway.pool.queue.scheduler, 0).backends == ()


async def test_a_model_may_be_that_of_a_server_not_yet_seen():
    fleet = Fleet()
    fleet.configure(
        [BackendRow("gpu-1", "default", "http://127.0.0.1:9", "priority", 4, True)],
        default_policy(),
        1,
    )

    with pytest.raises(GatewayError) as refused:
        fleet.pool_of("qwen", lambda model: True)
    await fleet.close()

    assert refused.value.code == "no_backend"


async def test_an_upstream_that_is_full_shrinks_the_limit_and_keeps_the_request(gateway):
    fleet = gateway.proxy.fleet
    fleet.configure([row(gateway.vllm, max_in_flight=None)], default_policy(), 1)
    async with gateway.chat("chat", stream=False) as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].reply(503, {"error": {"message": "busy", "code": 503}})
        await until(lambda: gateway.waiting == 1)
        before = gateway.pool.backends["gpu-1"].law.base_limit
        await until(lambda: len(gateway.vllm.generations) == 2)
        after = gateway.pool.backends["gpu-1"].law.base_limit
        gateway.vllm.generations[1].finish()
        await call.done()

    assert after < before
    assert call.status == 200


async def start_in_this_order(gateway: Gateway, tasks: list[str]) -> None:
    """Requests that all wait in the engine until it starts them in order of arrival."""
    gateway.vllm.metrics = f"vllm:num_requests_waiting {len(tasks)}.0\n"
    async with AsyncExitStack() as stack:
        for sent, task in enumerate(tasks, 1):
            await stack.enter_async_context(gateway.chat(task))
            await until(lambda: len(gateway.vllm.generations) == sent)  # noqa: B023
        out = gateway.pool.backends["gpu-1"].witness._out
        await until(lambda: all(one.queued_until_ms >= 0 for one in out.values()))
        for generation in gateway.vllm.generations:
            generation.token()
            await asyncio.sleep(1.2 * SAME_STEP_MS / 1000)


@pytest.mark.parametrize("slots", [8])
async def test_a_server_that_starts_in_order_of_arrival_is_found_out(gateway):
    """Though an administrator stated that it schedules by priority."""
    await start_in_this_order(gateway, ["batch_inference"] * 3 + ["chat"] * 3)

    backend = gateway.pool.backends["gpu-1"]
    assert backend.view().scheduling_policy == "fcfs"
    gateway.vllm.automatic = True
    async with gateway.chat("chat") as call:
        await call.done()
    assert "engine_fcfs" in call.headers["x-laneway-reason"].split(", ")
    assert gateway.vllm.generations[-1].body["priority"] == -10  # sent on, in case it is wrong


@pytest.mark.parametrize("slots", [8])
async def test_a_server_that_starts_urgent_ones_first_stays_as_stated(gateway):
    await start_in_this_order(gateway, ["chat"] * 3 + ["batch_inference"] * 3)

    assert gateway.pool.backends["gpu-1"].view().scheduling_policy == "priority"


async def test_what_a_server_says_of_itself_counts_more_than_a_statement(gateway, monkeypatch):
    monkeypatch.setattr(backends, "DISCOVERY_S", 0.0)  # asked with each poll
    gateway.vllm.server_info = {"vllm_config": {"scheduler_config": {"policy": "fcfs"}}}
    backend = gateway.pool.backends["gpu-1"]

    await until(lambda: backend.told_policy == "fcfs")

    assert backend.view().scheduling_policy == "fcfs"
    assert not backend.honours_priority


async def test_a_comment_in_a_stream_is_no_start(gateway):
    backend = gateway.pool.backends["gpu-1"]
    gateway.vllm.metrics = "vllm:num_requests_waiting 1.0\n"

    async with gateway.chat("chat"):
        await until(lambda: gateway.vllm.open == 1)
        gateway.vllm.generations[0].write(b": keep-alive\n\n")
        await asyncio.sleep(0.5)
        began = [one.started_ms for one in backend.witness._out.values()]
        gateway.vllm.generations[0].finish()

    assert began == [-1]
