"""Each invariant holds over random traffic, and a scheduler that breaks it is caught."""

from collections.abc import Callable, Iterable
from random import Random

import pytest

from gateway.core.flows import IN_FLIGHT, Flow
from gateway.core.ops import Decision, Dispatch, Edit, Expire, Op, SetBackend
from gateway.core.ordering import StrictLane
from gateway.core.placing import Backend, Backends
from gateway.core.scheduler import Scheduler
from gateway.core.slots import Slots
from tests.core.driving import Traffic, random_policy
from tests.core.invariants import Watch

Judge = Callable[[Watch, list[Op], list[Decision]], None]
JUDGES: dict[str, Judge] = {
    "slots leak": lambda watch, ops, decisions: watch.no_slot_leaks(),
    "ended twice": lambda watch, ops, decisions: watch.one_outcome(),
    "lost or made up": lambda watch, ops, decisions: watch.one_outcome(),
    "sent twice": lambda watch, ops, decisions: watch.sent_once_an_attempt(),
    "no slot for it": Watch.slots_are_respected,
    "passed over": Watch.higher_goes_first,
    "idle slot": lambda watch, ops, decisions: watch.nobody_waits_beside_a_slot(),
    "another version": lambda watch, ops, decisions: watch.one_version_each(decisions),
    "not the one shown": lambda watch, ops, decisions: None,
}


def watched(kind: type[Scheduler], judge: Judge, seeds: range = range(40)) -> None:
    for seed in seeds:
        draw = Random(seed)
        policy = random_policy(draw)
        scheduler, traffic = kind(policy), Traffic(draw, policy)
        watch = Watch(scheduler)
        for step in range(250):
            ops = traffic.operations()
            decisions = told(watch, ops, traffic.now_ms)
            traffic.hear(decisions)
            judge(watch, ops, decisions)
            if step % 10 == 0:
                watch.expects()
                more: list[Op] = [SetBackend("gpu-1", 30 + step)]
                decisions = told(watch, more, traffic.now_ms)
                traffic.hear(decisions)
                if judge is JUDGES["not the one shown"]:
                    watch.next_is_as_explained(decisions)


def told(watch: Watch, ops: list[Op], now_ms: int) -> list[Decision]:
    watch.before(ops)
    decisions = watch.scheduler.apply(ops, now_ms)
    watch.after(ops, decisions)
    return decisions


@pytest.mark.parametrize("breach", JUDGES)
def test_it_holds(breach):
    watched(Scheduler, JUDGES[breach], range(10))


class KeepsSlots(Scheduler):
    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.slots.backends = Forgetful()


class Forgetful(Backends):
    def give_back(self, name: str, sequences: int, footprint: int) -> None:
        if footprint != 20:
            super().give_back(name, sequences, footprint)


class TellsTwice(Scheduler):
    repeats: type = Expire

    def apply(self, ops: Iterable[Op], now_ms: int) -> list[Decision]:
        decisions = super().apply(ops, now_ms)
        return decisions + [one for one in decisions if type(one) is self.repeats]


class SendsTwice(TellsTwice):
    repeats = Dispatch


class LosesOnEdit(Scheduler):
    def _edit(self, op: Edit) -> None:
        super()._edit(op)
        for request in list(self.requests.values()):
            if request.state != IN_FLIGHT:
                self._drop(request, "cancelled")
                return


class HoldsNothingBack(Scheduler):
    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.slots.backends = Generous()


class Open(Backend):
    def has_room(self, *, urgent: bool) -> bool:
        return super().has_room(urgent=True)


class Generous(Backends):
    def set(self, name: str, *rest: object, **how: object) -> None:
        if name not in self.by_name:
            self.by_name[name] = Open(name)
        super().set(name, *rest, **how)  # type: ignore[arg-type]


class UpsideDown(Scheduler):
    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.line.strict = LowestFirst()


class LowestFirst(StrictLane):
    def best(self) -> Flow | None:
        super().best()
        standing = {flow for heap in self.heaps for _, _, flow in heap if flow.level is not None}
        return min(standing, key=lambda flow: (flow.level or 0, flow.key), default=None)


class Lazy(Scheduler):
    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.slots = SometimesIdle(self.line)


class SometimesIdle(Slots):
    def fill(self) -> list[Dispatch]:
        return super().fill() if self._line.now_ms % 3 else []


class Backdates(Scheduler):
    def apply(self, ops: Iterable[Op], now_ms: int) -> list[Decision]:
        return [
            one._replace(version=one.version - 1) if isinstance(one, Dispatch) else one
            for one in super().apply(ops, now_ms)
        ]


@pytest.mark.parametrize(
    ("breach", "broken"),
    [
        ("slots leak", KeepsSlots),
        ("ended twice", TellsTwice),
        ("lost or made up", LosesOnEdit),
        ("sent twice", SendsTwice),
        ("no slot for it", HoldsNothingBack),
        ("passed over", UpsideDown),
        ("idle slot", Lazy),
        ("another version", Backdates),
        ("not the one shown", UpsideDown),
    ],
)
def test_a_scheduler_that_breaks_it_is_caught(breach, broken):
    with pytest.raises(AssertionError, match=breach):
        watched(broken, JUDGES[breach])
