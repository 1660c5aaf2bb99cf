"""Who waits in the engine, by vLLM's order."""

from heapq import heapify, heappop, heappush

from gateway.core.engine.model import Sequence

Rank = tuple[int, int, str, int]


class WaitingLine:
    """A heap by rank.  Those aborted stay in it until they reach its head or outnumber the rest."""

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, Sequence]] = []
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, sequence: Sequence) -> None:
        sequence.waiting = True
        self._waiting += 1
        heappush(self._heap, (sequence.rank, sequence))
        if len(self._heap) > 2 * self._waiting + 64:
            self._heap = [entry for entry in self._heap if entry[1].waiting]
            heapify(self._heap)

    def forget(self, sequence: Sequence) -> None:
        """Let one go that is aborted, and so never comes back."""
        sequence.waiting = False
        self._waiting -= 1

    def head(self) -> Sequence:
        """Who is next.  Ask only while somebody waits."""
        while not self._heap[0][1].waiting:
            heappop(self._heap)
        return self._heap[0][1]

    def pop(self) -> None:
        """Let the head go, which may come back."""
        self.forget(self.head())
        heappop(self._heap)
