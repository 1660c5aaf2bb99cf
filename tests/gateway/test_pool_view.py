"""What a pool shows beyond its line: expected turns, tokens of each tier, preemptions a minute."""

from gateway.backend import Backend
from gateway.core.capacity import Scrape
from gateway.core.ops import Dispatch, Submit
from gateway.models import BackendRow
from gateway.scrape import Figures
from gateway.upstream import Origin
from tests.support.clock import until


def backend() -> Backend:
    row = BackendRow("gpu-1", "default", "http://gpu-1:8000", "priority", 4, True)
    return Backend(row=row, origin=Origin("http", "gpu-1", 8000))


def seen(at_s: float, preemptions: float) -> Figures:
    return Figures(at_s=at_s, scrape=Scrape(running=1, waiting=0, preemptions_total=preemptions))


def test_preemptions_are_those_of_the_last_minute():
    one = backend()

    for at_s, total in [(100.0, 7.0), (101.0, 9.0), (130.0, 10.0)]:
        one.saw(seen(at_s, total))
    recent = one.view().preempted_per_min
    one.saw(seen(165.0, 10.0))

    assert (recent, one.view().preempted_per_min) == (3, 1)


def test_a_server_that_starts_anew_has_preempted_nobody():
    one = backend()

    for at_s, total in [(100.0, 7.0), (101.0, 0.0), (102.0, 1.0)]:
        one.saw(seen(at_s, total))

    assert one.view().preempted_per_min == 1


async def test_who_waits_is_told_a_range_once_enough_went_before(gateway):
    pool = gateway.pool
    forecast = pool.queue.forecast
    now_ms = pool.queue.now_ms()
    submit = Submit("r", "batch", "acme", 100)
    for _ in range(40):
        gone = Dispatch("r", "gpu-1", 0, "strict", 2_000, 0, 1)
        forecast.dispatched(submit, gone, 1.0, now_ms)

    expect = forecast.expect_at(now_ms)

    low, high = expect("batch", 4_000) or (0, 0)
    assert 0 < low <= high
    assert (expect("batch", 8_000) or (0, 0))[0] > low
    assert expect("standard", 4_000) is None  # nothing of it was dispatched yet


async def test_finished_answers_count_as_tokens_of_their_tier(gateway):
    async with gateway.chat("chat") as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].finish()
        await call.done()

    tiers = {tier.name: tier.tokens_per_s for tier in gateway.pool.view().tiers}

    assert tiers["realtime"] > 0
    assert tiers["batch"] == 0
