"""How fast the scheduler is on this machine: one core, pure Python, nothing awaited.

    python -m tests.bench.bench_scheduler

A full line is kept full: each round gives one slot back, which dispatches the next, and submits
another.  ``pick`` times ``apply([Release])``; the longest of them is mostly Python's garbage
collector going through 100,000 requests.  ``placed`` asks of every waiting request where its words lead, as
``gateway.reclassify`` does after an edit, and moves each of them to another tier.  Times are of the processor, not of the clock on the
wall, so that a busy machine does not change them.
"""

import random
from time import process_time

from msgspec.structs import replace

from gateway.core.ops import Dispatch, Edit, Move, Op, Release, SetBackend, Submit
from gateway.core.outlook import look
from gateway.core.policy import (
    KeyRules,
    Policy,
    Statement,
    TenantRules,
    Tier,
    default_policy,
    resolve,
)
from gateway.core.scheduler import Scheduler

SLOTS = 64
ROUNDS = 30_000
SUBMITS_PER_S = 250  # virtual: slow enough for ageing, expiry and rescue to take part
AT_ONCE = 100  # moved in one turn, as in gateway.reclassify


def roomy(tier: Tier) -> Tier:
    return replace(tier, max_waiting=1_000_000, max_wait_s=86_400)


def line_of(waiting: int, flows: int) -> tuple[Scheduler, list[str], list[Op], int]:
    policy = default_policy()
    policy = replace(
        policy, tiers=tuple(roomy(tier) for tier in policy.tiers), max_waiting=1_000_000
    )
    names = [tier.name for tier in policy.tiers]
    tenants = max(1, flows // len(names))
    draw = random.Random(7)
    scheduler = Scheduler(policy, 1)
    scheduler.apply([SetBackend("gpu", SLOTS)], 0)

    def another(number: int) -> Submit:
        cost = draw.randrange(50, 2_000)
        return Submit(f"r{number}", draw.choice(names), f"t{draw.randrange(tenants)}", cost)

    running: list[str] = []
    for number in range(waiting + SLOTS):
        for decision in scheduler.apply([another(number)], number // 100):
            if isinstance(decision, Dispatch):
                running.append(decision.id)
    fresh: list[Op] = [another(waiting + SLOTS + number) for number in range(ROUNDS)]
    return scheduler, running, fresh, (waiting + SLOTS) // 100


def percentile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1e6


def measure(waiting: int, flows: int) -> str:
    scheduler, running, fresh, start_ms = line_of(waiting, flows)
    picks: list[float] = []
    dispatched = gone = 0
    began = process_time()
    for number, submit in enumerate(fresh):
        now_ms = start_ms + number * 1000 // SUBMITS_PER_S
        before = process_time()
        decisions = scheduler.apply([Release(running[number], 900)], now_ms)
        picks.append(process_time() - before)
        decisions += scheduler.apply([submit], now_ms)
        for decision in decisions:
            if isinstance(decision, Dispatch):
                running.append(decision.id)
                dispatched += 1
            else:
                gone += 1
    took_s = process_time() - began

    before = process_time()
    line = look(scheduler, now_ms)
    look_ms = (process_time() - before) * 1e3

    turns: list[float] = []
    edited = Policy(tiers=scheduler.line.policy.tiers, default_tier="standard", rescue_share=0.2)
    ops: list[Op] = [Edit(replace(edited, max_waiting=1_000_000), 2)]
    while ops or scheduler.wake_at_ms == now_ms:
        before = process_time()
        scheduler.apply(ops, now_ms)
        turns.append((process_time() - before) * 1e3)
        ops = []
    moves = placed_anew(scheduler, now_ms)
    return (
        f"{line.waiting:>9,} {len(scheduler.line.flows):>7,} {dispatched / took_s:>15,.0f} "
        f"{percentile(picks, 0.5):>8.0f} {percentile(picks, 0.99):>8.0f} {max(picks) * 1e6:>8.0f} "
        f"{gone:>8,} {look_ms:>8.1f} {sum(turns):>9.0f} {max(turns):>10.1f} "
        f"{sum(moves):>10.0f} {max(moves):>10.1f}"
    )


def placed_anew(scheduler: Scheduler, now_ms: int) -> list[float]:
    """Processor time of each turn, in ms, in which so many are moved as the gateway moves at once."""
    policy = scheduler.line.policy
    names = [tier.name for tier in policy.tiers]
    elsewhere = dict(zip(names, names[1:] + names[:1], strict=True))
    said = Statement(endpoint="/v1/chat/completions", task_type="chat")
    ids = [id for id in scheduler.requests if scheduler.waits(id)]
    turns: list[float] = []
    for start in range(0, len(ids), AT_ONCE):
        before = process_time()
        moves: list[Op] = []
        for id in ids[start : start + AT_ONCE]:
            resolve(policy, TenantRules(), KeyRules(), said)
            moves.append(Move(id, elsewhere[scheduler.requests[id].flow.tier.rules.name]))
        scheduler.apply(moves, now_ms)
        turns.append((process_time() - before) * 1e3)
    return turns


if __name__ == "__main__":
    print(
        "  waiting   flows  dispatch+submit/s  pick p50      p99   max µs "
        "  gone  look ms   edit ms  longest turn  placed ms  longest turn"
    )
    for waiting, flows in ((1_000, 500), (10_000, 2_000), (10_000, 10_000), (100_000, 8_000)):
        print(measure(waiting, flows))
