from collections.abc import Iterable
from random import Random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.engine import (
    BLOCK_TOKENS,
    Engine,
    EngineConfig,
    Event,
    Finished,
    FirstToken,
    Preempted,
    Started,
)
from tests.core.engine_reference import PS, Arrival, ReferenceEngine

FOREVER_S = 1e6


def started(events: Iterable[Event]) -> list[str]:
    return [event.id for event in events if isinstance(event, Started)]


def preempted(events: Iterable[Event]) -> list[str]:
    return [event.id for event in events if isinstance(event, Preempted)]


def finished(events: Iterable[Event]) -> dict[str, Finished]:
    return {event.id: event for event in events if isinstance(event, Finished)}


def one_slot(policy: str = "priority") -> Engine:
    """An engine whose only slot is taken for about 1.3 s."""
    engine = Engine(EngineConfig(max_num_seqs=1, scheduling_policy=policy))
    engine.submit("first", 10, 200, 0, 0.0)
    engine.advance(0.01)
    return engine


# ---------------------------------------------------------------- order


def test_the_lower_number_starts_first_and_equal_ones_in_order_of_arrival():
    engine = one_slot()
    numbers = {"a": 0, "b": 5, "c": -(2**63), "d": 0, "e": -7, "f": 5, "g": 2**63 - 1}
    for i, (id, number) in enumerate(numbers.items()):
        engine.submit(id, 10, 5, number, 0.02 + i / 1000)

    events = engine.advance(FOREVER_S)

    assert started(events) == ["c", "e", "a", "d", "b", "f", "g"]


def test_fcfs_ignores_the_number_without_a_word():
    engine = one_slot("fcfs")
    for i, number in enumerate([5, 0, -5]):
        engine.submit(f"r{i}", 10, 5, number, 0.02 + i / 1000)

    events = engine.advance(FOREVER_S)

    assert started(events) == ["r0", "r1", "r2"]


def test_a_waiting_request_never_takes_the_slot_of_a_running_one():
    engine = one_slot()
    engine.submit("urgent", 10, 5, -1000, 0.02)

    events = engine.advance(FOREVER_S)

    ends = finished(events)
    assert ends["urgent"].started_s == ends["first"].at_s
    assert engine.counters.preemptions == 0


def test_the_head_that_does_not_fit_blocks_those_behind_it():
    engine = Engine(EngineConfig(kv_tokens=1600, max_num_seqs=8))
    engine.submit("running", 800, 10, 0, 0.0)
    engine.advance(0.001)
    engine.submit("large", 1000, 10, 1, 0.002)
    engine.submit("small", 16, 10, 2, 0.003)

    ends = finished(engine.advance(FOREVER_S))

    assert ends["large"].started_s == ends["running"].at_s
    assert ends["small"].started_s == ends["running"].at_s


def test_a_small_request_passes_nobody_but_starts_at_once_when_it_is_the_head():
    engine = Engine(EngineConfig(kv_tokens=1600, max_num_seqs=8))
    engine.submit("running", 800, 10, 0, 0.0)
    engine.advance(0.001)
    engine.submit("large", 1000, 10, 1, 0.002)
    engine.submit("small", 16, 10, -2, 0.003)

    ends = finished(engine.advance(FOREVER_S))

    assert ends["small"].started_s < ends["running"].at_s == ends["large"].started_s


def test_requests_of_one_moment_share_their_first_step():
    engine = Engine()
    for i in range(5):
        engine.submit(f"r{i}", 100, 3, 0, 7.0)

    events = engine.advance(7.0)

    assert started(events) == [f"r{i}" for i in range(5)]
    assert engine.running == 5


# ---------------------------------------------------------------- prefill


def test_a_long_prompt_is_prefilled_in_chunks_beside_decoding_requests():
    engine = Engine(EngineConfig(max_num_batched_tokens=1000, max_num_seqs=10))
    engine.submit("short", 10, 50, 0, 0.0)
    engine.step()
    engine.submit("long", 2500, 1, 0, engine.now_s)

    gained = []
    while "long" not in finished(engine.step()):
        gained.append(dict(engine.progress())["short"])

    assert gained == [2, 3]  # the third chunk ended the long one; a token came with each


def test_a_threshold_shortens_the_steps_that_others_decode_in():
    slow, quick = (
        Engine(EngineConfig(long_prefill_token_threshold=threshold)) for threshold in (0, 256)
    )
    for engine in (slow, quick):
        engine.submit("long", 8000, 1, 0, 0.0)
        engine.advance(0.001)
        engine.submit("urgent", 10, 1, -5, 0.002)

    ttft_s = [
        finished(engine.advance(FOREVER_S))["urgent"].first_token_s for engine in (slow, quick)
    ]

    assert ttft_s[0] > 0.19
    assert ttft_s[1] < 0.03


def test_cached_tokens_are_not_computed_again_but_the_last_one_always_is():
    engine = Engine()
    engine.submit("cached", 160, 1, 0, 0.0, cached_tokens=160)

    ends = finished(engine.advance(FOREVER_S))

    assert ends["cached"].cached_tokens == 144
    assert engine.counters.prompt_tokens == 16


@pytest.mark.parametrize(("prefix_cache", "hit_tokens"), [(True, 96), (False, 0)])
def test_a_known_prefix_is_a_hit_only_where_the_cache_is_on(prefix_cache, hit_tokens):
    engine = Engine(EngineConfig(prefix_cache=prefix_cache))
    engine.submit("one", 200, 2, 0, 0.0, prefix="system", prefix_tokens=100)
    engine.advance(1.0)
    engine.submit("two", 300, 2, 0, 1.0, prefix="system", prefix_tokens=100)
    engine.submit("three", 300, 2, 0, 1.0, prefix="other", prefix_tokens=100)
    engine.submit("four", 300, 2, 0, 1.0, prefix="system", prefix_tokens=40)

    ends = finished(engine.advance(FOREVER_S))

    assert ends["two"].cached_tokens == hit_tokens
    assert ends["three"].cached_tokens == 0
    assert ends["four"].cached_tokens == hit_tokens // 3


def test_the_prefix_used_least_recently_is_forgotten_first():
    engine = Engine(EngineConfig(prefix_cache=True, kv_tokens=640))
    for i, prefix in enumerate(["a", "b", "a", "c", "a", "b"]):
        engine.submit(f"r{i}", 300, 1, 0, float(i), prefix=prefix, prefix_tokens=160)

    ends = finished(engine.advance(FOREVER_S))

    assert [ends[f"r{i}"].cached_tokens for i in range(6)] == [0, 0, 160, 0, 160, 0]


def test_a_pooling_request_ends_with_its_prompt_and_has_no_token():
    engine = Engine()
    engine.submit("embedding", 500, 0, 0, 0.0)

    events = engine.advance(FOREVER_S)

    assert finished(events)["embedding"].output_tokens == 0
    assert not any(isinstance(event, FirstToken) for event in events)
    assert engine.counters.generation_tokens == 0
    assert engine.kv_usage == 0


# ---------------------------------------------------------------- preemption


def crowded(policy: str, numbers: list[int], slots: int = 8) -> Engine:
    """Four requests that start together and outgrow a cache in which three would fit."""
    engine = Engine(EngineConfig(kv_tokens=416, max_num_seqs=slots, scheduling_policy=policy))
    for i, number in enumerate(numbers):
        engine.submit(f"r{i}", 60, 60, number, i / 1_000_000)
    return engine


def test_the_victim_has_the_highest_number_and_among_those_came_last():
    events = crowded("priority", [5, -5, 5, 0]).advance(FOREVER_S)

    assert preempted(events) == ["r2"]


def test_without_a_difference_in_number_the_latest_gives_way():
    events = crowded("priority", [0, 0, 0, 0]).advance(FOREVER_S)

    assert preempted(events) == ["r3"]


def test_under_fcfs_the_last_one_in_gives_way_whatever_its_number():
    events = crowded("fcfs", [5, -5, 5, -1000]).advance(FOREVER_S)

    assert preempted(events) == ["r3"]


def test_the_victim_may_be_the_one_that_asked():
    engine = Engine(EngineConfig(kv_tokens=160, max_num_seqs=8))
    engine.submit("early", 60, 60, 0, 0.0)  # takes its next block at its 6th token
    engine.submit("late", 63, 60, 1, 0.000001)  # and this one at its 3rd

    events = engine.advance(FOREVER_S)

    assert preempted(events)[0] == "late"


def test_a_victim_gives_back_what_it_was_granted_in_the_same_step():
    engine = Engine(EngineConfig(kv_tokens=4 * BLOCK_TOKENS))
    engine.submit("first", 15, 5, 5, 0.0)
    engine.step()
    engine.submit("second", 16, 5, 0, engine.now_s)
    engine.submit("third", 16, 5, 0, engine.now_s)  # in the next step but one, all three grow

    events = engine.advance(FOREVER_S)

    assert preempted(events) == ["first"]


def test_a_victim_in_the_midst_of_its_prompt_frees_only_what_it_held():
    engine = Engine(EngineConfig(kv_tokens=160, long_prefill_token_threshold=16))
    engine.submit("a", 15, 40, 0, 0.0)
    engine.submit("b", 15, 40, 0, 0.0)
    engine.submit("long", 128, 5, 9, 0.0)

    events = engine.advance(FOREVER_S)

    of_long = [type(event) for event in events if event.id == "long"]
    assert of_long[:2] == [Started, Preempted]
    assert engine.kv_usage == 0


def test_a_victim_recomputes_and_still_delivers_every_token_once():
    engine = crowded("priority", [0, 0, 0, 5])

    events = engine.advance(FOREVER_S)

    ends = finished(events)
    assert ends["r3"].preemptions == 1
    assert ends["r3"].output_tokens == 60
    assert sum(isinstance(event, FirstToken) for event in events) == 4
    assert engine.counters.generation_tokens == 4 * 60
    recomputed = engine.counters.prompt_tokens - 4 * 60
    assert 60 < recomputed <= 60 + 60


def test_a_victim_goes_back_to_its_old_place_in_the_line():
    engine = crowded("priority", [0, 0, 0, 5], slots=4)
    engine.advance(0.02)
    engine.submit("later", 16, 2, 5, 0.021)  # would fit when r3 does not, and yet waits for it
    engine.submit("urgent", 16, 2, 1, 0.021)

    events = engine.advance(FOREVER_S)

    assert preempted(events) == ["r3"]
    assert started(events)[-3:] == ["urgent", "r3", "later"]


def test_nothing_is_admitted_in_a_step_that_preempted():
    engine = crowded("priority", [0, 0, 0, 5])
    while engine.next_s is not None and engine.counters.preemptions == 0:
        engine.submit(f"tiny{engine.next_s}", 1, 1, -9, engine.next_s)
        events = engine.advance(engine.next_s)

    at_s = next(event.at_s for event in events if isinstance(event, Preempted))

    assert not [e for e in events if isinstance(e, Started) and e.at_s == at_s]
    assert [e for e in engine.step() if isinstance(e, Started)] == []
    assert started(engine.step())


def test_a_request_that_could_never_run_is_refused():
    engine = Engine(EngineConfig(kv_tokens=160))
    engine.submit("fits", 100, 61, 0, 0.0)

    with pytest.raises(ValueError, match="exceed the KV cache"):
        engine.submit("too long", 100, 62, 0, 0.0)

    assert "fits" in finished(engine.advance(FOREVER_S))


# ---------------------------------------------------------------- aborts


@pytest.mark.parametrize("at_s", [0.0, 0.003, 0.05, 0.5])
def test_an_abort_frees_what_was_held_whatever_the_moment(at_s):
    engine = Engine(EngineConfig(max_num_seqs=2, max_num_batched_tokens=600))
    for i in range(4):
        engine.submit(f"r{i}", 1000 + i, 300, 0, 0.0)
    engine.advance(at_s)

    for i in (2, 0, 3, 1):
        assert engine.abort(f"r{i}", at_s)

    engine.advance(FOREVER_S)
    assert (engine.running, engine.waiting, engine.kv_usage) == (0, 0, 0)
    assert engine.next_s is None


def test_an_abort_in_the_step_that_takes_a_block_frees_that_block_too():
    engine = Engine()
    engine.submit("grows", BLOCK_TOKENS, 10, 0, 0.0)
    engine.step()
    engine.advance(engine.now_s)

    engine.abort("grows", engine.now_s)

    assert engine.kv_usage == 0


def test_an_abort_lets_the_next_one_start():
    engine = one_slot()
    engine.submit("next", 10, 5, 0, 0.02)

    engine.abort("first", 0.5)

    ends = finished(engine.advance(FOREVER_S))
    assert ends["next"].started_s == pytest.approx(0.5, abs=0.01)
    assert "first" not in ends


def test_an_unknown_id_aborts_nothing():
    engine = one_slot()

    assert not engine.abort("other", 0.1)

    assert engine.running == 1


def test_a_known_id_is_refused_until_it_is_gone():
    engine = one_slot()

    with pytest.raises(ValueError, match="known already"):
        engine.submit("first", 10, 5, 0, 0.02)

    engine.abort("first", 0.02)
    engine.submit("first", 10, 5, 0, 0.02)
    assert "first" in finished(engine.advance(FOREVER_S))


def test_a_thousand_aborted_waiters_leave_no_trace_in_the_line():
    engine = one_slot()
    for i in range(1000):
        engine.submit(f"gone{i}", 10, 5, i % 7, 0.02)
    for i in range(1000):
        engine.abort(f"gone{i}", 0.03)
    engine.submit("stays", 10, 5, 9, 0.04)

    assert len(engine._line._heap) < 200
    assert "stays" in finished(engine.advance(FOREVER_S))


# ---------------------------------------------------------------- properties

policies = st.sampled_from(["priority", "fcfs"])
configs = st.builds(
    EngineConfig,
    max_num_seqs=st.integers(1, 6),
    max_num_batched_tokens=st.integers(6, 120),
    kv_tokens=st.integers(160, 640),
    scheduling_policy=policies,
)
sizes = st.tuples(st.integers(1, 90), st.integers(1, 70), st.integers(-2, 2))
hops = st.sampled_from([0.0, 0.0, 0.001, 0.01, 0.0333, 0.25, 1.0])


@st.composite
def arrivals(draw: st.DrawFn) -> list[Arrival]:
    at_s = 0.0
    found = []
    for i, (prompt, output, number) in enumerate(draw(st.lists(sizes, min_size=1, max_size=14))):
        at_s += draw(hops)
        found.append(Arrival(f"r{i:03}", at_s, prompt, output, number))
    return found


@settings(max_examples=80, deadline=None)
@given(configs, arrivals())
def test_it_does_what_the_rules_written_out_naively_do(config, coming):
    reference = ReferenceEngine(config, list(coming))
    reference.run()
    engine = Engine(config)
    for arrival in coming:
        engine.submit(
            arrival.id,
            arrival.prompt_tokens,
            arrival.output_tokens,
            arrival.vllm_priority,
            arrival.at_s,
        )

    events = engine.advance(FOREVER_S)

    ends = {
        end.id: (round(end.at_s * PS), round(end.first_token_s * PS), end.preemptions)
        for end in finished(events).values()
    }
    close = {
        id: (pytest.approx(a, abs=2), pytest.approx(b, abs=2), c)
        for id, (a, b, c) in reference.ends.items()
    }
    assert ends == close
    assert started(events) == reference.order


@settings(max_examples=50, deadline=None)
@given(configs, arrivals(), st.lists(hops, max_size=30))
def test_how_often_it_is_looked_at_changes_nothing(config, coming, looks):
    whole, looked_at = Engine(config), Engine(config)
    for arrival in coming:
        at_s = arrival.at_s
        asked = (arrival.id, arrival.prompt_tokens, arrival.output_tokens, arrival.vllm_priority)
        whole.submit(*asked, at_s)
    events = whole.advance(FOREVER_S)

    seen = []
    moments = sorted({sum(looks[:i]) for i in range(len(looks))})
    for arrival in coming:
        while moments and moments[0] < arrival.at_s:
            seen += looked_at.advance(moments.pop(0))
        asked = (arrival.id, arrival.prompt_tokens, arrival.output_tokens, arrival.vllm_priority)
        looked_at.submit(*asked, arrival.at_s)
    for at_s in moments:
        seen += looked_at.advance(at_s)
    while looked_at.next_s is not None:
        seen += looked_at.step()

    assert seen == events
    assert looked_at.counters == whole.counters


@settings(max_examples=60, deadline=None)
@given(configs, arrivals(), st.data())
def test_every_request_finishes_with_exactly_its_tokens_or_was_aborted(config, coming, data):
    engine = Engine(config)
    events, aborted = [], set()
    for arrival in coming:
        events += engine.advance(arrival.at_s)
        engine.submit(
            arrival.id,
            arrival.prompt_tokens,
            arrival.output_tokens,
            arrival.vllm_priority,
            arrival.at_s,
        )
        if data.draw(st.booleans()):
            victim = data.draw(st.sampled_from(coming)).id
            if engine.abort(victim, arrival.at_s):
                aborted.add(victim)
        assert engine.running <= config.max_num_seqs
        assert 0 <= engine.kv_usage <= 1
        assert engine.kv_usage * (config.kv_tokens // BLOCK_TOKENS) >= engine.running - 1e-9
    events += engine.advance(FOREVER_S)

    ends = finished(events)
    assert set(ends) | aborted == {arrival.id for arrival in coming}
    assert not set(ends) & aborted
    assert (engine.running, engine.waiting, engine.kv_usage) == (0, 0, 0)
    tokens = sum(end.output_tokens for end in ends.values())
    assert engine.counters.generation_tokens >= tokens
    assert aborted or engine.counters.generation_tokens == tokens


# ---------------------------------------------------------------- calibration (Qwen2.5-7B, H200)


def test_a_single_request_gets_150_to_190_tokens_a_second():
    engine = Engine()
    engine.submit("alone", 300, 400, 0, 0.0)

    end = finished(engine.advance(FOREVER_S))["alone"]

    assert 150 < 399 / (end.at_s - end.first_token_s) < 190


def lengths(draw: Random, mean: float) -> int:
    sigma2 = 0.3075  # log-normal, standard deviation 0.6 of the mean
    return max(1, round(mean * draw.lognormvariate(-sigma2 / 2, sigma2**0.5)))


def test_256_at_once_give_10_000_tokens_a_second_in_steps_of_25_ms():
    engine, draw = Engine(), Random(1)
    for i in range(1500):
        engine.submit(f"r{i}", lengths(draw, 500), lengths(draw, 200), 0, 0.0)

    engine.advance(5.0)  # past the prefill of the first 256
    tokens, steps = engine.counters.generation_tokens, engine.counters.steps
    engine.advance(20.0)

    assert engine.running == 256
    assert 9_000 < (engine.counters.generation_tokens - tokens) / 15 < 11_000
    assert 0.022 < 15 / (engine.counters.steps - steps) < 0.028


@pytest.mark.parametrize(
    ("policy", "least_s", "most_s"), [("fcfs", 7.0, 16.0), ("priority", 0.03, 0.2)]
)
def test_urgent_requests_beside_a_backlog_wait_as_measured(policy, least_s, most_s):
    engine, draw = Engine(EngineConfig(scheduling_policy=policy)), Random(2)
    for i in range(1000):
        engine.submit(f"low{i}", lengths(draw, 500), lengths(draw, 200), 5, 0.0)
    at_s = 0.0
    while at_s < 12:
        at_s += draw.expovariate(5)
        engine.submit(f"urgent{at_s}", lengths(draw, 300), lengths(draw, 60), -10, at_s)

    ends = finished(engine.advance(FOREVER_S)).values()

    ttft_s = [end.first_token_s - end.arrived_s for end in ends if end.id.startswith("urgent")]
    assert least_s < median(ttft_s) < most_s


class CountingEngine(Engine):
    begun = 0

    def _begin(self) -> None:
        self.begun += 1
        super()._begin()


def test_steps_in_which_nothing_happens_are_leapt_over():
    engine = CountingEngine(EngineConfig(kv_tokens=10_000_000))
    for i in range(250):
        engine.submit(f"r{i}", 16, 30_000, 0, 0.0)

    engine.advance(FOREVER_S)

    assert engine.counters.generation_tokens == 250 * 30_000
    assert engine.counters.steps == 30_000
    assert engine.begun < 10
