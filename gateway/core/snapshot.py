"""What the line looks like at one moment: the whole contract with the dashboard.

Frozen values and the pure functions that build, cut and encode them.  Seconds are floats rounded
to a millisecond; numbers of tokens are estimates, as the scheduler charges them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.core.ledger import Quantile, Waits

VERSION = 1
BackendState = Literal["up", "down", "draining", "unknown"]
Held = Literal["", "paused", "tenant_cap"]
SchedulingPolicy = Literal["priority", "fcfs", "unknown"]


class QuantileView(Struct, frozen=True):
    value_s: float
    at_least: bool


class WaitView(Struct, frozen=True):
    """Queue waits of the last five minutes.  None: too few to say."""

    n: int
    worst_s: float
    p50: QuantileView | None
    p95: QuantileView | None
    p99: QuantileView | None


class BurnView(Struct, frozen=True):
    """How fast late requests use up what the objective allows: 1.0 is just the share allowed."""

    m5: float | None
    m30: float | None
    h1: float | None
    h6: float | None


class LostView(Struct, frozen=True):
    rejected: int
    expired: int
    evicted: int
    cancelled: int


class TierView(Struct, frozen=True, kw_only=True):
    name: str
    priority: int
    state: Literal["open", "paused", "draining"]  # since when and until: see Frame.overrides
    waiting: int
    waiting_tokens: int
    in_flight: int
    oldest_s: float | None
    wait: WaitView
    wait_1m: WaitView  # the same over one minute
    in_per_s: float
    out_per_s: float
    in_5m: int  # arrivals and dispatches: below five a rate says nothing
    out_5m: int
    aged: int  # waiting, and lifted above the tier's priority by now
    overdue: int  # waiting past the target, so in the rescue lane
    passed_over_s: float | None = None  # nothing went for so long, others did; None: none overdue
    bound_used: float | None = None  # by its longest overdue, of the starvation bound
    rescued_per_min: int
    lost_per_min: LostView
    burn: BurnView
    tokens_per_s: float = 0.0  # output tokens of what finished; the scheduler never sees them
    target_wait_s: float
    max_wait_s: float
    max_waiting: int


class HeadRow(Struct, frozen=True, kw_only=True, array_like=True):
    """One of the first in line: in JSON a list, in the order of ``PoolView.head_columns``.

    ``effective_priority`` is ``priority`` + ``aged`` + ``boost``.  Fifty rows are most of a frame;
    with a name before each value they would be twice as long.
    """

    place: int | None = None  # None: nothing of its flow may go, see ``held``
    id: str
    tenant: str
    tier: str
    task_type: str = ""
    key: str = ""  # the id8 of the key it came with
    model: str = ""  # "" where the pool serves one model only
    priority: int  # the tier's
    aged: int = 0
    boost: int = 0  # by a person
    effective_priority: int
    waited_s: float
    tokens_in: int
    tokens_out: int  # estimated
    overdue: bool = False
    held: Held = ""
    eta_s: tuple[float, float] | None = None  # the p50 and p90 of its dispatch, from now


class GroupView(Struct, frozen=True):
    """Who waits in a tier under one of two versions, while a canary runs."""

    tier: str
    version: int
    waiting: int
    oldest_s: float | None


class BackendLine(Struct, frozen=True):
    """A backend as the scheduler sees it."""

    name: str
    in_flight: int
    base_limit: int
    held_back: int
    open: bool


class Line(Struct, frozen=True, kw_only=True):
    """The scheduler at one moment, before anything is known of the engines."""

    version: int
    urgent_threshold: int
    in_flight: int
    waiting: int
    backends: tuple[BackendLine, ...]
    tiers: tuple[TierView, ...]  # most urgent first
    head: tuple[HeadRow, ...]  # in the order they would go if nothing else came
    groups: tuple[GroupView, ...] = ()


class EngineView(Struct, frozen=True, kw_only=True):
    """What the shell knows of a backend: its address, its health and its last metrics."""

    name: str
    url: str = ""
    state: BackendState = "unknown"
    engine_running: int | None = None
    engine_waiting: int | None = None
    kv_usage: float | None = None
    tokens_per_s: float | None = None
    preemptions: int | None = None
    preempted_per_min: int | None = None
    lookahead: int = 0  # what may wait inside it when all is well
    scheduling_policy: SchedulingPolicy = "unknown"
    strangers: int = 0  # requests in it that are not ours, lasting: another client uses it
    blind: bool = False  # it has shown no metrics for so long that its limit only stays
    error: str = ""


class BackendView(EngineView, frozen=True, kw_only=True):
    in_flight: int
    limit: int


class PoolView(Struct, frozen=True, kw_only=True):
    name: str
    models: tuple[str, ...]
    in_flight: int
    limit: int  # slots there are, those held back included
    held_back: int
    urgent_threshold: int
    waiting: int
    urgent_is_short: bool = (
        False  # urgent traffic has exceeded what can be held back for it, for a minute
    )
    backends: tuple[BackendView, ...]
    tiers: tuple[TierView, ...]
    head_columns: tuple[str, ...] = HeadRow.__struct_fields__
    head: tuple[HeadRow, ...]
    groups: tuple[GroupView, ...] = ()


class OverrideView(Struct, frozen=True, kw_only=True):
    """What a person ordered for a while and is in force.  Moments are unix seconds."""

    id: int
    verb: Literal["pause", "drain", "move"]
    pool: str
    tier: str  # paused or draining; where a moved tenant is
    tenant: str  # moved; "" where the override is a tier's
    by: str
    reason: str
    begun_at: float
    ends_at: float


class MarkView(Struct, frozen=True):
    """Something that happened and may explain a curve."""

    at: float  # unix seconds
    kind: Literal["policy", "override", "override_ended"]
    text: str
    by: str
    tier: str = ""  # of one tier; "" concerns all


class Frame(Struct, frozen=True, kw_only=True):
    v: int = VERSION
    seq: int
    at: float  # unix seconds
    epoch: str
    policy_version: int
    pools: tuple[PoolView, ...]
    overrides: tuple[OverrideView, ...] = ()  # of all pools, in the order they began
    marks: tuple[MarkView, ...] = ()  # the last 10, oldest first


def pool_view(
    name: str,
    models: Sequence[str],
    line: Line,
    engines: Sequence[EngineView],
    tokens_per_s: Mapping[str, float] | None = None,
    *,
    urgent_is_short: bool = False,
) -> PoolView:
    """Join the line with what is known of the engines, and of the tokens each tier produces.

    A backend that only one side knows is shown as well: it is new, or it is going.
    """
    known = {engine.name: engine for engine in engines}
    slots = {backend.name: backend for backend in line.backends}
    names = [*known, *(name for name in slots if name not in known)]
    serving = [backend for backend in line.backends if backend.open]
    held_back = sum(backend.held_back for backend in serving)
    return PoolView(
        name=name,
        models=tuple(models),
        in_flight=line.in_flight,
        limit=sum(backend.base_limit for backend in serving) + held_back,
        held_back=held_back,
        urgent_threshold=line.urgent_threshold,
        waiting=line.waiting,
        urgent_is_short=urgent_is_short,
        backends=tuple(
            _backend_view(known.get(n) or EngineView(name=n), slots.get(n)) for n in names
        ),
        tiers=tuple(
            replace(tier, tokens_per_s=round((tokens_per_s or {}).get(tier.name, 0.0), 1))
            for tier in line.tiers
        ),
        head=line.head if len(models) > 1 else tuple(replace(row, model="") for row in line.head),
        groups=line.groups,
    )


def _backend_view(engine: EngineView, slots: BackendLine | None) -> BackendView:
    return BackendView(
        **{field: getattr(engine, field) for field in EngineView.__struct_fields__},
        in_flight=slots.in_flight if slots else 0,
        limit=slots.base_limit + slots.held_back if slots else 0,
    )


def for_tenant(frame: Frame, slug: str) -> Frame:
    """What one tenant may see: its own rows, and no backend's address or error text.

    Places are kept, so the tenant sees how far down the line it stands, not who is ahead.  Of
    overrides it sees those of tiers and its own; marks name other tenants, so it sees none.
    """
    return replace(
        frame,
        overrides=tuple(one for one in frame.overrides if one.tenant in ("", slug)),
        marks=(),
        pools=tuple(
            replace(
                pool,
                head=tuple(row for row in pool.head if row.tenant == slug),
                groups=(),
                backends=tuple(
                    replace(backend, url="", error="", strangers=0) for backend in pool.backends
                ),
            )
            for pool in frame.pools
        ),
    )


def encode(frame: Frame) -> bytes:
    return msgspec.json.encode(frame)


def seconds(ms: float) -> float:
    return round(ms / 1000, 3)


def wait_view(waits: Waits) -> WaitView:
    return WaitView(
        n=waits.n,
        worst_s=seconds(waits.worst_ms),
        p50=_quantile_view(waits.p50),
        p95=_quantile_view(waits.p95),
        p99=_quantile_view(waits.p99),
    )


def _quantile_view(quantile: Quantile | None) -> QuantileView | None:
    return QuantileView(seconds(quantile.value_ms), quantile.at_least) if quantile else None
