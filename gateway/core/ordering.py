"""Which flow goes first: fair queuing between tenants inside a level, and the rescue lane.

Three ideas, each small:

* **Strict levels.**  The flow at the highest level goes first.
* **Start-time fair queuing** inside a level (Goyal, Vin, Cheng 1996).  A flow's tag grows by
  cost/weight with each dispatch and the smallest tag goes first, so tenants share a level by
  weight whatever the number and size of their requests.
* **A rescue lane** beside the levels, earliest deadline first.  Stride scheduling gives it a
  fixed share of the dispatched cost while anything in it is overdue, which bounds every wait.

Order is decided with integers alone (ms, cost, tags of cost * 1000 / weight); ties fall to the
lower arrival number ``seq``.  Heaps hold flows, not requests.  Entries are never searched for:
one that no longer tells the truth about its flow is dropped when it reaches the top.

Counts, limits and decisions live in ``scheduler`` and ``slots``; nothing here knows a backend.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace

from gateway.core.flows import SLACK, Flow
from gateway.core.levels import BOTTOM, TOP

TAG_SCALE = 1000


class StrictLane:
    """Flows by level, and by fair-queuing tag inside a level."""

    def __init__(self) -> None:
        self.heaps: list[list[tuple[int, int, Flow]]] = [[] for _ in range(TOP - BOTTOM + 1)]
        self.clock = [0] * len(self.heaps)  # virtual time of each level, most urgent first
        self._flows = [0] * len(self.heaps)

    def enter(self, flow: Flow, level: int) -> None:
        """Stand ``flow`` at ``level``: no debt forgotten there, no credit for having been away."""
        self.leave(flow)
        place = TOP - level
        flow.level = level
        flow.tag = max(self.clock[place], flow.finish.get(level, 0))
        self._flows[place] += 1
        self.push(flow)

    def leave(self, flow: Flow) -> None:
        if flow.level is not None:
            self._flows[TOP - flow.level] -= 1
            flow.level = None

    def push(self, flow: Flow) -> None:
        """Enter the key of a flow that stands here, after its tag or head has changed."""
        if flow.level is None or flow.head is None:
            return
        place = TOP - flow.level
        heap = self.heaps[place]
        heappush(heap, (flow.tag, flow.head.seq, flow))
        if len(heap) > 2 * self._flows[place] + SLACK:
            live = {entry[2]: entry for entry in heap if is_true(entry, flow.level)}
            heap[:] = live.values()
            heapify(heap)

    def best(self) -> Flow | None:
        """The flow with the smallest (-level, tag, seq of head)."""
        for place, heap in enumerate(self.heaps):
            while heap:
                if is_true(heap[0], TOP - place):
                    return heap[0][2]
                heappop(heap)
        return None

    def charge(self, flow: Flow, cost: int, *, moves_clock: bool) -> None:
        """Count a dispatch from ``flow``; one out of turn does not move the level's clock."""
        level = flow.level
        assert level is not None
        if moves_clock and flow.tag > self.clock[TOP - level]:
            self.clock[TOP - level] = flow.tag
        flow.tag = flow.finish[level] = flow.tag + cost * TAG_SCALE // flow.weight

    def settle(self, flow: Flow, level: int, change: int) -> None:
        """Correct what a dispatch at ``level`` was charged by the tag ``change``."""
        flow.finish[level] = flow.finish.get(level, 0) + change
        if change and flow.level == level:
            flow.tag += change
            self.push(flow)

    def take_over(self, flow: Flow, heir: Flow) -> None:
        """Let ``heir`` owe what ``flow`` owes, which is merged into it; push ``heir`` after.

        What could have been forgotten counts as forgotten, so that it never matters when it is.
        """
        if self.forgettable(heir):
            heir.finish.clear()
        if self.forgettable(flow):
            return
        for level, tag in flow.finish.items():
            heir.finish[level] = max(tag, heir.finish.get(level, 0))
            if level == heir.level and tag > self.clock[TOP - level]:
                heir.tag = max(heir.tag, tag)

    def clear(self) -> None:
        for heap in self.heaps:
            heap.clear()
        self.clock = [0] * len(self.heaps)
        self._flows = [0] * len(self.heaps)

    def forgettable(self, flow: Flow) -> bool:
        """True when forgetting the flow and its tags changes no later decision."""
        if flow.head is not None or flow.in_flight:
            return False
        return all(tag <= self.clock[TOP - level] for level, tag in flow.finish.items())


def is_true(entry: tuple[int, int, Flow], level: int) -> bool:
    tag, seq, flow = entry
    return (
        flow.level == level and flow.tag == tag and flow.head is not None and flow.head.seq == seq
    )


class Soonest:
    """Flows by a moment that, as a rule, only moves later while the flow stands in the lanes.

    So an entry may lag behind: it is a lower bound, put right when it reaches the top.  A flow
    that is served often costs nothing here until its old entry comes up.
    """

    def __init__(self, moment: Callable[[Flow], int | None]) -> None:
        self.heap: list[tuple[int, int, Flow]] = []
        self._moment = moment
        self._known: dict[Flow, tuple[int, int]] = {}  # the least entry of each flow

    def watch(self, flow: Flow) -> None:
        """Call when a flow enters the lanes or its head or moment changes."""
        due_ms = self._moment(flow)
        if due_ms is None or flow.head is None:
            return
        key = (due_ms, flow.head.seq)
        known = self._known.get(flow)
        if known is None or key < known:
            self._known[flow] = key
            heappush(self.heap, (*key, flow))

    def first(self) -> tuple[int, Flow] | None:
        """The earliest moment and its flow; ties fall to the lower seq."""
        heap = self.heap
        while heap:
            due_ms, seq, flow = heap[0]
            if self._known.get(flow) != (due_ms, seq):
                heappop(heap)
                continue
            actual_ms = self._moment(flow)
            if actual_ms is None or flow.head is None:
                del self._known[flow]
                heappop(heap)
            elif (actual_ms, flow.head.seq) != (due_ms, seq):
                self._known[flow] = (actual_ms, flow.head.seq)
                heapreplace(heap, (actual_ms, flow.head.seq, flow))
            else:
                return due_ms, flow
        return None

    def compact(self, flows: int) -> None:
        """Drop what is out of the lanes, once that outnumbers the ``flows`` there are."""
        if len(self.heap) > 2 * flows + SLACK:
            live = [flow for flow in self._known if flow.level is not None]
            self.clear()
            for flow in live:
                self.watch(flow)

    def clear(self) -> None:
        self.heap.clear()
        self._known.clear()


def rescue_moment(flow: Flow) -> int | None:
    return flow.deadline_ms if flow.level is not None else None


def ageing_moment(flow: Flow) -> int | None:
    return flow.next_step_ms if flow.level is not None else None


class RescueLane:
    """Overdue flows, earliest deadline first, with a share of the dispatched cost by stride.

    Each lane's pass grows by what it was given, divided by its share; the lane that is behind
    goes.  With share r, D = rescue pass - strict pass in units of cost never exceeds (1 - r) c and,
    while anything is overdue, never falls to -r c, where c is the largest single cost.  So before
    an overdue request at most (B + c) / r is dispatched, B being the cost of all requests with a
    deadline no later than its own.
    """

    def __init__(self) -> None:
        self.by_deadline = Soonest(rescue_moment)
        self.active = False
        self.strict_pass = 0
        self.rescue_pass = 0

    def turn(self, now_ms: int) -> Flow | None:
        """The flow to dispatch from instead of the strict lane's, if it is this lane's turn.

        Ask only where the strict lane could dispatch: that is what keeps the bound, since an
        overdue request then goes wherever anything goes at all.
        """
        first = self.by_deadline.first()
        if first is None or first[0] > now_ms:
            self.active = False
            return None
        if not self.active:
            self.active = True
            self.rescue_pass = max(self.rescue_pass, self.strict_pass)
        return first[1] if self.rescue_pass <= self.strict_pass else None

    def charge(self, cost: int, share_permille: int, *, rescued: bool) -> None:
        if rescued:
            self.rescue_pass += cost * (1000 - share_permille)
        else:
            self.strict_pass += cost * share_permille

    def settle(self) -> None:
        """Keep the passes small while nobody waits; only their difference means anything."""
        self.active = False
        least = min(self.strict_pass, self.rescue_pass)
        self.strict_pass -= least
        self.rescue_pass -= least
        self.by_deadline.clear()
