"""Random operations for the scheduler, given to it and to its judge."""

from dataclasses import dataclass, field
from random import Random

from msgspec.structs import replace

from gateway.core.canary import Canary, obstacles
from gateway.core.levels import TOP
from gateway.core.ops import (
    Boost,
    Cancel,
    Decision,
    Dispatch,
    Drain,
    Edit,
    Evict,
    Move,
    Op,
    Pace,
    Pause,
    Release,
    RemoveBackend,
    Retry,
    SetBackend,
    Submit,
)
from gateway.core.policy import Ageing, Limits, Policy, TenantRules, Tier
from gateway.core.scheduler import Scheduler
from tests.core.invariants import Watch
from tests.core.reference import Reference, as_row

TENANTS = ("acme", "birch", "cedar", "dogwood")
BACKENDS = ("gpu-1", "gpu-2", "gpu-3")
TIER_POOL = (
    ("realtime", 10, 2, 10),
    ("critical", 8, 5, 30),
    ("interactive", 4, 20, 90),
    ("standard", 0, 60, 300),
    ("batch", -5, 90, 400),
    ("background", -10, 120, 600),
)


def random_policy(draw: Random) -> Policy:
    """Two to six tiers, small caps, short waits: everything a run meets happens often."""
    chosen = sorted(draw.sample(range(len(TIER_POOL)), draw.randint(2, len(TIER_POOL))))
    tiers = tuple(
        Tier(
            name=name,
            priority=priority,
            target_wait_s=target_wait_s * draw.choice((0.2, 1)),
            max_wait_s=max_wait_s,
            max_waiting=draw.choice((4, 12, 30)),
            max_waiting_tokens=draw.choice((None, None, 3_200, 9_000)),
            ages=draw.random() < 0.8,
        )
        for name, priority, target_wait_s, max_wait_s in (TIER_POOL[n] for n in chosen)
    )
    tenants = {
        slug: TenantRules(
            weight=draw.choice((50, 100, 300)),
            max_waiting=draw.choice((None, None, 4)),
            max_in_flight=draw.choice((None, None, 1, 3)),
            reserved=draw.choice((0, 1, 4)),
            tier_limits={
                tier.name: Limits(max_in_flight=draw.choice((None, 1, 2)))
                for tier in tiers
                if draw.random() < 0.3
            },
            ceiling=draw.choice((10, 6)),
        )
        for slug in TENANTS[:3]
    }
    ageing = draw.choice(
        (None, Ageing(), Ageing(), Ageing(after_s=5, step_s=2.5, most=6, ceiling=5))
    )
    return Policy(
        tiers=tiers,
        default_tier=tiers[0].name,
        ageing=ageing,
        rescue_share=draw.choice((0, 0.05, 0.1, 0.2, 0.5)),
        holdback_share=draw.choice((0, 0.05, 0.3)),
        max_waiting=draw.choice((10, 40)),
        tenants=tenants,
    )


def newer_version(draw: Random, base: Policy) -> Policy:
    """Another policy that a canary can carry: what the pool has once is the base's."""
    numbers = draw.sample(range(-10, 11), len(base.tiers))
    other = random_policy(draw)
    tiers = tuple(
        replace(
            tier,
            priority=number,
            target_wait_s=tier.target_wait_s * draw.choice((0.3, 1, 2)),
            max_wait_s=tier.max_wait_s * draw.choice((0.3, 1, 2)),
            ages=draw.random() < 0.8,
        )
        for tier, number in zip(base.tiers, numbers, strict=True)
    )
    ageing = base.ageing and replace(base.ageing, after_s=10, step_s=5)
    limited = {slug: replace(rules, tier_limits={}) for slug, rules in other.tenants.items()}
    newer = replace(base, tiers=tiers, ageing=ageing, tenants=limited)
    assert not obstacles(base, newer)
    return newer


@dataclass
class Traffic:
    """Draws one operation at a time; knows the ids it has made up."""

    draw: Random
    policy: Policy
    version: int = 0
    now_ms: int = 0
    ids: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)  # as far as it has been told

    def operations(self) -> list[Op]:
        """What happens at one moment; now and then nothing, or several things."""
        self.now_ms += self.draw.choice((0, 0, 1, 30, 400, 1_000, 7_000))
        return [self.operation() for _ in range(self.draw.choice((0, 1, 1, 1, 1, 2, 5)))]

    def operation(self) -> Op:
        draw = self.draw
        names = tuple(tier.name for tier in self.policy.tiers)
        match draw.choices(range(13), (44, 34, 5, 6, 4, 2, 6, 1, 1, 3, 1, 2, 4))[0]:
            case 0:
                self.ids.append(f"r{len(self.ids)}")
                return Submit(
                    id=self.ids[-1],
                    tier=draw.choice(names),
                    tenant=draw.choice(TENANTS),
                    cost=draw.choice((0, 1, 10, 100, 3_000)),
                    prompt_tokens=draw.choice((0, 50, 400)),
                    prefix=draw.choice(("", "a", "b")),
                    expires_at_ms=draw.choice((None, None, self.now_ms + draw.randint(0, 60_000))),
                    arrived_ms=draw.choice((None, None, self.now_ms - draw.randint(0, 20_000))),
                    avoid=draw.choice(("", "gpu-1")),
                    footprint=draw.choice((0, 20, 100, 700)),
                    sequences=draw.choice((1, 1, 1, 1, 2, 5)),
                )
            case 1:
                return Release(self.served(), draw.choice((None, 0, 5, 100, 5_000)))
            case 2:
                return Retry(self.known(), draw.choice(("", *BACKENDS)))
            case 3:
                return Cancel(self.known(), draw.choice((None, 10)))
            case 4:
                return Boost(self.known(), draw.randint(-7, 7))
            case 5:
                return Evict(self.known())
            case 6:
                return SetBackend(
                    draw.choice(BACKENDS),
                    draw.choice((0, 1, 2, 4, 8, 12)),
                    draw.choice((None, 0, 2)),
                    open=draw.random() < 0.85,
                    kv_tokens=draw.choice((None, None, None, 600, 2_000)),
                )
            case 7:
                return RemoveBackend(draw.choice(BACKENDS))
            case 8:
                self.version += 1
                self.policy = random_policy(draw)
                if draw.random() < 0.5:
                    return Edit(self.policy, self.version)
                tenants = frozenset(slug for slug in TENANTS if draw.random() < 0.5)
                newer = Canary(newer_version(draw, self.policy), self.version + 1, tenants)
                self.version += 1
                return Edit(self.policy, self.version - 1, newer)
            case 9:
                return Pause(draw.choice(names), draw.random() < 0.4)
            case 12:
                return Move(self.known(), draw.choice(names))
            case 11:
                return Drain(draw.choice(names), draw.random() < 0.3)
            case _:
                return Pace(draw.choice((None, None, None, 20, 500)), draw.choice((100, 1_000)))

    def hear(self, decisions: list[Decision]) -> None:
        self.running += [one.id for one in decisions if isinstance(one, Dispatch)]

    def served(self) -> str:
        if self.running and self.draw.random() < 0.7:
            return self.running.pop(self.draw.randrange(len(self.running)))
        return self.known()

    def known(self) -> str:
        return self.draw.choice(self.ids[-60:]) if self.ids else "nobody"


@dataclass
class Trial:
    """The scheduler and its judge side by side."""

    scheduler: Scheduler
    reference: Reference
    outcomes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.watch = Watch(self.scheduler)

    def step(self, ops: list[Op], now_ms: int) -> list[Decision]:
        self.watch.before(ops)
        decisions = self.scheduler.apply(ops, now_ms)
        expected = self.reference.apply(ops, now_ms)

        assert [as_row(decision) for decision in decisions] == expected
        self.same_state()
        self.count(decisions)
        self.watch.after(ops, decisions)
        self.watch.hold(ops, decisions)
        return decisions

    def same_state(self) -> None:
        scheduler, reference = self.scheduler, self.reference
        assert scheduler.waiting == len(reference.waiting())
        assert scheduler.slots.in_flight == reference.running()
        line = scheduler.line
        ours = {k: (f.level, f.tag) for k, f in line.flows.items() if f.level is not None}
        theirs = {k: (f.level, f.tag) for k, f in reference.flows.items() if f.level is not None}
        assert ours == theirs
        for place, clock in enumerate(line.strict.clock):
            assert clock == reference.clock.get(TOP - place, 0)
        lead = line.rescue.rescue_pass - line.rescue.strict_pass
        assert lead == reference.rescue_pass - reference.strict_pass
        for tier in line.tiers.values():
            waiting = reference.waiting(tier=tier.rules.name)
            assert tier.waiting == len(waiting)
            assert tier.waiting_cost == sum(entry.cost for entry in waiting)

    def count(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            kind = decision.lane if isinstance(decision, Dispatch) else type(decision).__name__
            self.outcomes[kind] = self.outcomes.get(kind, 0) + 1
        self.outcomes["guarded"] = self.scheduler.slots.stops.guarded


def trial(draw: Random) -> tuple[Trial, Traffic]:
    policy = random_policy(draw)
    return Trial(Scheduler(policy), Reference(policy)), Traffic(draw, policy)


def steady(policy: Policy, **changes: object) -> Policy:
    """A policy whose caps never refuse anyone."""
    tiers = tuple(replace(tier, max_waiting=1_000_000, max_wait_s=86_400) for tier in policy.tiers)
    return replace(policy, tiers=tiers, max_waiting=1_000_000, **changes)
