"""How many slots a backend gets: lookahead, control law, pace.

Pure control: numbers scraped from an engine and seen by the gateway go in, one small frozen value
comes out.  Nothing is scraped here and nobody is dispatched.  This is control, not order, so floats
are allowed inside; what leaves (``Law.base_limit``, held-back slots) is whole.

A backend's limit is M + h.  The base limit M is what low tiers may fill: the engine's running
capacity R and a lookahead B, the few requests that wait in the engine so that a freed sequence
finds work at once.  h lies above it and is for urgent tiers alone.  Latency is no signal of a full
engine (it grows with output length and batch, and more batch raises throughput), so the law steers
by the engine's own queue, its KV cache and its preemptions.

How large h is: ``holdback``.  What only the shell can know: ``Seen``, one a backend and poll.
"""

from math import ceil, sqrt
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

COLD_START = 8
MOST = 2048  # base limit where nobody sets another: twice vLLM's largest default max_num_seqs
NEVER_DRY = 2.33  # standard deviations of a Poisson: dry in less than 1 % of refills
POLL_S, RAMP_POLL_S = 0.5, 0.25
REFILL_S = 0.02  # from a reply's last byte to the next request in the engine's queue
BLIND_AFTER_MS = 30_000  # without metrics: from here on only a proven limit is trusted
PROVEN_AFTER_MS = 60_000
DRIFT_POLLS = 3
PACE_START, PACE_LEAST, PACE_MOST = 20_000.0, 10_000.0, 45_000.0  # prompt tokens per second
# An engine step under pace is short below the first, too long above the second: an urgent first
# token takes about three.  An engine whose unloaded step is longer gets two and three of those.
SHORT_STEP_S, LONG_STEP_S = 0.03, 0.05
PACED_RAMP = 1.2  # by how much M grows a poll once pace has been what limits
PACE_BURST_TOKENS = 8_192  # vLLM's default max_num_batched_tokens


class Scrape(NamedTuple):
    """One reading of vLLM's ``/metrics``; the totals are counters as they stand there."""

    running: int  # vllm:num_requests_running, as of the end of an engine step, like all gauges
    waiting: int  # vllm:num_requests_waiting, of the reason "capacity" where it is labelled
    kv_usage: float = 0.0  # vllm:kv_cache_usage_perc, 0 to 1
    preemptions_total: float = 0.0  # vllm:num_preemptions_total
    queue_time_sum_s: float = 0.0  # vllm:request_queue_time_seconds_sum
    completions_total: float = 0.0  # vllm:request_success_total, all reasons
    itl_sum_s: float = 0.0  # vllm:inter_token_latency_seconds
    itl_count: float = 0.0


class Seen(NamedTuple):
    """What the gateway itself saw of a backend, read together with the scrape.

    The engine counts sequences, and so does ``in_flight``: were a request for 32 choices one, the
    31 that wait for it in the engine would read as a queue that throws M to the floor.
    """

    in_flight: int  # slots taken, raised at dispatch, low and urgent together
    blocked: bool  # since the last poll a waiter was refused a slot because in_flight >= M
    paced: bool = False  # since the last poll a low request waited for pace credit alone
    refusals: int = 0  # 429, and 503 for overload, since the last poll


class Law(Struct, frozen=True, kw_only=True):
    """The state of one backend's law.  Plain numbers: it survives a trip through JSON."""

    level: float = COLD_START  # M before rounding: corrections may be less than one slot
    ramping: bool = True
    ramp_is_paced: bool = False  # pace has bound in this ramp
    hold: int = 0  # polls with news to let pass before moving again
    idle: int = 0  # polls in a row in which the engine's queue was near empty
    completions_per_s: float = 0.0
    step_s: float = 0.02  # one engine step: the mean inter-token latency
    fresh_step_s: float = 0.0  # the same since the last poll alone; 0: no token came
    quiet_step_s: float = 1.0  # the shortest of those, slowly forgotten
    pace_tokens_per_s: float = PACE_START
    last: Scrape | None = None
    last_at_ms: int | None = None  # of ``last``, or of the first poll while there is none
    blind_ms: int = 0  # how long metrics have been away; 0: they are here
    proven: int | None = None  # the last M that ran 60 s without a preemption
    trial: int | None = None  # the M that may become it, and since when
    trial_at_ms: int = 0
    in_flight: int = 0  # at the last poll
    gap: int = 0  # engine's requests minus ours
    gap_polls: int = 0  # polls in a row in which the two disagreed

    @property
    def base_limit(self) -> int:
        return max(1, int(self.level + 0.5))

    @property
    def refills(self) -> float:
        """λ·d: how many slots are free at a time because what follows is on its way."""
        return self.completions_per_s * (REFILL_S + self.step_s)

    @property
    def lookahead(self) -> int:
        """B: requests under way or waiting in the engine when all is well."""
        return ceil(self.refills + NEVER_DRY * sqrt(self.refills))

    @property
    def target_waiting(self) -> float:
        """T: the part of B that stands in the engine's queue, never under one."""
        return max(1.0, NEVER_DRY * sqrt(self.refills))

    @property
    def poll_s(self) -> float:
        return RAMP_POLL_S if self.ramping else POLL_S

    @property
    def is_blind(self) -> bool:
        """Metrics have been away so long that somebody should look."""
        return self.blind_ms >= BLIND_AFTER_MS

    @property
    def slot_drift(self) -> int:
        """Requests the engine has beyond ours, lasting; below 0 we hold slots it does not know.

        Above 0 another client uses this backend.  Slots are never corrected by it.
        """
        return self.gap if self.gap_polls >= DRIFT_POLLS else 0


def start(stored: int | None = None) -> Law:
    """Begin at what this backend and model last had, or cold; cold too when a breaker reopens."""
    if stored is None:
        return Law()
    return Law(level=max(1, stored), ramping=False, proven=max(1, stored))


def observe(
    law: Law,
    scrape: Scrape | None,
    seen: Seen,
    now_ms: int,
    *,
    fixed: int | None = None,
) -> Law:
    """Take one poll into account.  ``scrape`` is None when the engine did not show its metrics;
    ``fixed`` replaces the law by an administrator's number."""
    if scrape is None:
        after = _without_metrics(law, seen, now_ms)
    else:
        after = _steer(_measure(law, scrape, seen, now_ms), law, scrape, seen, now_ms)
        after = _pace(after, scrape, seen, _elapsed_s(law, now_ms))
    level = float(fixed) if fixed is not None else max(1.0, min(after.level, MOST))
    return _prove(replace(after, level=level), law, scrape, now_ms)


def observe_answers(law: Law, seen: Seen, now_ms: int, *, cap: int) -> Law:
    """Steer an engine that has no metrics at all: up by one a poll, down a tenth at a refusal.

    Additive increase and multiplicative decrease finds a limit only where the engine says 429 or
    503; an engine that never does gets the static ``cap``.
    """
    level, hold = law.level, law.hold
    if seen.refusals:
        level, hold = 0.9 * min(level, seen.in_flight + seen.refusals), 2
    elif seen.blocked and hold:
        hold -= 1
    elif seen.blocked:
        level += 1
    return replace(
        law, level=max(1.0, min(level, cap)), hold=hold, ramping=False, last_at_ms=now_ms
    )


def _without_metrics(law: Law, seen: Seen, now_ms: int) -> Law:
    """Keep M and never halt: an engine whose metrics are away usually serves on."""
    last_at_ms = now_ms if law.last_at_ms is None else law.last_at_ms
    blind_ms = max(1, now_ms - last_at_ms)
    level = law.level
    if seen.refusals:
        level = min(level, seen.in_flight + seen.refusals) - seen.refusals
    if blind_ms >= BLIND_AFTER_MS and law.proven is not None:
        level = min(level, law.proven)
    return replace(law, level=level, last_at_ms=last_at_ms, blind_ms=blind_ms)


def _measure(law: Law, scrape: Scrape, seen: Seen, now_ms: int) -> Law:
    """Bring the rates, the refill delay and the count of slots up to date; M stays."""
    rate, step_s, fresh_step_s, quiet_step_s = (
        law.completions_per_s, law.step_s, 0.0, law.quiet_step_s
    )  # fmt: skip
    if law.last is not None and not _restarted(law.last, scrape):
        completed = scrape.completions_total - law.last.completions_total
        fresh = completed / _elapsed_s(law, now_ms)
        rate = 0.7 * rate + 0.3 * fresh if rate else fresh
        tokens = scrape.itl_count - law.last.itl_count
        if tokens:
            fresh_step_s = (scrape.itl_sum_s - law.last.itl_sum_s) / tokens
            step_s = 0.7 * step_s + 0.3 * fresh_step_s
            quiet_step_s = min(1.002 * quiet_step_s, fresh_step_s)

    # λ·d of ours are on the way to the engine in good order, so they are no disagreement.
    gap = scrape.running + scrape.waiting - seen.in_flight
    tolerated = max(2.0, 0.05 * seen.in_flight)
    disagrees = gap > tolerated or -gap > tolerated + rate * (REFILL_S + step_s)
    return replace(
        law,
        completions_per_s=rate,
        step_s=step_s,
        fresh_step_s=fresh_step_s,
        quiet_step_s=quiet_step_s,
        last=scrape,
        last_at_ms=now_ms,
        blind_ms=0,
        hold=max(law.hold, 2) if law.blind_ms else law.hold,
        in_flight=seen.in_flight,
        gap=gap,
        gap_polls=law.gap_polls + 1 if disagrees else 0,
    )


def _steer(law: Law, before: Law, scrape: Scrape, seen: Seen, now_ms: int) -> Law:
    """Move M by one poll's news.  The order of the branches is the law: harm first.

    At rest in_flight = R + λd on the way + T waiting, so ``in_flight - (waiting - T)`` is the level
    of rest at once.  A queue no longer than what was sent since the last poll may be a burst on its
    way in, and landing on that would throw M to the floor (modelled: 24-40 s to climb back), so it
    has until the next poll to drain.  Without ``blocked`` a poll says nothing, for M did not bind.
    What arrives while a step runs waits for its end and is no queue, hence less λ times a step;
    without that M rested where the engine was half empty (measured: 86 % of goodput, short replies).

    A ramp doubles M until a queue lasts that was not sent since the last poll: one poll that met a
    burst on its way in used to end it at 8 slots.  Once pace has bound it is gentle, for N follows M
    slowly and the queue shows a poll late: doubling past the engine's slots put 90 requests into its
    queue (measured), and urgent ones found no slot for 1.3 s.  It stays so: where M and pace bound by
    turns, M doubled between, and the credit saved up meanwhile made steps of 0.08 s (measured).
    """
    known = before.last is not None and not _restarted(before.last, scrape)
    elapsed_s = _elapsed_s(before, now_ms)
    preempted = queued = 0.0
    if known and before.last is not None:
        preempted = scrape.preemptions_total - before.last.preemptions_total
        queued = (scrape.queue_time_sum_s - before.last.queue_time_sum_s) / elapsed_s
    level, target, waiting = law.level, law.target_waiting, scrape.waiting
    sent = seen.in_flight - before.in_flight

    if preempted:
        level = max(1.0, min(level, seen.in_flight) - min(preempted, 0.05 * level))
        hold = max(4, ceil(2 / elapsed_s))
        return replace(law, level=level, hold=hold, ramping=False)
    if waiting > 2 * target + 4:
        if waiting <= sent and elapsed_s < 1:
            return law
        level = max(1.0, seen.in_flight - (waiting - target))
        return replace(law, level=level, hold=2, ramping=False)
    if seen.refusals:
        level = max(1.0, min(level, seen.in_flight + seen.refusals) - seen.refusals)
        return replace(law, level=level, hold=2, ramping=False)
    if not seen.blocked:
        return replace(law, idle=0)
    if law.hold:
        return replace(law, hold=law.hold - 1)

    lasts = waiting > max(target, sent)
    if law.ramping and not lasts and scrape.kv_usage < 0.7:
        if waiting > target / 2:
            return law
        paced = law.ramp_is_paced or seen.paced
        return replace(law, level=level * (PACED_RAMP if paced else 2), ramp_is_paced=paced)

    # By Little the growth of summed queue time per second is the mean number waiting.
    typical = max(0.0, (queued + waiting) / 2 - law.completions_per_s * law.step_s)
    if typical >= target / 4:
        correction = max(-0.10 * level, min(0.05 * level, 0.5 * (target - typical)))
        return replace(law, level=level + correction, idle=0, ramping=False)
    idle = law.idle + 1
    if idle >= 4 and scrape.kv_usage < 0.8:
        level += max(1.0, 0.08 * level)
    elif scrape.kv_usage < 0.93:
        level += max(1.0, 0.01 * level)
    return replace(law, level=level, idle=idle, ramping=law.ramping and not lasts)


def _pace(law: Law, scrape: Scrape, seen: Seen, elapsed_s: float) -> Law:
    """Set the rate at which low work may grow, in prompt tokens per second.

    The rate follows the length of the engine's steps, and only on polls in which it bound: short
    steps under a rate that held nobody back say nothing about the rate.  The engine's queue is no measure: it stays empty while a step takes a whole budget of
    prompt tokens, and by then the rate had tripled and steps took 0.13 s (measured).
    """
    rate = law.pace_tokens_per_s
    if seen.paced and law.fresh_step_s > max(LONG_STEP_S, 3 * law.quiet_step_s):
        rate *= 0.85
    elif (
        seen.paced
        and scrape.waiting == 0
        and law.fresh_step_s < max(SHORT_STEP_S, 2 * law.quiet_step_s)
    ):
        rate *= 1.25 ** min(1.0, elapsed_s / 0.5)
    return replace(law, pace_tokens_per_s=max(PACE_LEAST, min(rate, PACE_MOST)))


def _prove(law: Law, before: Law, scrape: Scrape | None, now_ms: int) -> Law:
    """Remember the M that ran 60 s without a preemption: what an outage of metrics falls back on.

    A trial follows M down, and starts anew when M has risen by a tenth: M while it climbed says
    little about where it came to rest.
    """
    if scrape is None:
        return law
    limit, trial = law.base_limit, law.trial
    preempted = before.last is not None and (
        scrape.preemptions_total > before.last.preemptions_total
    )
    if trial is None or preempted or law.ramping or before.blind_ms or limit > 1.1 * trial + 1:
        return replace(law, trial=limit, trial_at_ms=now_ms)
    trial = min(trial, limit)
    if now_ms - law.trial_at_ms < PROVEN_AFTER_MS:
        return replace(law, trial=trial)
    return replace(law, proven=trial, trial=limit, trial_at_ms=now_ms)


def _elapsed_s(law: Law, now_ms: int) -> float:
    """Since the last scrape; before the first one, the usual time between two."""
    return POLL_S if law.last_at_ms is None else max(1, now_ms - law.last_at_ms) / 1000


def _restarted(before: Scrape, scrape: Scrape) -> bool:
    """Counters only fall when the engine's process began anew."""
    pairs = zip(before[3:], scrape[3:], strict=True)
    return any(after < earlier for earlier, after in pairs)
