"""What can be said to the scheduler, and what it answers.  Values only; no rule lives here."""

from typing import Literal, NamedTuple

from gateway.core.canary import Canary
from gateway.core.policy import Policy

Lane = Literal["strict", "rescue", "reserved"]
RejectCode = Literal["queue_full", "tenant_queue_full", "displaced", "tier_draining"]


class Submit(NamedTuple):
    """A request joins the line.  ``cost`` is in tokens, as ``estimate`` weighs them."""

    id: str
    tier: str
    tenant: str
    cost: int
    prompt_tokens: int = 0
    prefix: str = ""  # affinity key: equal prefixes go to the same backend while its load allows
    expires_at_ms: int | None = None  # the caller's own deadline; the tier's max wait always holds
    arrived_ms: int | None = None
    avoid: str = ""  # a backend that is taken only when no other has room
    footprint: int = 0  # KV tokens it will fill at its end: prompt and all of its output
    sequences: int = 1  # choices times prompts: what the engine counts, so as many slots
    body_bytes: int = 0  # what it holds in memory while it waits
    key: str = ""  # these three decide nothing: people find their requests by them
    model: str = ""
    task_type: str = ""


class Release(NamedTuple):
    """The exchange upstream is closed.  ``cost`` is the real one; None: the estimate stands."""

    id: str
    cost: int | None = None


class Retry(NamedTuple):
    """Dispatched, no byte forwarded: back into its flow, arrival and place kept."""

    id: str
    avoid: str = ""


class Cancel(NamedTuple):
    """The caller left.  Waiting: gone.  In flight: as Release with this cost."""

    id: str
    cost: int | None = None


class Boost(NamedTuple):
    """A person lifts (or lowers) one waiting request; 0 takes an earlier boost back."""

    id: str
    by: int  # clamped to -5..5


class Move(NamedTuple):
    """A waiting request belongs to another tier from now on; arrival and seq are kept."""

    id: str
    tier: str


class Evict(NamedTuple):
    """A person removes one waiting request."""

    id: str


class SetBackend(NamedTuple):
    """A backend joins or changes.  Its limit is ``limit`` + ``held_back``."""

    name: str
    limit: int  # the base limit: what tiers below the urgent threshold may use
    held_back: int | None = (
        None  # None: the policy's share of ``limit``, at least 1 (0 if that is 0)
    )
    open: bool = True  # False: draining or its breaker is open; what runs there runs on
    kv_tokens: int | None = None  # size of its KV cache; None: unknown, so nothing is guarded


class RemoveBackend(NamedTuple):
    name: str


class Edit(NamedTuple):
    policy: Policy
    version: int
    canary: Canary | None = None  # a newer version that some tenants follow


class Pause(NamedTuple):
    """A paused tier accepts and keeps its line, but none of it is dispatched."""

    tier: str
    paused: bool = True


class Drain(NamedTuple):
    """A draining tier refuses what arrives and finishes what it has; retries keep their place."""

    tier: str
    draining: bool = True
    until_ms: int | None = None  # when it is expected to end: what those refused are told


class Pace(NamedTuple):
    """How fast less urgent work in flight may grow, in prompt tokens; None switches pacing off."""

    rate_tokens_per_s: int | None
    burst_tokens: int = 8192  # vLLM's usual max_num_batched_tokens: one full engine step


Op = (
    Submit
    | Release
    | Retry
    | Cancel
    | Boost
    | Move
    | Evict
    | SetBackend
    | RemoveBackend
    | Edit
    | Pause
    | Drain
    | Pace
)


class Dispatch(NamedTuple):
    id: str
    backend: str
    priority: int  # the effective one; 10 in the rescue lane, so that its turn is kept inside vLLM
    lane: Lane
    waited_ms: int
    boost: int  # effective priority less the tier's own: ageing and a person's boost
    version: int  # of the policy that ordered it
    boosted: int = 0  # a person's part of the boost


class Reject(NamedTuple):
    id: str
    code: RejectCode
    until_room_ms: int | None  # at the rate the tier empties at; None: it does not, or nobody knows


class Expire(NamedTuple):
    id: str
    waited_ms: int


class Evicted(NamedTuple):
    id: str


Decision = Dispatch | Reject | Expire | Evicted
