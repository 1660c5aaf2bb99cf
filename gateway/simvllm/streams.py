"""What every family of replies needs: waiting for tokens, usage, per-request metrics."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from gateway.simvllm.asked import Asked
from gateway.simvllm.options import VERSION, Options
from gateway.simvllm.pacer import Choice, Job

FINGERPRINT = f"vllm-{VERSION}-simulated"
KEEP_ALIVE = b": keep-alive\n\n"


async def changes(job: Job, keep_alive_s: float = 0.0) -> AsyncIterator[bool]:
    """True each time some choice gained tokens, the last time when all are over.

    False after each ``keep_alive_s`` in which nothing came; 0 never yields it.
    """
    while not job.over:
        job.changed.clear()
        if keep_alive_s:
            try:
                async with asyncio.timeout(keep_alive_s):
                    await job.changed.wait()
            except TimeoutError:
                yield False
                continue
        else:
            await job.changed.wait()
        if not job.over:
            yield True
    yield True


class Tail:
    """How much of each choice has been sent."""

    def __init__(self, job: Job, interval: int) -> None:
        self._job, self._interval = job, interval
        self._sent = [0] * len(job.choices)
        self._ended = [False] * len(job.choices)

    def fresh(self) -> list[tuple[Choice, bool, str, bool]]:
        """Each choice with something to send: is it its first, the text, is it its last."""
        found = []
        for i, choice in enumerate(self._job.choices):
            gained = choice.generated - self._sent[i]
            due = choice.over or gained >= (self._interval if self._sent[i] else 1)
            if self._ended[i] or not due:
                continue
            text = "".join(choice.pieces[self._sent[i] : choice.generated])
            found.append((choice, not self._sent[i], text, choice.over))
            self._sent[i] = choice.generated
            self._ended[i] = choice.over
        return found


def usage(options: Options, asked: Asked, job: Job) -> dict[str, Any]:
    prompt, output = sum(asked.prompt_tokens), job.output_tokens
    cached = sum(c.finished.cached_tokens for c in job.choices if c.finished)
    details = {"cached_tokens": cached} if options.engine.prefix_cache else None
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + output,
        "completion_tokens": output,
        "prompt_tokens_details": details,
        "completion_tokens_details": None,
    }


def last_usage(options: Options, asked: Asked, job: Job) -> dict[str, Any]:
    """The same in a stream's last chunk, from which vLLM leaves out what is null."""
    return {name: n for name, n in usage(options, asked, job).items() if n is not None}


def usage_so_far(asked: Asked, job: Job) -> dict[str, Any]:
    prompt, output = sum(asked.prompt_tokens), job.output_tokens
    counted = {"prompt_tokens": prompt, "total_tokens": prompt + output}
    return {**counted, "completion_tokens": output, "completion_tokens_details": None}


def last_metrics(options: Options, job: Job) -> dict[str, Any] | None:
    """The same in a stream's last chunk."""
    told = request_metrics(options, job)
    return told and {name: value for name, value in told.items() if value is not None}


def request_metrics(options: Options, job: Job) -> dict[str, Any] | None:
    """What ``--enable-per-request-metrics`` adds: TTFT from the start, not from the arrival."""
    ended = job.choices[0].finished
    if not options.per_request_metrics or ended is None or len(job.choices) > 1:
        return None
    scale = 1000 / options.speed
    generation_ms = (ended.at_s - ended.first_token_s) * scale
    gaps = max(1, ended.output_tokens - 1)
    return {
        "time_to_first_token_ms": (ended.first_token_s - ended.started_s) * scale,
        "generation_time_ms": generation_ms,
        "queue_time_ms": (ended.started_s - ended.arrived_s) * scale,
        "mean_itl_ms": generation_ms / gaps,
        "tokens_per_second": gaps / generation_ms * 1000 if generation_ms else 0.0,
        "speculative_decoding": None,
    }
