"""Replies of /v1/responses.  A stream says ``created`` and ``in_progress`` before it is scheduled."""

from typing import Any
from uuid import uuid4

from gateway.simvllm import streams
from gateway.simvllm.asked import Asked
from gateway.simvllm.http import Reply, event
from gateway.simvllm.options import Options
from gateway.simvllm.pacer import Job


async def whole(
    options: Options, asked: Asked, job: Job, reply: Reply, created: int, body: dict[str, Any]
) -> None:
    await job.finished()
    await reply.json(200, _response(options, asked, job, created, body, _message(job)))


async def stream(
    options: Options, asked: Asked, job: Job, reply: Reply, created: int, body: dict[str, Any]
) -> None:
    number = -1

    def named(kind: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        return event({"type": kind, "sequence_number": number, **fields}, kind)

    await reply.start_stream()
    begun = _response(options, asked, job, created, body, None)
    await reply.write(
        named("response.created", response=begun) + named("response.in_progress", response=begun)
    )
    tail = streams.Tail(job, options.stream_interval)
    item = _message(job)
    place = {"item_id": item["id"], "output_index": 0}
    async for _ in streams.changes(job):
        found = b""
        for _, first, text, _ in tail.fresh():
            if first:
                opened = {**item, "content": [], "status": "in_progress"}
                found += named("response.output_item.added", output_index=0, item=opened)
                bare = {**item["content"][0], "text": "", "logprobs": []}
                found += named("response.content_part.added", **place, content_index=0, part=bare)
            found += named(
                "response.output_text.delta", **place, content_index=0, delta=text, logprobs=[]
            )
        if found:
            await reply.write(found)
    item = {**_message(job), "id": item["id"]}
    part = item["content"][0]
    text = part["text"]
    done = _response(options, asked, job, created, body, item)
    await reply.write(
        named("response.output_text.done", **place, content_index=0, text=text, logprobs=[])
        + named("response.content_part.done", **place, content_index=0, part=part)
        + named("response.output_item.done", output_index=0, item=item)
        + named("response.completed", response=done)  # even if its status is "incomplete"
    )
    await reply.end()


def _message(job: Job) -> dict[str, Any]:
    text = job.choices[0].text
    part: dict[str, Any] = {
        "annotations": [],
        "text": text,
        "type": "output_text",
        "logprobs": None,
    }
    return {
        "id": f"msg_{uuid4().hex}",
        "content": [part],
        "role": "assistant",
        "status": "completed",
        "type": "message",
        "phase": None,
    }


def _response(
    options: Options,
    asked: Asked,
    job: Job,
    created: int,
    body: dict[str, Any],
    item: dict[str, Any] | None,
) -> dict[str, Any]:
    """The response object; without ``item`` it is still in progress."""
    choice = job.choices[0]
    status, details, counted = "in_progress", None, None
    if item is not None:
        status = "completed" if choice.reason == "stop" else "incomplete"
        if choice.reason == "length":
            details = {"reason": "max_output_tokens"}
        counted = _usage(asked, job)
    measured = {"metrics": streams.request_metrics(options, job)} if item else {}
    return {
        "id": asked.id,
        "created_at": created,
        "incomplete_details": details,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata"),
        "model": asked.model,
        "object": "response",
        "output": [item] if item else [],
        "parallel_tool_calls": True,
        "temperature": body.get("temperature", 1.0),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "background": False,
        "max_output_tokens": asked.max_tokens or options.context_tokens - asked.prompt_tokens[0],
        "max_tool_calls": None,
        "previous_response_id": None,
        "prompt": None,
        "reasoning": None,
        "service_tier": body.get("service_tier", "auto"),
        "status": status,
        "text": None,
        "top_logprobs": None,
        "truncation": "disabled",
        "usage": counted,
        "user": body.get("user"),
        **measured,
        "presence_penalty": body.get("presence_penalty", 0.0),
        "frequency_penalty": body.get("frequency_penalty", 0.0),
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "input_messages": None,
        "output_messages": None,
    }


def _usage(asked: Asked, job: Job) -> dict[str, Any]:
    finished = job.choices[0].finished
    return {
        "input_tokens": asked.prompt_tokens[0],
        "input_tokens_details": {
            "cached_tokens": finished.cached_tokens if finished else 0,
            "cache_write_tokens": 0,
            "input_tokens_per_turn": [],
            "cached_tokens_per_turn": [],
        },
        "output_tokens": job.output_tokens,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            "tool_output_tokens": 0,
            "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": [],
        },
        "total_tokens": asked.prompt_tokens[0] + job.output_tokens,
    }
