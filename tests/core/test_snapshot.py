"""The frame: everything the dashboard gets, in the shape it was promised."""

import json
from random import Random

from msgspec.structs import replace

from gateway.core.ops import Boost, Cancel, Dispatch, Op, Pause, Release, SetBackend, Submit
from gateway.core.outlook import look
from gateway.core.policy import default_policy
from gateway.core.scheduler import Scheduler
from gateway.core.snapshot import (
    EngineView,
    Frame,
    MarkView,
    OverrideView,
    PoolView,
    encode,
    for_tenant,
    pool_view,
)

FRAME_FIELDS = {
    "v", "seq", "at", "epoch", "policy_version", "pools", "overrides", "marks",
}  # fmt: skip
TIER_FIELDS = {
    "name", "priority", "state", "waiting", "waiting_tokens", "in_flight", "oldest_s", "wait",
    "wait_1m", "in_per_s", "out_per_s", "in_5m", "out_5m", "aged", "overdue", "rescued_per_min", "lost_per_min", "burn",
    "tokens_per_s", "passed_over_s", "bound_used",
    "target_wait_s", "max_wait_s", "max_waiting",
}  # fmt: skip
POOL_FIELDS = {
    "name", "models", "in_flight", "limit", "held_back", "urgent_threshold", "waiting",
    "urgent_is_short", "backends", "tiers", "head_columns", "head", "groups",
}  # fmt: skip
BACKEND_FIELDS = {
    "name", "url", "state", "in_flight", "limit", "engine_running", "engine_waiting", "kv_usage",
    "tokens_per_s", "preemptions", "preempted_per_min", "lookahead", "scheduling_policy", "strangers",
    "blind", "error",
}  # fmt: skip
ROW_FIELDS = [
    "place", "id", "tenant", "tier", "task_type", "key", "model", "priority", "aged", "boost",
    "effective_priority", "waited_s", "tokens_in", "tokens_out", "overdue", "held", "eta_s",
]  # fmt: skip


def a_minute() -> tuple[Scheduler, int]:
    scheduler = Scheduler(default_policy(), 17)
    scheduler.apply([SetBackend("gpu-1", 4, 1), SetBackend("gpu-2", 4, 2, open=False)], 0)
    ops: list[Op] = [Submit(f"s{n}", "standard", "acme", 500) for n in range(40)]
    scheduler.apply([*ops, Submit("u", "realtime", "birch", 50)], 1_000)
    scheduler.apply([Release("u"), Pause("batch"), Submit("b", "batch", "birch", 9)], 2_000)
    scheduler.apply([Boost("s30", 5), Cancel("s39")], 3_000)
    return scheduler, 63_500


def pool(scheduler: Scheduler, now_ms: int) -> PoolView:
    engines = [
        EngineView(name="gpu-1", url="http://10.0.0.1:8000", state="up", engine_running=4),
        EngineView(name="gpu-3", url="http://10.0.0.3:8000", state="down", error="refused"),
    ]
    return pool_view("default", ["qwen"], look(scheduler, now_ms), engines)


def frame_of(view: PoolView) -> Frame:
    return Frame(seq=1300, at=1764000000.123, epoch="7f3a", policy_version=17, pools=(view,))


def test_the_frame_has_the_promised_fields_and_no_others():
    document = json.loads(encode(frame_of(pool(*a_minute()))))

    assert document.keys() == FRAME_FIELDS
    (shown,) = document["pools"]
    assert shown.keys() == POOL_FIELDS
    assert all(tier.keys() == TIER_FIELDS for tier in shown["tiers"])
    assert all(backend.keys() == BACKEND_FIELDS for backend in shown["backends"])
    assert shown["head_columns"] == ROW_FIELDS
    assert all(len(row) == len(ROW_FIELDS) for row in shown["head"])
    standard = shown["tiers"][2]
    assert standard["wait"].keys() == {"n", "worst_s", "p50", "p95", "p99"}
    assert standard["wait"]["p50"].keys() == {"value_s", "at_least"}
    assert standard["lost_per_min"].keys() == {"rejected", "expired", "evicted", "cancelled"}


def test_a_tier_shows_what_waits_runs_and_was_lost():
    scheduler, now_ms = a_minute()

    tiers = {tier.name: tier for tier in look(scheduler, now_ms).tiers}

    assert list(tiers) == ["realtime", "critical", "standard", "batch", "background"]
    standard = tiers["standard"]
    assert (standard.waiting, standard.waiting_tokens, standard.in_flight) == (35, 17_500, 4)
    assert (standard.oldest_s, standard.aged, standard.overdue) == (62.5, 35, 35)
    assert standard.wait.p50 is not None
    assert standard.wait.p50.at_least
    assert look(scheduler, 30_000).tiers[2].lost_per_min.cancelled == 1
    assert (tiers["batch"].state, tiers["batch"].overdue) == ("paused", 0)
    assert (tiers["realtime"].oldest_s, tiers["realtime"].wait.n) == (None, 1)


def test_a_pool_counts_the_slots_of_open_backends_and_shows_every_backend():
    view = pool(*a_minute())

    assert (view.in_flight, view.limit, view.held_back, view.urgent_threshold) == (4, 5, 1, 8)
    assert [(b.name, b.state, b.in_flight, b.limit) for b in view.backends] == [
        ("gpu-1", "up", 4, 5),
        ("gpu-3", "down", 0, 0),
        ("gpu-2", "unknown", 0, 6),
    ]


def test_the_head_says_effective_priorities_as_a_sum():
    scheduler, now_ms = a_minute()
    scheduler.apply([SetBackend("gpu-1", 4, 0)], 3_000)  # or the boosted one would just go
    scheduler.apply([], now_ms)

    head = look(scheduler, now_ms).head

    assert [row.place for row in head] == [*range(1, 36), None]  # the last waits in a paused tier
    assert all(row.priority + row.aged + row.boost == row.effective_priority for row in head)
    boosted = next(row for row in head if row.id == "s30")
    assert (boosted.aged, boosted.boost, boosted.effective_priority) == (5, 5, 10)
    assert (boosted.waited_s, boosted.held, head[-1].held) == (62.5, "", "paused")


def test_a_tenant_sees_its_own_rows_and_no_address():
    scheduler, now_ms = a_minute()
    scheduler.apply([Submit("mine", "standard", "birch", 5)], now_ms)
    frame = frame_of(pool(scheduler, now_ms))

    cut = for_tenant(frame, "birch")

    (shown,) = cut.pools
    assert [row.id for row in shown.head] == ["mine", "b"]
    assert (shown.head[0].place or 0) > 1
    assert b"acme" not in encode(cut)
    assert b"10.0.0" not in encode(cut)
    assert b"refused" not in encode(cut)


def test_a_tenant_sees_what_holds_its_tiers_and_itself_and_nobody_elses_marks():
    shown = {"by": "otto", "reason": "upgrade", "begun_at": 1.0, "ends_at": 2.0, "pool": "default"}
    paused = OverrideView(id=1, verb="pause", tier="batch", tenant="", **shown)
    own = OverrideView(id=2, verb="move", tier="critical", tenant="birch", **shown)
    others = OverrideView(id=3, verb="move", tier="critical", tenant="acme", **shown)
    mark = MarkView(1.0, "override", "moved acme to critical", "otto")
    frame = replace(frame_of(pool(*a_minute())), overrides=(paused, own, others), marks=(mark,))

    cut = for_tenant(frame, "birch")

    assert cut.overrides == (paused, own)
    assert cut.marks == ()


def test_a_frame_with_a_full_head_stays_small():
    draw = Random(1)
    scheduler = Scheduler(default_policy(), 1)
    scheduler.apply([SetBackend("gpu-1", 64)], 0)
    names = [tier.name for tier in default_policy().tiers]
    running: list[str] = []
    for number in range(1_500):
        ops: list[Op] = [
            Submit(
                f"req_{draw.getrandbits(96):024x}",
                draw.choice(names),
                f"tenant-{number % 9}",
                700,
                task_type="batch_inference",
                key="XoBh07B0",
            )
        ]
        if running and number % 2:
            ops.append(Release(running.pop(0)))
        running += [d.id for d in scheduler.apply(ops, number * 20) if isinstance(d, Dispatch)]

    encoded = encode(frame_of(pool(scheduler, 30_000)))

    assert len(look(scheduler, 30_000).head) == 50
    assert len(encoded) < 16_000
