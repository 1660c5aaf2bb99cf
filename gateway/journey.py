"""What is known of one request: filled in on its way through ``proxy``, read once at its end.

Also the headers a caller gets back, since they tell just this.
"""

import asyncio
import math
import secrets
from typing import TYPE_CHECKING

from gateway import errors
from gateway.auth import Caller
from gateway.backend import Backend
from gateway.core import wire
from gateway.core.ops import Dispatch
from gateway.core.policy import Placement
from gateway.exchange import HungUp, Reply, Request
from gateway.headers import callers_own_id
from gateway.pools import Pool
from gateway.quotas import Charged

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class Journey:
    __slots__ = (
        "_now",
        "arrived_at",
        "backend",
        "call",
        "caller",
        "charged",
        "code",
        "dispatch",
        "dispatched_at",
        "family",
        "first_byte_at",
        "forwarded",
        "id",
        "left_running",
        "outcome",
        "placement",
        "pool",
        "reader",
        "reply",
        "request",
        "reserved",
        "shown_id",
        "span",
        "status",
        "task",
        "usage",
        "verdict",
        "wanted",
    )

    def __init__(self, request: Request, reply: Reply) -> None:
        self.request = request
        self.reply = reply
        self._now = asyncio.get_running_loop().time
        self.arrived_at = self._now()
        self.id = "req_" + secrets.token_urlsafe(16)
        self.shown_id = callers_own_id(request.headers) or self.id
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.family: errors.Family = "openai"
        self.caller: Caller | None = None
        self.call: wire.Call | None = None
        self.pool: Pool | None = None
        self.wanted: Placement | None = None  # by its own words, before any quota
        self.placement: Placement | None = None
        self.charged: Charged | None = None
        self.dispatch: Dispatch | None = None
        self.backend: Backend | None = None
        self.reader: wire.UsageReader | None = None
        self.usage = wire.Usage()
        self.dispatched_at: float | None = None
        self.first_byte_at: float | None = None
        self.forwarded = False  # a byte of the model server's answer has left for the caller
        self.reserved = 0  # what it was expected to cost
        self.left_running = False  # its caller, or who cancelled it, did not wait for the end
        self.outcome = "failed"
        self.code = ""
        self.status = 0
        self.verdict: errors.GatewayError | HungUp | None = None
        self.span: Span | None = None  # of ``tracing``, where that is on

    # What happened

    def dispatched(self, dispatch: Dispatch, backend: Backend) -> None:
        self.dispatch = dispatch
        self.backend = backend
        self.dispatched_at = self._now()

    def first_byte(self) -> None:
        if self.first_byte_at is None:
            self.first_byte_at = self._now()

    def completed(self, status: int) -> None:
        self.outcome, self.status = "completed", status

    def failed(self, error: errors.GatewayError) -> None:
        self.outcome = "rejected" if self.dispatch is None else "failed"
        if error.code in ("queue_timeout", "evicted"):
            self.outcome = {"queue_timeout": "expired", "evicted": "evicted"}[error.code]
        self.status, self.code = error.status, error.code

    def hung_up(self) -> None:
        self.outcome, self.status, self.code = "hung_up", 499, "client_disconnected"

    def cut(self, verdict: errors.GatewayError | HungUp) -> None:
        """End this request from outside, at whatever line it stands.  The caller is told
        ``verdict``; ``HungUp`` stands for a caller that takes nothing more."""
        if self.verdict is None:
            self.verdict = verdict
            self.task.cancel()

    def uncancelled(self) -> errors.GatewayError | HungUp | None:
        """After a cancellation: the verdict of ``cut``, or None if somebody else cancelled."""
        if self.verdict is not None:
            self.task.uncancel()
        return self.verdict

    @property
    def policy_version(self) -> int:
        """Of the policy that decided: that ordered its dispatch, or until then placed it."""
        if self.dispatch is not None:
            return self.dispatch.version
        return self.caller.policy_version if self.caller is not None else 0

    # What it cost and how long it took

    def tokens(self) -> wire.Usage:
        """Real usage where the model server told it, else what was seen passing by."""
        return self.reader.usage() if self.reader is not None else self.usage

    def cost(self) -> int | None:
        """The slot's real cost in the scheduler's units; None: the model server did nothing."""
        if self.call is None:
            return None
        if self.first_byte_at is not None:
            return wire.cost(self.tokens(), self.call.prompt_tokens)
        return self._unseen_cost(self.call) if self.left_running else None

    def _unseen_cost(self, call: wire.Call) -> int:
        """Of what ran and was broken off before a byte of it came: at most what was expected.

        Were it nothing, a caller could have work done for ever beside its quota and its share, by
        leaving each time before the end.  A plain answer is silent until then, so its output is
        told by the time, a token an engine step; a stream that is silent has none yet.
        """
        output_tokens = 0
        if self.backend is not None and not call.stream and self.family != "pooling":
            output_tokens = int(call.sequences * self.service_s / self.backend.law.step_s)
        usage = wire.Usage(completion_tokens=output_tokens)
        return min(self.reserved, wire.cost(usage, call.prompt_tokens))

    @property
    def e2e_s(self) -> float:
        return self._now() - self.arrived_at

    @property
    def service_s(self) -> float:
        """From dispatch until now."""
        return self._now() - (self.dispatched_at or self.arrived_at)

    @property
    def queue_wait_s(self) -> float:
        until = self.dispatched_at if self.dispatched_at is not None else self._now()
        return until - self.arrived_at

    # What the caller is told

    def stamp(self) -> str | None:
        """The ``service_tier`` to show: only to a caller that named one, and only the true one."""
        if self.call is None or self.placement is None or self.call.statement.service_tier is None:
            return None
        return wire.service_tier_stamp(self.placement.tier.priority, self.family)

    def headers(self, own: dict[str, str]) -> dict[str, str]:
        now = self._now()
        told = {**own, "x-request-id": self.shown_id}
        if self.family == "anthropic":
            told["request-id"] = self.shown_id
        if self.caller is not None:
            told["x-laneway-policy-version"] = str(self.policy_version)
            told |= self.caller.notices
        if self.placement is not None:
            dispatch = self.dispatch
            shown = dispatch.priority if dispatch else self.placement.tier.priority
            told["x-laneway-tier"] = self.placement.tier.name
            told["x-laneway-priority"] = str(shown)
            told["x-laneway-queue-wait-ms"] = str(math.floor(self.queue_wait_s * 1000))
            told["x-laneway-reason"] = ", ".join(self.reason())
        if self.charged is not None:
            told |= self.charged.headers
        told["openai-processing-ms"] = str(math.floor((now - self.arrived_at) * 1000))
        return told

    def reason(self) -> list[str]:
        """Why this tier, then what waiting made of it; on a refusal the error's code first."""
        reason = [self.code] if self.code else []
        if self.placement is not None:
            reason += self.placement.reason
        if self.dispatch is not None:
            boosted = self.dispatch.boosted
            if aged := self.dispatch.boost - boosted:
                reason.append(f"aged:+{aged}")
            if boosted:
                reason.append(f"boost:{boosted:+}")
            if self.dispatch.lane != "strict":
                reason.append(self.dispatch.lane)
        if self.backend is not None and not self.backend.honours_priority:
            reason.append("engine_fcfs")
        return reason
