"""The simulated vLLM as an ASGI application: routes, keys, hang-ups, errors."""

from collections.abc import Awaitable, Callable
from functools import partial
from time import time
from typing import Any

import msgspec

from gateway.core.engine import BLOCK_TOKENS, Engine
from gateway.simvllm import (
    anthropic_messages,
    asked,
    metrics,
    openai_responses,
    openai_text,
    pooling,
    text,
)
from gateway.simvllm.fields import listing
from gateway.simvllm.http import (
    Receive,
    Refused,
    Reply,
    Request,
    Scope,
    Send,
    invalid,
    read_body,
    until_hangup,
)
from gateway.simvllm.options import KEEP_ALIVE_S, VERSION, Options
from gateway.simvllm.pacer import Job, Pacer

GUARDED = ("/v1", "/v2", "/inference", "/cohere")  # all else is open, with or without a key
BUSY = (
    "The engine is currently busy and cannot accept new requests. Please try again later or on a "
    "different instance."
)
POOLING = (
    "/v1/embeddings",
    "/pooling",
    "/classify",
    "/score",
    "/v1/score",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
)

Handler = Callable[[Request, Reply], Awaitable[None]]


class SimulatedVLLM:
    """One server.  ``options`` and ``engine`` are open to tests."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.engine = Engine(self.options.engine)
        self.metrics = metrics.Metrics(self.options)
        self.pacer = Pacer(self.engine, self.metrics, self.options.speed)
        self.started_at = int(time())
        self.open = 0
        self._routes: dict[str, dict[str, Handler]] = {
            "/health": {"GET": self._empty},
            "/ping": {"GET": self._empty, "POST": self._empty},
            "/load": {"GET": self._load},
            "/version": {"GET": self._version},
            "/metrics": {"GET": self._metrics},
            "/v1/models": {"GET": self._models},
            "/tokenize": {"POST": self._tokenize},
            "/detokenize": {"POST": self._detokenize},
            "/v1/messages/count_tokens": {"POST": self._count_tokens},
            "/v1/chat/completions": {"POST": self._chat},
            "/v1/completions": {"POST": self._completions},
            "/v1/responses": {"POST": self._responses},
            "/v1/messages": {"POST": self._anthropic},
            **{path: {"POST": self._pool} for path in POOLING},
        }
        if self.options.dev_mode:
            self._routes["/server_info"] = {"GET": self._server_info}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        query = scope["query_string"].decode("latin-1")
        request = Request(scope["method"], scope["path"], query, headers)
        echoed = headers.get("x-request-id", "")
        reply = Reply(send)
        if echoed and self.options.request_id_headers:
            reply.headers = [("x-request-id", echoed)]
        raw = await read_body(receive)
        if raw is None:
            return
        request.raw = raw
        self.open += 1
        try:
            await until_hangup(receive, self._answer(request, reply))
        finally:
            self.open -= 1
            handler = request.path if request.path in self._routes else "none"
            self.metrics.answered(handler, request.method, reply.status or 200)

    async def _answer(self, request: Request, reply: Reply) -> None:
        try:
            await self._handler(request)(request, reply)
        except Refused as refused:
            if refused.message == BUSY:
                self.metrics.refused()
            await reply.json(refused.status, refused.body(request.path))

    def _handler(self, request: Request) -> Handler:
        keys = self.options.api_keys
        if keys and request.path.startswith(GUARDED):
            scheme, _, key = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or key not in keys:
                return partial(_plain, 401, {"error": "Unauthorized"})
        methods = self._routes.get(request.path)
        if methods is None:
            return partial(_plain, 404, {"detail": "Not Found"})
        if request.method not in methods:
            return partial(_not_allowed, ", ".join(methods))
        return methods[request.method]

    def _submit(self, job: Job) -> None:
        most = self.options.max_num_queued_reqs
        if most is not None and self.engine.running + self.engine.waiting >= most:
            raise Refused(503, BUSY, "Service Unavailable")
        self.pacer.submit(job)

    # ---------------------------------------------------------------- generation

    async def _chat(self, request: Request, reply: Reply) -> None:
        wanted = asked.chat(self.options, request, request.json())
        whole, stream = openai_text.chat, openai_text.chat_stream
        await self._generate(wanted, reply, stream if wanted.stream else whole)

    async def _completions(self, request: Request, reply: Reply) -> None:
        wanted = asked.completion(self.options, request, request.json())
        whole, stream = openai_text.completion, openai_text.completion_stream
        await self._generate(wanted, reply, stream if wanted.stream else whole)

    async def _responses(self, request: Request, reply: Reply) -> None:
        body = request.json()
        wanted = asked.responses(self.options, request, body)
        answer = openai_responses.stream if wanted.stream else openai_responses.whole
        await self._generate(wanted, reply, partial(answer, body=body))

    async def _anthropic(self, request: Request, reply: Reply) -> None:
        wanted = asked.anthropic(self.options, request, request.json())
        job = asked.job(self.options, wanted)
        self._submit(job)
        try:
            if wanted.stream:
                await anthropic_messages.stream(self.options, wanted, job, reply)
            else:
                await anthropic_messages.whole(wanted, job, reply)
        finally:
            self.pacer.abandon(job)

    async def _generate(
        self, wanted: asked.Asked, reply: Reply, answer: Callable[..., Awaitable[None]]
    ) -> None:
        job = asked.job(self.options, wanted)
        self._submit(job)
        try:
            await answer(self.options, wanted, job, reply, int(time()))
        finally:  # a hang-up cancels the line above
            self.pacer.abandon(job)

    async def _pool(self, request: Request, reply: Reply) -> None:
        pooled = pooling.ask(self.options, request, request.json(), int(time()))
        self._submit(pooled.job)
        try:
            await pooled.job.finished()
            await reply.json(200, pooled.reply)
        finally:
            self.pacer.abandon(pooled.job)

    # ---------------------------------------------------------------- the rest

    async def _empty(self, request: Request, reply: Reply) -> None:
        await reply.plain(200, "", b"")

    async def _load(self, request: Request, reply: Reply) -> None:
        await reply.json(200, {"server_load": 0})  # as without --enable-server-load-tracking

    async def _version(self, request: Request, reply: Reply) -> None:
        await reply.json(200, {"version": VERSION})

    async def _metrics(self, request: Request, reply: Reply) -> None:
        await reply.plain(200, metrics.CONTENT_TYPE, self.metrics.text())

    async def _models(self, request: Request, reply: Reply) -> None:
        card = {
            "id": self.options.model,
            "object": "model",
            "created": self.started_at,
            "owned_by": "vllm",
            "root": self.options.model,
            "parent": None,
            "max_model_len": self.options.context_tokens,
            "permission": [_permission(self.started_at)],
        }
        await reply.json(200, {"object": "list", "data": [card]})

    async def _server_info(self, request: Request, reply: Reply) -> None:
        engine = msgspec.to_builtins(self.options.engine)
        scheduler = {
            "policy": engine["scheduling_policy"],
            "max_num_seqs": engine["max_num_seqs"],
            "max_num_batched_tokens": engine["max_num_batched_tokens"],
            "long_prefill_token_threshold": engine["long_prefill_token_threshold"],
        }
        scheduler["max_num_queued_reqs"] = self.options.max_num_queued_reqs
        cache = {
            "enable_prefix_caching": engine["prefix_cache"],
            "kv_cache_size_tokens": engine["kv_tokens"] // BLOCK_TOKENS * BLOCK_TOKENS,
        }
        config: Any = {
            "model_config": {"model": self.options.model},
            "cache_config": cache,
            "scheduler_config": scheduler,
        }
        if "config_format=json" not in request.query:
            config = str(config)
        env = {"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": KEEP_ALIVE_S}
        await reply.json(200, {"vllm_config": config, "vllm_env": env, "system_env": {}})

    async def _tokenize(self, request: Request, reply: Reply) -> None:
        body = request.json()
        asked.check_model(self.options, body)
        said = body.get("prompt")
        if not isinstance(said, str):
            said, _ = asked.chat_prompt(body.get("messages"))
        ids = text.token_ids(said)
        limit = self.options.context_tokens
        await reply.json(
            200, {"count": len(ids), "max_model_len": limit, "tokens": ids, "token_strs": None}
        )

    async def _detokenize(self, request: Request, reply: Reply) -> None:
        body = request.json()
        asked.check_model(self.options, body)
        ids = body.get("tokens")
        if not isinstance(ids, list) or not all(isinstance(id, int) and id >= 0 for id in ids):
            raise invalid("tokens", "list_type", "Input should be a valid list", ids)
        await reply.json(200, {"prompt": text.text_of(ids)})

    async def _count_tokens(self, request: Request, reply: Reply) -> None:
        body = request.json()
        asked.check_model(self.options, body)
        said = [{"content": body.get("system") or ""}, *listing(body, "messages")]
        _, tokens = asked.chat_prompt(said, body.get("tools"))
        counted = {"original_input_tokens": tokens}
        await reply.json(200, {"input_tokens": tokens, "context_management": counted})


async def _not_allowed(allowed: str, request: Request, reply: Reply) -> None:
    body = msgspec.json.encode({"detail": "Method Not Allowed"})
    await reply.plain(405, "application/json", body, [("allow", allowed)])


async def _plain(status: int, body: object, request: Request, reply: Reply) -> None:
    await reply.json(status, body)


def _permission(created: int) -> dict[str, Any]:
    allowed = ("create_engine", "sampling", "logprobs", "search_indices", "view", "fine_tuning")
    return {
        "id": f"modelperm-{created:x}",
        "object": "model_permission",
        "created": created,
        **{f"allow_{name}": name in ("sampling", "logprobs", "view") for name in allowed},
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
