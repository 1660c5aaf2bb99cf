"""When to stop sending to a backend that fails, when to try it again, and what to do over.

A circuit breaker for one backend.  It counts what only a sick server does: refused connections,
broken ones, silence, a dead engine.  A full queue is health, so overload answers never reach it.
And a pool's budget of retries, so that they never become the load that keeps its servers down.
"""

from collections import deque
from dataclasses import dataclass, field

IN_A_ROW = 5
WINDOW_MS = 10_000
ENOUGH = 10  # outcomes in the window before their share says anything
OPEN_MS = 5_000
MOST_OPEN_MS = 60_000
RETRY_SHARE = 0.1  # of what a pool dispatches
RETRIES_PER_S = 3  # always allowed: a tenth of a quiet pool's requests is none


@dataclass(slots=True)
class Breaker:
    """Closed: requests flow.  Open: none until ``open_until_ms``; then one probe decides."""

    open_until_ms: int | None = None
    _failed_in_row: int = 0
    _opened: int = 0  # times in a row without a success between
    _outcomes: deque[tuple[int, bool]] = field(default_factory=deque)

    @property
    def is_open(self) -> bool:
        return self.open_until_ms is not None

    def probe_due(self, now_ms: int) -> bool:
        return self.open_until_ms is not None and now_ms >= self.open_until_ms

    def succeeded(self, now_ms: int) -> None:
        """A request or a probe was answered.  An open breaker closes."""
        self._note(now_ms, True)
        self._failed_in_row = 0
        if self.is_open:
            self.open_until_ms = None
            self._outcomes.clear()
        else:
            self._opened = 0

    def failed(self, now_ms: int, jitter: float = 1.0) -> bool:
        """A request or a probe met a sick server.  True if the breaker opens, or opens again.

        It stays open 5 s, doubled each time it had to open again before a request succeeded, at
        most a minute.  ``jitter`` (0.8 to 1.2, drawn outside) keeps gateways from probing at once.
        """
        self._note(now_ms, False)
        self._failed_in_row += 1
        if self.is_open and not self.probe_due(now_ms):
            return False  # requests that were under way when it opened
        if not self.is_open and not self._tripped():
            return False
        self.open_until_ms = now_ms + int(min(MOST_OPEN_MS, OPEN_MS << self._opened) * jitter)
        self._opened = min(self._opened + 1, 8)
        return True

    def _tripped(self) -> bool:
        if self._failed_in_row >= IN_A_ROW:
            return True
        failures = sum(not ok for _, ok in self._outcomes)
        return len(self._outcomes) >= ENOUGH and failures * 2 >= len(self._outcomes)

    def _note(self, now_ms: int, ok: bool) -> None:
        self._outcomes.append((now_ms, ok))
        while self._outcomes[0][0] <= now_ms - WINDOW_MS:
            self._outcomes.popleft()


@dataclass(slots=True)
class RetryBudget:
    """How many failed requests a pool may send again: counted over the breaker's window."""

    _taken_ms: deque[int] = field(default_factory=deque)

    def take(self, dispatched_per_s: float, now_ms: int) -> bool:
        """Whether one more may be sent again; it then counts."""
        while self._taken_ms and self._taken_ms[0] <= now_ms - WINDOW_MS:
            self._taken_ms.popleft()
        per_s = max(RETRIES_PER_S, RETRY_SHARE * dispatched_per_s)
        if len(self._taken_ms) >= per_s * WINDOW_MS / 1000:
            return False
        self._taken_ms.append(now_ms)
        return True
