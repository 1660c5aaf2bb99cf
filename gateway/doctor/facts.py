"""What was learnt before anything is judged.  None: nobody could tell."""

from typing import NamedTuple

from msgspec import Struct

from gateway.core.snapshot import SchedulingPolicy
from gateway.selfreport import SelfReport


class Live(Struct, frozen=True):
    """What the running gateway shows of one backend."""

    scheduling_policy: SchedulingPolicy = "unknown"  # what it goes by, having watched it
    in_flight: int = 0
    limit: int = 0
    engine_waiting: int | None = None


class Server(NamedTuple):
    """One backend, asked."""

    name: str
    pool: str
    url: str
    declared: SchedulingPolicy
    max_in_flight: int | None
    error: str = ""  # why it could not be asked; the rest is unknown then
    version: str = ""
    models: tuple[str, ...] = ()
    report: SelfReport = SelfReport()
    reports_itself: bool = False  # /server_info is open
    kv_tokens: int | None = None
    prefix_caching: bool | None = None
    clock_skew_s: float | None = None
    ttft_s: float | None = None  # of a tiny, most urgent probe
    probe_error: str = ""
    live: Live | None = None

    @property
    def policy(self) -> SchedulingPolicy:
        """As the gateway judges it: the server's own word, what was seen, what was stated."""
        if self.report.policy != "unknown":
            return self.report.policy
        if self.live and self.live.scheduling_policy != "unknown":
            return self.live.scheduling_policy
        return self.declared


class Traffic(NamedTuple):
    """The last hour of finished requests."""

    requests: int = 0
    wait_p95_s: float = 0.0
    tiers: tuple[str, ...] = ()
    unstated: int = 0  # requests that named neither priority nor task type
    clamped: tuple[tuple[str, int], ...] = ()  # key and requests, most first
    unmapped: tuple[tuple[str, int], ...] = ()  # task type and requests, most first


class Site(NamedTuple):
    gateway_error: str = ""  # why the running gateway could not be asked
    database_error: str = ""
    unapplied: tuple[str, ...] = ()  # migrations
    unreadable: tuple[str, ...] = ()  # rows that gateways leave out: which, and why
    policy_version: int = 0
    keys_in_use: int = 0
    keys_without_pepper: int = 0
    redis_error: str | None = None  # None: no Redis is configured
    workers: int | None = None  # Celery's; None: they could not be asked
