"""ONE REQUEST, first byte to last.  Read this first.

    headers → who is it → body → what does it want → where does it belong → wait for a turn
            → send upstream → first byte → relay → settle

No policy, no parsing, no SQL and no status numbers here: each line calls the module that knows.
Clean-up is synchronous all the way down, so a caller that leaves at any line leaves nothing.
"""

import asyncio
import logging
from typing import NoReturn

from gateway import errors, headers, inquiry, progress, vllm_errors
from gateway.auth import Caller, Directory, allows_model
from gateway.backend import Backend
from gateway.backends import Fleet
from gateway.core import wire
from gateway.core.ops import Submit
from gateway.core.policy import resolve
from gateway.exchange import BODY_SILENCE_S, HungUp, Receive, Reply, Request, Scope, Send
from gateway.headers import deadline_s
from gateway.inquiry import Register
from gateway.journey import Journey
from gateway.lateness import Lateness
from gateway.metrics import Metrics
from gateway.pools import Pool
from gateway.queue import Turn
from gateway.quotas import Quotas
from gateway.records import Recorder
from gateway.shadow import Shadowing
from gateway.tracing import Tracing
from gateway.upstream import (
    BrokenBeforeHead,
    BrokenOff,
    NotConnected,
    Response,
    Upstream,
    UpstreamError,
)

logger = logging.getLogger(__name__)

# A plain answer up to here is collected and leaves with its length, so a backend that breaks off
# is a clean 502.  A longer one leaves as it comes.
WHOLE_REPLY_BYTES = 1024 * 1024
ERROR_BODY_BYTES = 64 * 1024
BLOCKED_READER_S = 60.0
COMMENT = b":"  # a keep-alive of the model server's, sent while the request waits inside it
EARLY_ERROR = b'data: {"error"'
RETRYABLE = (NotConnected, BrokenBeforeHead, BrokenOff)  # and only before a byte was forwarded


class Overloaded(Exception):
    """The model server's own queue is full: no failure, the request takes its old place again."""


class Proxy:
    """Answers every path of the data plane that a caller with a key may ask for."""

    def __init__(
        self,
        directory: Directory,
        fleet: Fleet,
        upstream: Upstream,
        metrics: Metrics,
        recorder: Recorder,
        tracing: Tracing | None = None,
    ) -> None:
        self.directory = directory
        self.fleet = fleet
        self.upstream = upstream
        self.metrics = metrics
        self.recorder = recorder
        self.tracing = tracing
        self.quotas = Quotas()
        self.shadow = Shadowing(directory)
        self.register = Register()
        self.lateness = Lateness()
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        journey = Journey(request, Reply(send, request.direct))
        self.register.enter(journey)
        if self.tracing is not None:
            self.tracing.begin(journey)
        try:
            await self._answer(journey)
        except HungUp:
            journey.hung_up()
        except errors.GatewayError as error:
            await self._refuse(journey, error)
        except asyncio.CancelledError:
            verdict = journey.uncancelled()
            if verdict is None:
                raise
            if isinstance(verdict, HungUp):
                journey.hung_up()
            else:
                await self._refuse(journey, verdict)
        except Exception:  # the one place that answers: anything else is our own fault
            logger.exception("request %s failed", journey.id)
            await self._refuse(journey, errors.internal(journey.shown_id))
        finally:
            self.register.leave(journey)
            self.metrics.finished(journey)
            self.recorder.record(journey)
            if self.tracing is not None:
                self.tracing.finished(journey)

    def _caller(self, request: Request, endpoint: str) -> Caller:
        return self.directory.authenticate(request.headers, endpoint, request.address)

    async def _answer(self, journey: Journey) -> None:
        request, reply = journey.request, journey.reply
        endpoint = wire.ENDPOINTS.get(request.path)
        if endpoint is None:
            await self._answer_here(journey)
            return
        journey.family = endpoint.family
        if self.draining:
            raise errors.shutting_down()
        if request.method != "POST":
            raise errors.method_not_allowed(request.method, request.path, "POST")
        caller = journey.caller = self._caller(request, request.path)
        self.register.known(journey)
        try:
            call = wire.parse(request.path, request.headers, await request.body())
        except wire.WireError as error:
            raise errors.bad_request(error.code, error.message, error.param) from None
        journey.call = call
        pool = journey.pool = self.fleet.pool_of(call.model, allows_model(caller))
        with request.cancelled_by_hangup():
            if endpoint.queued:
                await self._in_turn(journey, pool)
            else:
                await self._pass_on(journey, pool.any_backend(), wire.outgoing(call, 0), 0)
            await reply.end()

    async def _answer_here(self, journey: Journey) -> None:
        """What needs no model server, and a clear no to every path that is not offered."""
        request, reply = journey.request, journey.reply
        path, method = request.path, request.method
        asks_why = path.startswith("/api/v1/requests/") and path.endswith("/explain")
        if path == "/v1/requests" or path.startswith("/v1/requests/") or asks_why:
            caller = journey.caller = self._caller(request, path)
            answer = inquiry.answer_why if asks_why else inquiry.answer
            await answer(self.register, caller, request, reply)
        elif path == "/v1/models" or path.startswith("/v1/models/"):
            if method not in ("GET", "HEAD"):
                raise errors.method_not_allowed(method, path, "GET")
            caller = journey.caller = self._caller(request, "/v1/models")
            body = self.fleet.models_body(
                path.removeprefix("/v1/models").strip("/"), allows_model(caller)
            )
            await reply.whole(200, journey.headers({"content-type": "application/json"}), body)
        else:
            raise errors.unknown_url(method, path)
        journey.completed(200)

    async def _in_turn(self, journey: Journey, pool: Pool) -> None:
        """Find the request's tier, charge it, wait in the pool's line, and use the slot."""
        call, caller = journey.call, journey.caller
        assert call is not None
        assert caller is not None
        wanted = journey.wanted = journey.placement = resolve(
            caller.policy, caller.tenant_rules, caller.key_rules, call.statement, caller.moved_to
        )
        if self.lateness.short_of_cpu and wanted.tier.priority < 0:
            raise errors.overloaded(wanted.tier.name)
        pool.refuse_if_dark(call.model)
        cost, footprint = pool.work_of(call, caller.tenant, wanted.task_type)
        journey.reserved = cost
        expires_at_ms = pool.latest_start_ms(
            wanted.tier, caller.tenant, deadline_s(journey.request.headers), journey.arrived_at
        )
        self.quotas.refuse_too_many(caller)
        with self.shadow.beside(journey, cost):
            charged = journey.charged = self.quotas.admit(caller, wanted, cost)
        journey.placement = charged.placement
        submit = Submit(
            id=journey.id,
            tier=charged.placement.tier.name,
            tenant=caller.tenant,
            cost=cost,
            prompt_tokens=call.prompt_tokens,
            prefix=call.prefix,
            expires_at_ms=expires_at_ms,
            footprint=footprint,
            sequences=call.sequences,
            body_bytes=len(call.body),
            key=caller.key_id8,
            model=call.model,
            task_type=wanted.task_type,
        )
        pool.steering.arrived(charged.placement.tier.priority, call.sequences)
        self.recorder.arrived(journey)
        turn = pool.queue.turn(submit)
        try:
            await progress.told(journey, turn.taken())
            await self._in_slot(journey, pool, turn)
        finally:
            real_cost = journey.cost()
            turn.leave(real_cost or 0)
            self.quotas.settle(charged, real_cost)

    async def _in_slot(self, journey: Journey, pool: Pool, turn: Turn) -> None:
        """Send it; once more if nothing came of it and no byte was forwarded."""
        call, caller, placement = journey.call, journey.caller, journey.placement
        assert call is not None
        assert caller is not None
        assert placement is not None
        retried = False
        while True:
            dispatch = turn.dispatch
            backend = pool.backends[dispatch.backend]
            journey.dispatched(dispatch, backend)
            self.metrics.dispatched(journey)
            self.recorder.dispatched(journey)
            await progress.say_dispatched(journey)
            number = wire.vllm_priority(
                dispatch.priority, scheduled_by_priority=backend.takes_priority
            )
            try:
                with backend.watched(journey.id, dispatch.priority, call):
                    await self._pass_on(journey, backend, wire.outgoing(call, number), number)
                if (tokens := journey.tokens().completion_tokens) is not None:
                    pool.learn(call, caller.tenant, placement, tokens)
                pool.steering.served(backend, placement.tier.priority, journey.service_s)
                return
            except asyncio.CancelledError:
                journey.left_running = True
                raise
            except Overloaded:
                pool.steering.overloaded(backend)
            except errors.GatewayError as error:
                if error.code == "upstream_error":
                    pool.steering.erred(backend)
                raise
            except UpstreamError as error:
                self.fleet.failed(pool, backend, error)
                worth_it = not journey.forwarded and not retried and isinstance(error, RETRYABLE)
                if not worth_it or not pool.may_retry():
                    raise vllm_errors.of_exchange(error, started=journey.forwarded) from error
                retried = True
            await turn.again(avoid=backend.name)

    async def _pass_on(self, journey: Journey, backend: Backend, body: bytes, number: int) -> None:
        """One exchange with one model server.  The reply starts with its first byte, not before:
        until then another server can take over, or the failure be told with a true status."""
        call = journey.call
        assert call is not None
        tracing = self.tracing
        received = journey.request.headers if tracing is None else tracing.continued(journey)
        async with self.upstream.exchange(
            backend.origin,
            "POST",
            call.endpoint,
            headers.upstream(received, journey.id, number, backend.api_key),
            body,
            streaming=call.stream,
        ) as response:
            first = await response.next()
            backend.answered(journey.id, first)
            if response.status >= 300:
                _raise_for(journey, response.status, await _collect(response, first))
            if first.startswith(EARLY_ERROR):
                event = first.removeprefix(b"data: ").split(b"\n", 1)[0]
                _raise_for(journey, vllm_errors.status_in(event), event)
            if not first.startswith(COMMENT):
                journey.first_byte()
            if call.stream and response.headers.get("content-type", "").startswith("text/event"):
                await self._relay_stream(journey, response, first)
            else:
                await self._relay_whole(journey, response, first)

    async def _relay_stream(self, journey: Journey, response: Response, chunk: bytes) -> None:
        call, reply = journey.call, journey.reply
        assert call is not None
        reader = journey.reader = wire.UsageReader(
            journey.family, wants_usage=call.wants_usage, stamp=journey.stamp()
        )

        def passes(chunk: bytes) -> bool:
            """The usual token, passed on where it arrives; anything else comes by below."""
            if journey.first_byte_at is None or not reply.takes_more or not reader.passes(chunk):
                return False
            reply.write_now(chunk)
            return True

        while chunk:
            if journey.first_byte_at is None and not chunk.startswith(COMMENT):
                journey.first_byte()
            if events := reader.feed(chunk):
                if not reply.started:
                    await reply.start(200, journey.headers(headers.STREAM))
                journey.forwarded = True
                await reply.write(events)
            _raise_for_event(reader.error)
            try:
                chunk = await response.next(passes)
            except UpstreamError:
                if not reader.saw_end:
                    raise
                break  # all has been said, however the connection ends
        rest = reader.finish()
        _raise_for_event(reader.error)
        if not reader.saw_end:
            raise BrokenOff("the stream ended without its terminator")
        if not reply.started:
            await reply.start(200, journey.headers(headers.STREAM))
        journey.completed(200)
        await reply.end(rest)

    async def _relay_whole(self, journey: Journey, response: Response, first: bytes) -> None:
        """A plain answer: collected if it is of usual size, passed piece by piece beyond."""
        reply = journey.reply
        shown = {"content-type": response.headers.get("content-type", "application/json")}
        pieces, size = [first], len(first)
        while chunk := await response.next():
            pieces.append(chunk)
            size += len(chunk)
            if size > WHOLE_REPLY_BYTES:
                if not reply.started:
                    await reply.start(response.status, journey.headers(shown))
                journey.forwarded = True
                await reply.write(b"".join(pieces))
                pieces = []
        journey.completed(response.status)
        if reply.started:
            await reply.end(b"".join(pieces))
            return
        body = wire.stamped(b"".join(pieces), journey.family, journey.stamp())
        journey.usage = wire.usage_of(body)
        await reply.whole(response.status, journey.headers(shown), body)

    async def _refuse(self, journey: Journey, error: errors.GatewayError) -> None:
        """Answer a failure: as a status while there is one to give, else as the last event."""
        journey.failed(error)
        reply = journey.reply
        if not reply.started:
            body = error.body(journey.family, journey.shown_id)
            await reply.whole(error.status, journey.headers(error.headers()), body)
        elif journey.call is not None and journey.call.stream:
            await reply.end(error.event(journey.family, journey.shown_id))
        else:
            await reply.end()  # JSON cut short does not parse, so nobody takes it for an answer

    def cut_the_stuck(self, now: float) -> None:
        """End the exchanges whose callers neither send nor take anything; their slots return."""
        for journey in list(self.register.journeys.values()):
            blocked_at = journey.reply.blocked_at
            if blocked_at is not None and now - blocked_at > BLOCKED_READER_S:
                journey.cut(HungUp())
            elif journey.request.body_is_stuck(now):
                journey.cut(errors.request_timeout(BODY_SILENCE_S))

    async def drain(self, patience_s: float) -> None:
        """Refuse what arrives, let what runs finish, and cut what is left after ``patience_s``."""
        self.draining = True
        running = [journey.task for journey in self.register.journeys.values()]
        if running:
            await asyncio.wait(running, timeout=patience_s)
        for journey in list(self.register.journeys.values()):
            journey.cut(errors.shutting_down())


async def _collect(response: Response, first: bytes) -> bytes:
    pieces, size = [first], len(first)
    while size < ERROR_BODY_BYTES and (chunk := await response.next()):
        pieces.append(chunk)
        size += len(chunk)
    return b"".join(pieces)


def _raise_for(journey: Journey, status: int, body: bytes) -> NoReturn:
    """A failure the model server told us of: its overload and its death are not the caller's, and
    are no answer."""
    if vllm_errors.is_overload(status, body):
        raise Overloaded
    if vllm_errors.is_dead_engine(status, body):
        raise BrokenBeforeHead("the engine is dead")
    journey.first_byte()
    raise vllm_errors.from_vllm(status, body)


def _raise_for_event(error: bytes | None) -> None:
    """An error in mid-stream is told by us, with a code that clients know."""
    if error is not None:
        told = b'{"error":%b}' % error
        raise vllm_errors.from_vllm(vllm_errors.status_in(told), told)
