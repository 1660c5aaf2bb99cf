"""Judges the starvation bound from outside the scheduler.

Nothing of ``ordering`` is read here, only who waits since when at what cost and who went, so a
discipline that breaks its promise cannot hide it.
"""

from heapq import heappop, heappush
from typing import NamedTuple


class Passed(NamedTuple):
    """What went before a request from the moment it was overdue, beside what it had to let pass.

    The promise of a rescue share r is ``cost <= owed / r``.
    """

    due_ms: int
    cost: int  # dispatched since then, up to the request itself
    owed: int  # B + c_max: all that waited with a deadline no later, and the largest single cost


class Watch:
    def __init__(self) -> None:
        self._dispatched = 0  # cost, since the start
        self._largest = 0
        self._deadlines: list[tuple[int, int, str]] = []
        self._waiting: dict[str, int] = {}  # cost of each
        self._marks: dict[str, tuple[int, int, int]] = {}  # overdue: since, dispatched and B then
        self._overdue_cost = 0
        self._number = 0

    def joined(self, id: str, cost: int, due_ms: int) -> None:
        self._number += 1
        self._waiting[id] = cost
        self._largest = max(self._largest, cost)
        heappush(self._deadlines, (due_ms, self._number, id))

    def moved_on(self, now_ms: int) -> None:
        """Call before anything is dispatched at ``now_ms``."""
        heap = self._deadlines
        while heap and heap[0][0] <= now_ms:
            due_ms, together = heap[0][0], []
            while heap and heap[0][0] == due_ms:
                id = heappop(heap)[2]
                if id in self._waiting:
                    together.append(id)
                    self._overdue_cost += self._waiting[id]
            for id in together:
                self._marks[id] = (due_ms, self._dispatched, self._overdue_cost)

    def dispatched(self, id: str) -> Passed | None:
        """None for a request that went in time."""
        passed = self.so_far(id)
        self._dispatched += self._waiting[id]
        self.left(id)
        return passed

    def left(self, id: str) -> None:
        cost = self._waiting.pop(id)
        if self._marks.pop(id, None):
            self._overdue_cost -= cost

    def so_far(self, id: str) -> Passed | None:
        mark = self._marks.get(id)
        if mark is None:
            return None
        due_ms, before, earlier = mark
        return Passed(due_ms, self._dispatched - before, earlier + self._largest)
