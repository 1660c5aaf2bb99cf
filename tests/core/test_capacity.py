from collections.abc import Iterator
from itertools import islice
from math import exp, log, sqrt
from random import Random
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core import capacity, holdback
from gateway.core.capacity import Law, Scrape, Seen, observe
from gateway.core.engine import Engine, EngineConfig, Finished

QUIET = Scrape(running=100, waiting=0, kv_usage=0.5)


def settled(level: float = 100, **changes: Any) -> Law:
    """A law at rest that polled a quiet engine at 0 ms."""
    law = Law(level=level, ramping=False, last=QUIET, last_at_ms=0, trial=int(level))
    law = replace(law, in_flight=law.base_limit)
    return replace(law, **changes)


def poll(law: Law, scrape: Scrape | None = QUIET, now_ms: int = 500, **seen: Any) -> Law:
    told = {"in_flight": law.base_limit, "blocked": True} | seen
    return observe(law, scrape, Seen(**told), now_ms)


# ------------------------------------------------------------------ lookahead and start


def test_the_lookahead_covers_a_poisson_of_refills():
    law = Law(completions_per_s=50, step_s=0.03)

    assert law.lookahead == 7  # 2.5 on the way and 2.33 standard deviations
    assert law.target_waiting == pytest.approx(2.33 * sqrt(2.5))


def test_an_idle_engine_needs_no_lookahead():
    assert (Law().lookahead, Law().target_waiting) == (0, 1.0)


def test_rates_and_delays_follow_the_counters():
    law = settled(completions_per_s=10, step_s=0.02)

    after = poll(
        law,
        QUIET._replace(completions_total=10, itl_sum_s=3.0, itl_count=100),
    )

    assert after.completions_per_s == pytest.approx(0.7 * 10 + 0.3 * 20)
    assert after.step_s == pytest.approx(0.7 * 0.02 + 0.3 * 0.03)


@pytest.mark.parametrize(
    ("stored", "limit", "ramping"),
    [(None, 8, True), (200, 200, False), (0, 1, False)],
    ids=["cold", "stored", "stored as nothing"],
)
def test_a_law_starts_where_it_last_was_or_cold(stored, limit, ramping):
    law = capacity.start(stored)

    assert (law.base_limit, law.ramping) == (limit, ramping)
    assert law.poll_s == (0.25 if ramping else 0.5)


# ------------------------------------------------------------------ the branches, in order


def test_a_preemption_lowers_the_limit_and_holds_it_for_two_seconds():
    after = poll(settled(ramping=True), QUIET._replace(preemptions_total=3), now_ms=250)

    assert (after.base_limit, after.hold, after.ramping) == (97, 8, False)


def test_a_preemption_costs_at_most_a_twentieth():
    after = poll(settled(), QUIET._replace(preemptions_total=40))

    assert (after.base_limit, after.hold) == (95, 4)


def test_a_preemption_starts_from_the_slots_really_taken():
    after = poll(settled(), QUIET._replace(preemptions_total=1), in_flight=60, blocked=False)

    assert after.base_limit == 59


def test_a_preemption_is_heard_before_a_long_queue():
    after = poll(settled(), QUIET._replace(preemptions_total=1, waiting=50))

    assert after.base_limit == 99


def test_a_long_queue_lands_the_limit_at_once():
    after = poll(settled(level=200, ramping=True), QUIET._replace(waiting=70))

    assert (after.base_limit, after.hold, after.ramping) == (200 - 69, 2, False)


def test_a_queue_no_longer_than_what_was_just_sent_says_nothing_until_the_next_poll():
    burst = QUIET._replace(waiting=70)

    once = poll(settled(level=200, ramping=True, in_flight=100), burst, now_ms=250)
    twice = poll(once, burst, now_ms=500)

    assert (once.base_limit, once.ramping) == (200, True)
    assert (twice.base_limit, twice.ramping) == (200 - 69, False)


def test_a_long_queue_a_second_after_the_last_poll_is_no_burst():
    law = settled(level=200, in_flight=100)

    assert poll(law, QUIET._replace(waiting=70), now_ms=1000).base_limit == 200 - 69


def test_a_queue_of_twice_the_target_and_four_is_not_long_yet():
    after = poll(settled(level=200), QUIET._replace(waiting=6))

    assert after.base_limit == 199  # half of what is too much: 0.5 · (1 - (0 + 6) / 2)


def test_without_a_refused_waiter_the_limit_stays():
    law = settled(idle=3, hold=2)

    after = poll(law, blocked=False)

    assert (after.base_limit, after.idle, after.hold) == (100, 0, 2)


def test_polls_on_hold_are_let_pass():
    once = poll(settled(hold=2))
    twice = poll(once, now_ms=1000)
    then = poll(twice, now_ms=1500)

    assert [law.base_limit for law in (once, twice, then)] == [100, 100, 101]


@pytest.mark.parametrize(
    ("kv_usage", "ramping", "idle", "level"),
    [
        (0.69, True, 0, 200),
        (0.70, True, 0, 101),
        (0.59, False, 3, 108),
        (0.59, False, 2, 101),
        (0.79, False, 3, 108),
        (0.80, False, 9, 101),
        (0.93, True, 9, 100),
    ],
    ids=["ramp", "ramp, memory", "idle", "too shortly", "room yet", "memory", "no memory left"],
)
def test_an_empty_queue_raises_the_limit_as_memory_allows(kv_usage, ramping, idle, level):
    after = poll(settled(ramping=ramping, idle=idle), QUIET._replace(kv_usage=kv_usage))

    assert after.level == pytest.approx(level)


@pytest.mark.parametrize(
    ("waiting", "queued_s", "rate", "change"),
    [
        (3, 0, 20, 0.5 * (2.084 - 1.1)),
        (0, 0.3, 0, 0.5 * (1 - 0.3)),
        (10, 60, 50, -10),
        (1, 0.5, 800, 0),
        (0, 2, 100, 0),
    ],
    ids=["a little under", "a third of the target", "far above", "nearly empty", "in a step"],
)
def test_near_the_target_queue_the_limit_is_corrected_gently(waiting, queued_s, rate, change):
    law = settled(completions_per_s=rate, idle=2)
    counters = {"completions_total": rate / 2, "queue_time_sum_s": queued_s}

    after = poll(law, QUIET._replace(waiting=waiting, **counters))

    if change:
        assert after.level == pytest.approx(100 + change, abs=0.01)
        assert after.idle == 0
    else:
        assert after.idle == 3


@pytest.mark.parametrize(
    ("waiting", "sent", "paced", "level", "ramping"),
    [
        (0, 0, False, 16, True),
        (5, 5, False, 8, True),
        (5, 0, False, 7.25, False),
        (0, 4, True, 9.6, True),
    ],
    ids=["room", "a burst on its way in", "a queue that lasts", "under pace"],
)
def test_a_ramp_ends_by_a_queue_that_lasts(waiting, sent, paced, level, ramping):
    law = settled(level=8, ramping=True, in_flight=8 - sent)

    after = poll(law, QUIET._replace(waiting=waiting), now_ms=250, in_flight=8, paced=paced)

    assert (min(after.level, 16), after.ramping) == (pytest.approx(level, abs=0.5), ramping)


def test_a_ramp_that_pace_has_slowed_never_doubles_again():
    paced = poll(settled(level=60, ramping=True), QUIET, now_ms=250, in_flight=60, paced=True)
    after = poll(paced, QUIET, now_ms=500, in_flight=72)

    assert after.level == pytest.approx(60 * capacity.PACED_RAMP**2)


def test_a_limit_nobody_set_has_an_end():
    after = observe(settled(level=2_000, ramping=True), QUIET, Seen(2_000, True), 250)

    assert after.base_limit == 2_048


def test_a_fixed_limit_replaces_the_law():
    after = observe(settled(), QUIET._replace(waiting=90), Seen(100, True), 500, fixed=32)

    assert after.base_limit == 32


def test_an_engine_that_restarted_is_no_news_of_harm():
    before = settled(last=QUIET._replace(preemptions_total=9, completions_total=500))

    after = poll(before, QUIET._replace(preemptions_total=2))

    assert (after.base_limit, after.completions_per_s) == (101, 0)


def test_refusals_by_the_engine_shrink_the_limit_by_their_number():
    after = poll(settled(), refusals=7, in_flight=93)

    assert (after.base_limit, after.hold) == (93, 2)


@settings(deadline=None, max_examples=150)
@given(
    polls=st.lists(
        st.tuples(
            st.one_of(
                st.none(),
                st.builds(
                    Scrape,
                    running=st.integers(0, 500),
                    waiting=st.integers(0, 500),
                    kv_usage=st.floats(0, 1),
                    preemptions_total=st.integers(0, 50),
                    queue_time_sum_s=st.floats(0, 1e6),
                    completions_total=st.integers(0, 10_000),
                ),
            ),
            st.builds(
                Seen,
                in_flight=st.integers(0, 500),
                blocked=st.booleans(),
                paced=st.booleans(),
                refusals=st.integers(0, 20),
            ),
            st.integers(1, 60_000),
        ),
        max_size=40,
    ),
)
def test_whatever_an_engine_shows_the_limit_stays_between_one_and_the_most(polls):
    law, now_ms = capacity.start(), 0
    for scrape, seen, passed_ms in polls:
        now_ms += passed_ms
        before = law
        law = observe(law, scrape, seen, now_ms)

        assert 1 <= law.base_limit <= capacity.MOST
        assert capacity.PACE_LEAST <= law.pace_tokens_per_s <= capacity.PACE_MOST
        if scrape is None:
            assert law.level <= before.level


# ------------------------------------------------------------------ metrics away


def test_without_metrics_the_limit_is_kept_and_does_not_grow():
    law = settled(proven=60)

    after = poll(law, None, now_ms=29_000)

    assert (after.base_limit, after.is_blind) == (100, False)


def test_without_metrics_refusals_still_shrink_the_limit():
    assert poll(settled(), None, refusals=4, in_flight=96).base_limit == 96


def test_after_thirty_seconds_without_metrics_only_a_proven_limit_is_trusted():
    after = poll(settled(proven=60), None, now_ms=30_000)

    assert (after.base_limit, after.is_blind) == (60, True)


def test_a_proven_limit_never_raises_the_one_in_force():
    assert poll(settled(proven=300), None, now_ms=60_000).base_limit == 100


def test_metrics_that_come_back_are_watched_for_two_polls_first():
    away = poll(settled(), None, now_ms=40_000)

    back = poll(away, now_ms=40_500)

    assert (back.is_blind, back.base_limit, back.hold) == (False, 100, 1)
    assert poll(poll(back, now_ms=41_000), now_ms=41_500).base_limit == 101


def test_an_engine_whose_metrics_never_came_keeps_its_start():
    law = capacity.start()
    for second in range(100):
        law = poll(law, None, now_ms=1000 * second)

    assert (law.base_limit, law.is_blind) == (8, True)


def test_a_minute_without_preemption_proves_a_limit():
    law = settled()
    for at_ms in range(500, 61_000, 500):
        law = poll(law, now_ms=at_ms, blocked=False)

    assert law.proven == 100


def test_a_preemption_begins_the_minute_again():
    law = settled()
    for at_ms in range(500, 61_000, 500):
        scrape = QUIET._replace(preemptions_total=float(at_ms >= 30_000))
        law = poll(law, scrape, now_ms=at_ms, blocked=False)

    assert law.proven is None


def test_a_limit_that_fell_in_its_minute_is_proven_as_it_was_at_its_lowest():
    law = settled()
    for at_ms in range(500, 61_000, 500):
        waiting = 5 if at_ms == 30_000 else 0
        law = poll(law, QUIET._replace(waiting=waiting), now_ms=at_ms, blocked=at_ms == 30_000)

    assert (law.base_limit, law.proven) == (99, 99)


def test_an_outage_begins_the_minute_again():
    law = settled()
    for at_ms in range(500, 61_000, 500):
        scrape = None if at_ms == 30_000 else QUIET
        law = poll(law, scrape, now_ms=at_ms, blocked=False)

    assert law.proven is None


def test_a_stored_limit_counts_as_proven():
    law = replace(capacity.start(90), level=130, last=QUIET, last_at_ms=0)

    assert poll(law, None, now_ms=30_000).base_limit == 90


def test_a_limit_that_still_climbs_is_not_proven():
    law = settled(level=10, trial=10)
    for at_ms in range(500, 61_000, 500):
        law = replace(poll(law, now_ms=at_ms, blocked=False), level=law.level * 1.03)

    assert law.proven is None


# ------------------------------------------------------------------ engines without any metrics


def test_answers_alone_raise_a_limit_by_one_and_lower_it_by_a_tenth():
    law = capacity.start()

    up = capacity.observe_answers(law, Seen(8, True), 500, cap=64)
    down = capacity.observe_answers(up, Seen(20, True, refusals=2), 1000, cap=64)

    assert (up.base_limit, down.level, down.hold) == (9, pytest.approx(8.1), 2)


def test_answers_alone_never_pass_the_static_cap():
    law = capacity.start()
    for at_ms in range(0, 60_000, 500):
        law = capacity.observe_answers(law, Seen(law.base_limit, True), at_ms, cap=64)

    assert law.base_limit == 64


# ------------------------------------------------------------------ slots and the engine's count


@pytest.mark.parametrize(("in_flight", "drift"), [(70, 30), (130, -30), (98, 0), (104, 0)])
def test_a_lasting_disagreement_with_the_engine_is_a_slot_drift(in_flight, drift):
    law = settled()
    for turn in range(1, 4):
        assert law.slot_drift == 0
        law = poll(law, now_ms=500 * turn, in_flight=in_flight, blocked=False)

    assert law.slot_drift == drift
    assert poll(law, now_ms=2000, in_flight=100, blocked=False).slot_drift == 0


def test_requests_on_their_way_to_the_engine_are_no_drift():
    law = settled(completions_per_s=200, step_s=0.05)
    for turn in range(1, 5):
        scrape = QUIET._replace(completions_total=100 * turn)
        law = poll(law, scrape, now_ms=500 * turn, in_flight=115, blocked=False)

    assert law.slot_drift == 0


# ------------------------------------------------------------------ pace


@pytest.mark.parametrize(
    ("step_s", "waiting", "paced", "now_ms", "rate"),
    [
        (0.02, 0, True, 500, 25_000),
        (0.02, 0, True, 250, 22_360),
        (0.02, 0, True, 4000, 25_000),
        (0.02, 0, False, 500, 20_000),
        (0.02, 3, True, 500, 20_000),
        (0.05, 0, True, 500, 20_000),
        (0.08, 0, True, 500, 17_000),
        (0.08, 0, False, 500, 20_000),
    ],
    ids=[
        "room",
        "room, quick poll",
        "room, slow poll",
        "did not bind",
        "some wait",
        "longer steps",
        "long steps",
        "long steps, unpaced",
    ],
)
def test_the_pace_follows_the_engines_steps_where_it_binds(step_s, waiting, paced, now_ms, rate):
    scrape = QUIET._replace(waiting=waiting, itl_sum_s=100 * step_s, itl_count=100)

    after = poll(settled(quiet_step_s=0.01), scrape, now_ms=now_ms, paced=paced)

    assert after.pace_tokens_per_s == pytest.approx(rate, rel=1e-3)


def test_a_slow_engines_own_step_is_no_long_one():
    scrape = QUIET._replace(itl_sum_s=8.0, itl_count=100)

    after = poll(settled(quiet_step_s=0.05), scrape, paced=True)

    assert after.pace_tokens_per_s == 25_000


def test_a_law_survives_a_trip_through_json():
    law = poll(settled(proven=90), QUIET._replace(waiting=3, queue_time_sum_s=1.5))

    assert msgspec.json.decode(msgspec.json.encode(law), type=Law) == law


# ------------------------------------------------------------------ the loop, closed
# One gateway with an endless backlog before one modelled engine; the gateway part of a refill is
# 20 ms.  Gauges are read as vLLM sets them, after it has scheduled: what arrived during a step is
# on its way, not waiting.

SHAPES = {"chat": (500, 200), "short": (200, 20), "long": (4000, 800)}  # prompt, output tokens
ENOUGH = {"chat": 4_000, "short": 12_000, "long": 1_000}  # for a minute and more
KNEE = {"chat": 126, "short": 126, "long": 76}  # 128 sequences, or memory
ENGINE = EngineConfig(max_num_seqs=128, kv_tokens=400_000, scheduling_policy="fcfs")
TICK_MS = 5


def lengths(shape: str, seed: int = 1) -> Iterator[tuple[int, int]]:
    """Log-normal, coefficient of variation 0.6."""
    random, sigma = Random(seed), sqrt(log(1.36))
    while True:
        prompt, output = (
            round(mean * exp(random.gauss(-sigma * sigma / 2, sigma))) for mean in SHAPES[shape]
        )
        yield min(max(1, prompt), 20_000), min(max(1, output), 4_000)


class Sample(NamedTuple):
    at_s: float
    in_flight: int
    waiting: int
    generated: int
    law: Law


class Loop:
    """Runs the law against the engine.  Afterwards ``samples`` has one row a tick."""

    def __init__(
        self,
        *backlog: tuple[float, str],  # from when on, which shape
        poll_s: float | None = None,
        outage_s: tuple[float, float] = (0, 0),
        fixed: int | None = None,
        urgent_per_s: float = 0,
        reserves: bool = True,  # holdback and pace
        stored: int | None = None,
    ) -> None:
        self.backlog = [(at_s, lengths(shape)) for at_s, shape in backlog]
        self.poll_s, self.outage_s, self.fixed = poll_s, outage_s, fixed
        self.reserves = reserves
        self.engine = Engine(ENGINE)
        self.law, self.reserve = capacity.start(stored), holdback.Reserve()
        self.in_flight, self.held_back, self.credit = 0, 1, float(capacity.PACE_BURST_TOKENS)
        self.prompts: dict[str, int] = {}  # of low requests in flight
        self.leaving: list[tuple[float, Finished]] = []
        self.samples: list[Sample] = []
        self.urgent_ttft_s: list[float] = []
        self.urgent_at_s: list[float] = []
        random, at_s = Random(5), 0.0
        while urgent_per_s and at_s < 120:
            at_s += random.expovariate(urgent_per_s)
            self.urgent_at_s.append(at_s)
        self.urgent: list[float] = []  # waiting in the gateway
        self.submitted = 0

    def run(self, seconds: float) -> "Loop":
        next_poll_s, steps, blocked, paced = 0.25, -1, False, False
        running = waiting = 0
        for tick in range(round(seconds * 1000 / TICK_MS)):
            now_s = tick * TICK_MS / 1000
            finished = [e for e in self.engine.advance(now_s) if isinstance(e, Finished)]
            self.leaving += [(event.at_s + 0.02, event) for event in finished]
            if self.engine.counters.steps != steps:
                steps = self.engine.counters.steps
                running, waiting = self.engine.running, self.engine.waiting
            self._release(now_s)
            while self.urgent_at_s and self.urgent_at_s[0] <= now_s:
                self.urgent.append(self.urgent_at_s.pop(0))
                self.reserve = holdback.arrived(self.reserve, round(now_s * 1000))
            hit_limit, hit_pace = self._dispatch(now_s)
            blocked, paced = blocked or hit_limit, paced or hit_pace
            if now_s >= next_poll_s:
                scrape = self._scrape(running, waiting, now_s)
                seen = Seen(self.in_flight, blocked, paced)
                self.law = observe(self.law, scrape, seen, round(now_s * 1000), fixed=self.fixed)
                limits = [self.law.base_limit]
                self.held_back = holdback.share_out(
                    self.reserve, limits, 0.05, round(now_s * 1000)
                )[0][0]
                next_poll_s = now_s + (self.poll_s or self.law.poll_s)
                blocked = paced = False
            generated = self.engine.counters.generation_tokens
            self.samples.append(Sample(now_s, self.in_flight, waiting, generated, self.law))
        return self

    def goodput(self, begin_s: float, end_s: float) -> float:
        """Output tokens per second."""
        at = [self.samples[round(s * 1000 / TICK_MS)].generated for s in (begin_s, end_s)]
        return (at[1] - at[0]) / (end_s - begin_s)

    def reaches(self, in_flight: float) -> float:
        return next((s.at_s for s in self.samples if s.in_flight >= in_flight), float("inf"))

    def mean_waiting(self, begin_s: float) -> float:
        found = [s.waiting for s in self.samples if s.at_s >= begin_s]
        return sum(found) / len(found)

    def _release(self, now_s: float) -> None:
        for _, event in [left for left in self.leaving if left[0] <= now_s]:
            self.in_flight -= 1
            self.credit += self.prompts.pop(event.id, 0)
            if event.id.startswith("u"):
                self.urgent_ttft_s.append(event.first_token_s - float(event.id[1:]))
                self.reserve = holdback.finished(self.reserve, event.at_s - event.arrived_s)
        self.leaving = [left for left in self.leaving if left[0] > now_s]

    def _dispatch(self, now_s: float) -> tuple[bool, bool]:
        """Fill what is free; whether the limit, whether the pace stopped the low backlog."""
        room = self.held_back if self.reserves else 0
        while self.urgent and self.in_flight < self.law.base_limit + room:
            self.engine.submit(f"u{self.urgent.pop(0)}", 300, 60, 0, now_s)
            self.in_flight += 1
        if self.urgent:
            return True, False
        earned = self.law.pace_tokens_per_s * TICK_MS / 1000
        self.credit = max(self.credit, min(self.credit + earned, capacity.PACE_BURST_TOKENS))
        requests = [found for at_s, found in self.backlog if at_s <= now_s][-1]
        while self.in_flight < self.law.base_limit:
            if self.credit <= 0 and self.reserves:
                return False, True
            prompt, output = next(requests)
            self.submitted += 1
            self.engine.submit(str(self.submitted), prompt, output, 0, now_s)
            self.prompts[str(self.submitted)] = prompt
            self.credit -= prompt
            self.in_flight += 1
        return True, False

    def _scrape(self, running: int, waiting: int, now_s: float) -> Scrape | None:
        if self.outage_s[0] <= now_s < self.outage_s[1]:
            return None
        count = self.engine.counters
        return Scrape(
            running,
            waiting,
            self.engine.kv_usage,
            count.preemptions,
            count.queue_time_s,
            count.finished,
            now_s,
            count.steps,
        )


@pytest.fixture(scope="module")
def direct_goodput() -> dict[str, float]:
    """What the engine gives when everything waits inside it, 20 s to 60 s."""
    found = {}
    for shape in SHAPES:
        engine = Engine(ENGINE)
        for number, (prompt, output) in enumerate(islice(lengths(shape), ENOUGH[shape])):
            engine.submit(str(number), prompt, output)
        engine.advance(20)
        early = engine.counters.generation_tokens
        engine.advance(60)
        found[shape] = (engine.counters.generation_tokens - early) / 40
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_a_bounded_engine_does_as_much_as_an_unbounded_one(shape, direct_goodput):
    loop = Loop((0, shape)).run(61)

    assert loop.goodput(20, 60) >= 0.98 * direct_goodput[shape]
    assert loop.mean_waiting(20) <= loop.law.lookahead


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cold_start_is_over_within_twenty_seconds(shape):
    loop = Loop((0, shape)).run(21)

    assert loop.reaches(KNEE[shape] / 2) <= 6
    assert loop.reaches(KNEE[shape]) <= 20


def test_a_limit_that_is_too_low_would_be_seen(direct_goodput):
    loop = Loop((0, "chat"), fixed=100).run(61)

    assert loop.goodput(20, 60) < 0.97 * direct_goodput["chat"]


def test_a_limit_that_is_too_high_would_be_seen():
    loop = Loop((0, "chat"), fixed=200).run(30)

    assert loop.mean_waiting(20) > 5 * loop.law.lookahead


@pytest.mark.parametrize("poll_s", [0.25, 0.5, 1.0, 2.0])
def test_slower_polls_cost_little(poll_s, direct_goodput):
    loop = Loop((0, "chat"), poll_s=poll_s).run(61)

    assert loop.goodput(20, 60) >= 0.97 * direct_goodput["chat"]


def test_a_minute_without_metrics_costs_next_to_nothing():
    loop = Loop((0, "chat"), outage_s=(90, 150)).run(171)
    blind = [sample for sample in loop.samples if sample.law.is_blind]

    assert blind[-1].at_s - blind[0].at_s == pytest.approx(30, abs=1)
    assert loop.goodput(90, 170) >= 0.97 * loop.goodput(30, 90)


def test_the_law_follows_a_change_of_traffic(direct_goodput):
    loop = Loop((0, "chat"), (30, "long"), (110, "short")).run(151)

    assert loop.goodput(70, 110) >= 0.98 * direct_goodput["long"]
    assert loop.goodput(125, 150) >= 0.98 * direct_goodput["short"]
    assert loop.mean_waiting(125) <= loop.law.lookahead


def test_urgent_requests_find_room_beside_a_cold_backlog():
    reserved = Loop((0, "chat"), stored=132, urgent_per_s=3).run(20)
    bare = Loop((0, "chat"), stored=132, urgent_per_s=3, reserves=False).run(20)

    assert max(reserved.urgent_ttft_s) < 0.35
    assert max(bare.urgent_ttft_s) > 1.0  # every slot is taken and nothing finishes yet
    assert reserved.goodput(5, 19) >= 0.98 * bare.goodput(5, 19)
