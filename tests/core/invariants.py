"""What must hold after each step of a scheduler, whatever happened; told from outside.

A watch keeps its own books of what it sent in and what came out, and believes no counter.  Of the
twelve invariants of the discipline these are the ones that a single step can break.  Quotas are
``test_quota``'s; starvation and fairness need minutes (``test_guarantees``), hang-ups a socket
(``tests/gateway/test_proxy.py``).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.core import lending
from gateway.core.flows import WAITING
from gateway.core.ops import (
    Cancel,
    Decision,
    Dispatch,
    Edit,
    Evicted,
    Expire,
    Op,
    Reject,
    Release,
    RemoveBackend,
    Retry,
    SetBackend,
    Submit,
)
from gateway.core.outlook import upcoming
from gateway.core.scheduler import Scheduler

GIVES_BACK = Release | Cancel | Retry


@dataclass
class Watch:
    scheduler: Scheduler
    waiting: dict[str, Submit] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)  # by id: where
    ended: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)  # slots asked for, by id
    sent: Counter[str] = field(default_factory=Counter)  # dispatches, by id
    footprints: dict[str, int] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    leaving: list[str] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)  # that may order a dispatch of this call
    canaries: set[int] = field(default_factory=set)  # and those that order some tenants' alone
    heads: dict[tuple[str, str, str], tuple[str, int]] = field(default_factory=dict)
    ran_before: dict[str, str] = field(default_factory=dict)
    first: str | None = None  # who was next before this step

    def before(self, ops: Sequence[Op]) -> None:
        """Call ahead of each ``apply``."""
        line = self.scheduler.line
        self.leaving = []
        edits = [op for op in ops if isinstance(op, Edit)]
        newer = [line.canary, *(op.canary for op in edits)]
        self.versions = {line.version, *(op.version for op in edits)}
        self.canaries = {canary.version for canary in newer if canary}
        self.heads = {
            key: (flow.head.id, flow.level)
            for key, flow in line.flows.items()
            if flow.head and flow.level is not None
        }
        for op in ops:
            match op:
                case Submit():
                    self.waiting[op.id] = op
                    self.footprints[op.id] = op.footprint
                    self.sequences[op.id] = op.sequences
                    self.attempts[op.id] += 1
                case Release() | Cancel() if op.id in self.running:
                    del self.running[op.id]
                    self.leaving.append(op.id)
                case Cancel() if self.waiting.pop(op.id, None):
                    self.leaving.append(op.id)
                case Retry() if op.id in self.running:
                    del self.running[op.id]
                    self.waiting[op.id] = Submit(op.id, "", "", 0)
                    self.attempts[op.id] += 1
                case Retry() if op.id in self.waiting and len(ops) > 1:
                    self.attempts[op.id] += 1  # it may be sent by a refusal earlier in the call
        self.ran_before = dict(self.running)

    def after(self, ops: Sequence[Op], decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Dispatch():
                    self.sent[decision.id] += 1
                    if self.waiting.pop(decision.id, None) or decision.id in self.running:
                        self.running[decision.id] = decision.backend
                        if any(isinstance(op, GIVES_BACK) and op.id == decision.id for op in ops):
                            self._given_back_at_once(decision.id)
                case Reject() | Expire() | Evicted():
                    self.ended[decision.id] += 1
                    self.waiting.pop(decision.id, None)
        told = {d.id for d in decisions if not isinstance(d, Dispatch)}
        for id in self.leaving:  # what expires in the same call expires first
            self.ended[id] += id not in told

    def _given_back_at_once(self, id: str) -> None:
        """A slot may be taken and given back within one call, as others are refused a place."""
        request = self.scheduler.requests.get(id)
        if request is None:
            del self.running[id]
            self.ended[id] += 1
        elif request.state == WAITING:
            del self.running[id]
            self.waiting[id] = Submit(id, "", "", 0)

    # The invariants, by the number that the discipline gives them

    def no_slot_leaks(self) -> None:
        """1: what runs is what was sent and has not come back, there and in memory."""
        counts = self._taken(self.running)
        filled: Counter[str] = Counter()
        for id, name in self.running.items():
            filled[name] += self.footprints[id]
        assert self.scheduler.slots.in_flight == len(self.running), "slots leak"
        for name, backend in self.scheduler.slots.backends.by_name.items():
            assert backend.in_flight == counts[name], "slots leak"
            assert backend.footprint == filled[name], "memory leaks"

    def one_outcome(self) -> None:
        """2: a request ends once, and until then it waits or runs."""
        assert not [id for id, times in self.ended.items() if times > 1], "ended twice"
        assert self.scheduler.waiting == len(self.waiting), "lost or made up"

    def sent_once_an_attempt(self) -> None:
        """3."""
        assert all(self.sent[id] <= self.attempts[id] for id in self.sent), "sent twice"

    def slots_are_respected(self, ops: Sequence[Op], decisions: Sequence[Decision]) -> None:
        """4: N < L at each dispatch, N < M for what is not urgent; rescue where either could go.

        N is counted from the fewest that can have run, everything given back in the call.
        """
        if any(isinstance(op, SetBackend | RemoveBackend | Edit) for op in ops):
            return
        scheduler = self.scheduler
        again = {op.id for op in ops if isinstance(op, GIVES_BACK)}
        if any(isinstance(d, Dispatch) and d.id in again for d in decisions):
            return  # given back between two dispatches: what ran then is not known from outside
        in_flight = self._taken(self.ran_before)
        for decision in decisions:
            if isinstance(decision, Dispatch) and decision.id in self.running:
                backend = scheduler.slots.backends.by_name[decision.backend]
                low = decision.priority < scheduler.slots.urgent_threshold
                most = backend.base_limit if low else backend.limit
                assert in_flight[decision.backend] < most, "no slot for it"
                in_flight[decision.backend] += self.sequences[decision.id]

    def _taken(self, running: dict[str, str]) -> Counter[str]:
        taken: Counter[str] = Counter()
        for id, name in running.items():
            taken[name] += self.sequences[id]
        return taken

    def higher_goes_first(self, ops: Sequence[Op], decisions: Sequence[Decision]) -> None:
        """6: nobody who stood higher all the while is passed over but by rescue or reservation."""
        levels = [d.priority for d in decisions if isinstance(d, Dispatch) and d.lane == "strict"]
        if not levels or not all(isinstance(op, Release) for op in ops):
            return
        for key, flow in self.scheduler.line.flows.items():
            if flow.head and self.heads.get(key) == (flow.head.id, flow.level):
                assert flow.level is None or flow.level <= min(levels), "passed over"

    def nobody_waits_beside_a_slot(self) -> None:
        """9: who is first goes in the same call, if there is a slot, credit and memory for it."""
        scheduler = self.scheduler
        first = scheduler.line.strict.best()
        if first is None or first.level is None or first.head is None:
            return
        urgent = first.level >= scheduler.slots.urgent_threshold
        if not urgent and scheduler.line.reservations:
            first = lending.claimant(scheduler.line, scheduler.slots.backends) or first
        footprint = first.head.footprint if first.head else 0
        paced = scheduler.slots.pace.binds and not urgent
        assert paced or not scheduler.slots.backends.room(urgent=urgent, footprint=footprint), (
            "idle slot"
        )

    def one_version_each(self, decisions: Sequence[Decision]) -> None:
        """11: lines this short are re-keyed within the call, so an edit orders all that follows."""
        every = [d.version for d in decisions if isinstance(d, Dispatch)]
        for known in (self.versions, self.canaries):
            versions = [version for version in every if version in known]
            assert versions == sorted(versions), "another version"
        assert set(every) <= self.versions | self.canaries, "another version"

    def expects(self) -> None:
        """Note who would be next, just before slots are added and nothing else happens."""
        place = next(upcoming(self.scheduler), None)
        self.first = place.request.id if place else None

    def next_is_as_explained(self, decisions: Sequence[Decision]) -> None:
        """12: the next dispatch is the one that the line and ``explain`` put first."""
        sent = [d for d in decisions if isinstance(d, Dispatch)]
        if sent and sent[0].lane != "reserved":
            assert sent[0].id == self.first, "not the one shown"

    def hold(self, ops: Sequence[Op], decisions: Sequence[Decision]) -> None:
        self.no_slot_leaks()
        self.one_outcome()
        self.sent_once_an_attempt()
        self.slots_are_respected(ops, decisions)
        self.higher_goes_first(ops, decisions)
        self.nobody_waits_beside_a_slot()
        self.one_version_each(decisions)
