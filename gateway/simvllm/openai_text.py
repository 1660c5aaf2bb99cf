"""Replies of /v1/chat/completions and /v1/completions, whole and streamed."""

from typing import Any
from uuid import uuid4

import msgspec

from gateway.simvllm import streams
from gateway.simvllm.asked import Asked
from gateway.simvllm.http import DONE, Reply, event
from gateway.simvllm.options import Options
from gateway.simvllm.pacer import Choice, Job


async def chat(options: Options, asked: Asked, job: Job, reply: Reply, created: int) -> None:
    await job.finished()
    body = {
        "id": asked.id,
        "object": "chat.completion",
        "created": created,
        "model": asked.model,
        "choices": [_chat_choice(asked, choice) for choice in job.choices],
        "service_tier": None,
        "system_fingerprint": streams.FINGERPRINT,
        "usage": streams.usage(options, asked, job),
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": streams.request_metrics(options, job),
    }
    await reply.json(200, body)


async def chat_stream(options: Options, asked: Asked, job: Job, reply: Reply, created: int) -> None:
    head = _head(asked, "chat.completion.chunk", created)
    cut = [_around(head, choice.index) for choice in job.choices]

    def chunks(choice: Choice, first: bool, text: str, last: bool) -> list[bytes]:
        if not (first or last or choice.tool or asked.continuous_usage):
            before, after = cut[choice.index]
            return [before + msgspec.json.encode(text) + after]
        found = []
        if first:
            role = {"role": "assistant", "content": ""}
            start = {"index": choice.index, "delta": role, "logprobs": None, "finish_reason": None}
            extra = {"prompt_token_ids": None, "prompt_text": None}
            found.append(event({**head, "choices": [start], **extra, **_so_far(asked, job)}))
        deltas: list[dict[str, Any]] = [{"content": text}]
        if choice.tool:
            deltas = [_called({"arguments": text})] if text else []
            if first:
                name = {"id": _call_id(), "type": "function"}
                deltas.insert(0, _called({"name": choice.tool}, name))
            if last:
                deltas.append({})
        for i, delta in enumerate(deltas, 1):
            ends = last and i == len(deltas)
            part: dict[str, Any] = {
                "index": choice.index,
                "delta": delta,
                "logprobs": None,
                "finish_reason": _reason(asked, choice) if ends else None,
            }
            if ends:
                part["stop_reason"] = choice.stop
            part["token_ids"] = None
            body = {**head, "choices": [part], **_so_far(asked, job)}
            if ends and not asked.include_usage:
                body["system_fingerprint"] = streams.FINGERPRINT
            found.append(event(body))
        return found

    await _stream(options, asked, job, reply, head, chunks)


async def completion(options: Options, asked: Asked, job: Job, reply: Reply, created: int) -> None:
    await job.finished()
    choices = [
        {
            "index": choice.index,
            "text": _echoed(asked, choice) + choice.text,
            "logprobs": None,
            "finish_reason": choice.reason,
            "stop_reason": choice.stop,
            "token_ids": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "routed_experts": None,
        }
        for choice in job.choices
    ]
    body = {
        **_head(asked, "text_completion", created),
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": streams.FINGERPRINT,
        "usage": streams.usage(options, asked, job),
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": streams.request_metrics(options, job),
    }
    await reply.json(200, body)


async def completion_stream(
    options: Options, asked: Asked, job: Job, reply: Reply, created: int
) -> None:
    head = _head(asked, "text_completion", created)

    def chunks(choice: Choice, first: bool, text: str, last: bool) -> list[bytes]:
        part = {
            "index": choice.index,
            "text": (_echoed(asked, choice) if first else "") + text,
            "logprobs": None,
            "finish_reason": choice.reason if last else None,
            "stop_reason": choice.stop if last else None,
            "prompt_token_ids": None,
            "token_ids": None,
        }
        body = {**head, "choices": [part], **_so_far(asked, job)}
        if last and not asked.include_usage:
            body["system_fingerprint"] = streams.FINGERPRINT
        return [event(body)]

    await _stream(options, asked, job, reply, head, chunks)


async def _stream(
    options: Options, asked: Asked, job: Job, reply: Reply, head: dict[str, Any], chunks: Any
) -> None:
    await reply.start_stream()
    tail = streams.Tail(job, options.stream_interval)
    async for gained in streams.changes(job, options.sse_keep_alive_interval_s):
        if not gained:
            await reply.write(streams.KEEP_ALIVE)
            continue
        found = [chunk for fresh in tail.fresh() for chunk in chunks(*fresh)]
        if found:
            await reply.write(b"".join(found))
    last = b""
    if asked.include_usage:
        body = {**head, "choices": [], "usage": streams.last_usage(options, asked, job)}
        if options.per_request_metrics:
            body["metrics"] = streams.last_metrics(options, job)
        last = event({**body, "system_fingerprint": streams.FINGERPRINT})
    await reply.write(last + DONE)
    await reply.end()


def _around(head: dict[str, Any], index: int) -> tuple[bytes, bytes]:
    """A plain content chunk, before and after its text.  10,000 a second are sent when 256
    requests stream, and most of a chunk never changes."""
    delta = {"content": ""}
    part = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
    whole = event({**head, "choices": [{**part, "token_ids": None}]})
    before, after = whole.split(b'"content":""')
    return before + b'"content":', after


def _so_far(asked: Asked, job: Job) -> dict[str, Any]:
    return {"usage": streams.usage_so_far(asked, job)} if asked.continuous_usage else {}


def _head(asked: Asked, kind: str, created: int) -> dict[str, Any]:
    return {"id": asked.id, "object": kind, "created": created, "model": asked.model}


def _echoed(asked: Asked, choice: Choice) -> str:
    return asked.prompts[choice.index // asked.n] if asked.echo else ""


def _reason(asked: Asked, choice: Choice) -> str:
    return asked.tool_reason if choice.tool and choice.reason == "stop" else choice.reason


def _called(function: dict[str, Any], named: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"content": None, "tool_calls": [{**(named or {}), "index": 0, "function": function}]}


def _call_id() -> str:
    return f"chatcmpl-tool-{uuid4().hex[:16]}"


def _chat_choice(asked: Asked, choice: Choice) -> dict[str, Any]:
    calls = {}
    if choice.tool:
        function = {"name": choice.tool, "arguments": choice.text}
        call = {"id": _call_id(), "type": "function", "function": function}
        calls = {"tool_calls": [call]}
    message = {
        "role": "assistant",
        "content": "" if choice.tool else choice.text,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        **calls,
        "reasoning": None,
    }
    return {
        "index": choice.index,
        "message": message,
        "logprobs": None,
        "finish_reason": _reason(asked, choice),
        "stop_reason": choice.stop,
        "token_ids": None,
        "routed_experts": None,
    }
