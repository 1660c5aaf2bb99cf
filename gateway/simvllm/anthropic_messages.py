"""Replies of /v1/messages: Anthropic's shape, named events, no ``[DONE]``."""

from typing import Any

from gateway.simvllm import streams
from gateway.simvllm.asked import Asked
from gateway.simvllm.http import Reply, event
from gateway.simvllm.options import Options
from gateway.simvllm.pacer import Job


async def whole(asked: Asked, job: Job, reply: Reply) -> None:
    await job.finished()
    body = _message(asked, 0)
    body["content"] = [{"type": "text", "text": job.choices[0].text}]
    body["usage"]["output_tokens"] = job.output_tokens
    told = {**body, **_ending(job)}
    if told["stop_sequence"] is None:
        del told["stop_sequence"]
    await reply.json(200, told)


async def stream(options: Options, asked: Asked, job: Job, reply: Reply) -> None:
    def named(kind: str, **fields: Any) -> bytes:
        return event({"type": kind, **fields}, kind)

    await reply.start_stream()
    tail = streams.Tail(job, options.stream_interval)
    block = {"type": "text", "text": ""}
    async for _ in streams.changes(job):
        found = b""
        for _, first, text, _ in tail.fresh():
            if first:
                found += named("message_start", message=_message(asked, 0))
                found += named("content_block_start", index=0, content_block=block)
            delta = {"type": "text_delta", "text": text}
            found += named("content_block_delta", index=0, delta=delta)
        if found:
            await reply.write(found)
    counted = {"input_tokens": asked.prompt_tokens[0], "output_tokens": job.output_tokens}
    await reply.write(
        named("content_block_stop", index=0)
        + named("message_delta", delta=_ending(job), usage=counted)
        + named("message_stop")
    )
    await reply.end()


def _message(asked: Asked, output_tokens: int) -> dict[str, Any]:
    return {
        "id": asked.id,
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": asked.model,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": asked.prompt_tokens[0], "output_tokens": output_tokens},
    }


def _ending(job: Job) -> dict[str, Any]:
    choice = job.choices[0]
    reason = "max_tokens" if choice.reason == "length" else "end_turn"
    if choice.stop is not None:
        reason = "stop_sequence"
    return {"stop_reason": reason, "stop_sequence": choice.stop}
