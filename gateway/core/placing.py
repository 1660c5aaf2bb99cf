"""Where a request may run: each backend's slots and memory, holdback, pace, and the choice.

Order decides who goes next, affinity decides where.  Nothing here knows a tenant or a tier.
"""

from __future__ import annotations

from hashlib import blake2b

OVERLOAD_PERCENT = 15  # how far above the pool's relative load a prefix's own backend may be
LOAD_SCALE = 1_000_000
GUARDED_PERCENT = 95  # of a KV cache that less urgent requests may come to fill


class Backend:
    """One vLLM server.  ``in_flight`` counts facts only, sequences dispatched and not yet released:
    a request for several choices may be the last that fits and still go, so it may pass the limit.
    """

    __slots__ = (
        "_hash", "base_limit", "footprint", "held_back", "in_flight", "most_footprint", "name",
        "open", "own_holdback", "removed",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.base_limit = 0
        self.held_back = 0
        self.own_holdback: int | None = None
        self.in_flight = 0
        self.footprint = 0  # KV tokens of all in flight, as they will be at their ends
        self.most_footprint: int | None = None
        self.open = True
        self.removed = False
        self._hash = blake2b(name.encode(), digest_size=8)

    @property
    def limit(self) -> int:
        return self.base_limit + self.held_back

    @property
    def load(self) -> int:
        """Slots taken relative to the base limit, in millionths."""
        return self.in_flight * LOAD_SCALE // max(1, self.base_limit)

    def take(self, sequences: int, footprint: int) -> None:
        self.in_flight += sequences
        self.footprint += footprint

    def has_room(self, *, urgent: bool) -> bool:
        """Less urgent requests count *all* in flight against the base limit (trunk reservation)."""
        return self.open and self.in_flight < self.base_limit + (self.held_back if urgent else 0)

    def fits(self, footprint: int) -> bool:
        """Whether the KV cache will hold one more; an idle engine is sent a request of any size."""
        most = self.most_footprint
        return most is None or not self.footprint or self.footprint + footprint <= most

    def affinity(self, prefix: str) -> int:
        """Rendezvous hashing: the backend with the highest answer is the prefix's own."""
        digest = self._hash.copy()
        digest.update(prefix.encode())
        return int.from_bytes(digest.digest(), "big")


class Backends:
    """The backends of one pool.  A removed one stays until what runs there is released."""

    def __init__(self) -> None:
        self.by_name: dict[str, Backend] = {}
        self.holdback_permille = 0

    def set(
        self,
        name: str,
        limit: int,
        held_back: int | None,
        *,
        open: bool,
        kv_tokens: int | None = None,
    ) -> None:
        backend = self.by_name.get(name)
        if backend is None:
            backend = self.by_name[name] = Backend(name)
        backend.most_footprint = None if kv_tokens is None else kv_tokens * GUARDED_PERCENT // 100
        backend.base_limit = limit
        backend.own_holdback = held_back
        backend.open = open
        backend.removed = False
        self._hold_back(backend)

    def remove(self, name: str) -> None:
        backend = self.by_name.get(name)
        if backend is None:
            return
        backend.open = False
        backend.removed = True
        if backend.in_flight == 0:
            del self.by_name[name]

    def share_holdback(self, permille: int) -> None:
        """Apply a policy's holdback share wherever no number was set."""
        self.holdback_permille = permille
        for backend in self.by_name.values():
            self._hold_back(backend)

    def _hold_back(self, backend: Backend) -> None:
        if backend.own_holdback is not None:
            backend.held_back = backend.own_holdback
        elif self.holdback_permille == 0:
            backend.held_back = 0
        else:
            backend.held_back = max(1, -(-backend.base_limit * self.holdback_permille // 1000))

    @property
    def base_limit(self) -> int:
        return sum(backend.base_limit for backend in self.by_name.values() if backend.open)

    @property
    def free(self) -> int:
        """Slots that less urgent requests could take at this moment."""
        return sum(
            max(0, backend.base_limit - backend.in_flight)
            for backend in self.by_name.values()
            if backend.open
        )

    def room(self, *, urgent: bool, footprint: int | None = None) -> bool:
        """Whether one more could go; None asks for a slot alone.  Urgent ones never ask for more."""
        for backend in self.by_name.values():
            if backend.has_room(urgent=urgent) and (
                urgent or footprint is None or backend.fits(footprint)
            ):
                return True
        return False

    def choose(self, prefix: str, avoid: str, *, urgent: bool, footprint: int = 0) -> Backend:
        """The backend for one request, among those with room for it (there must be one).

        The prefix's own backend finds its KV blocks cached, unless it is busier than the pool by
        more than ``OVERLOAD_PERCENT`` points; else the emptiest; ties fall to the lower name.
        """
        roomy = [
            b
            for b in self.by_name.values()
            if b.has_room(urgent=urgent) and (urgent or b.fits(footprint))
        ]
        if len(roomy) == 1:
            return roomy[0]
        if avoid:
            roomy = [b for b in roomy if b.name != avoid]
        if len(roomy) == 1:
            return roomy[0]
        if prefix:
            own = max(roomy, key=lambda backend: (backend.affinity(prefix), backend.name))
            serving = [b for b in self.by_name.values() if b.open]
            taken = sum(b.in_flight for b in serving)
            base_limit = max(1, sum(b.base_limit for b in serving))
            if own.load <= taken * LOAD_SCALE // base_limit + OVERLOAD_PERCENT * LOAD_SCALE // 100:
                return own
        return min(roomy, key=lambda backend: (backend.load, backend.name))

    def give_back(self, name: str, sequences: int, footprint: int) -> None:
        backend = self.by_name[name]
        backend.in_flight -= sequences
        backend.footprint -= footprint
        if backend.removed and backend.in_flight == 0:
            del self.by_name[name]


class Stops:
    """How often dispatching stopped short of the first in line, and why.  They only count up:
    whoever steers capacity compares with what it saw last."""

    __slots__ = ("blocked", "guarded", "paced", "urgent_refused")

    def __init__(self) -> None:
        self.blocked = 0  # no backend had room
        self.urgent_refused = 0  # of those: the first in line was urgent
        self.paced = 0  # there was room, but no credit for growth
        self.guarded = 0  # there was a slot, but no KV cache that would hold the request


class PaceBucket:
    """Slow start for cold bursts: a bucket of prompt tokens charged with the *net* growth of less
    urgent work in flight, so that in steady state it never binds.

    Without it a cold backlog enters the engine at once, its steps grow long, and an urgent first
    token waits behind the burst's prefill.  Credit is kept in thousandths of a token.
    """

    def __init__(self) -> None:
        self.rate_tokens_per_s: int | None = None
        self._burst = 0
        self._credit = 0
        self._at_ms = 0

    def set(self, rate_tokens_per_s: int | None, burst_tokens: int, now_ms: int) -> None:
        """A rate above 0, or None for off.  Switching on starts with a full bucket."""
        self._burst = burst_tokens * 1000
        if self.rate_tokens_per_s is None:
            self._credit = self._burst
        else:
            self.refill(now_ms)
        self._at_ms = now_ms
        self.rate_tokens_per_s = rate_tokens_per_s

    def refill(self, now_ms: int) -> None:
        """Earn credit.  What stands above the burst lapses as the clock moves: a request that left
        may be replaced at once, but a drained engine must not be flooded with all it ever had
        (measured beside a second burst: urgent p95 1.5 s, and 0.2 s with this)."""
        if self.rate_tokens_per_s is not None and now_ms > self._at_ms:
            grown = self._credit + self.rate_tokens_per_s * (now_ms - self._at_ms)
            self._credit = min(self._burst, grown)
        self._at_ms = now_ms

    @property
    def binds(self) -> bool:
        return self.rate_tokens_per_s is not None and self._credit <= 0

    def take(self, prompt_tokens: int) -> int:
        """Charge a dispatch; the answer is what its release has to give back."""
        if self.rate_tokens_per_s is None:
            return 0
        self._credit -= prompt_tokens * 1000
        return prompt_tokens

    def give_back(self, prompt_tokens: int) -> None:
        if self.rate_tokens_per_s is not None:
            self._credit += prompt_tokens * 1000

    @property
    def free_at_ms(self) -> int | None:
        """When credit is above 0 again, if it is not."""
        if self.rate_tokens_per_s is None or self._credit > 0:
            return None
        return self._at_ms + -self._credit // self.rate_tokens_per_s + 1
