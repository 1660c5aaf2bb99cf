"""A caller that hangs up at a random moment, and whether anything of it is left."""

import asyncio
import json
import random
import re

import httpx

from tests.support.started import Started


async def leave(laneway: Started, rng: random.Random) -> str:
    """Ask over a socket of one's own and hang up at a random line, half of the time by a reset."""
    body = json.dumps(
        {
            "model": laneway.model,
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": rng.random() < 0.5,
            "max_tokens": rng.choice([1, 200]),
            "ignore_eos": True,
        }
    ).encode()
    task = rng.choice(["chat", "summarize", "batch_inference"])
    host, port = laneway.address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Task-Type: %b\r\n"
        b"Authorization: Bearer %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % (task.encode(), (laneway.key or "").encode(), len(body))
    )
    writer.write(body)
    patience_s = rng.choice([0.0, 0.01, 0.05, 0.2, 1.0])
    seen = "queued"
    try:
        async with asyncio.timeout(patience_s):
            while chunk := await reader.read(65_536):
                seen = "streaming" if b"data:" in chunk else "answered"
    except TimeoutError:
        pass
    if rng.random() < 0.5:
        writer.transport.abort()
    writer.close()
    return seen


def gauges(laneway: Started, admin: dict[str, str]) -> dict[str, float]:
    """In flight and waiting over all tiers, and what the model server itself is at."""
    text = httpx.get(f"{laneway.address}/metrics").text
    frame = {
        name: sum(
            float(v) for v in re.findall(rf"^laneway_num_requests_{name}{{.*}} (\S+)$", text, re.M)
        )
        for name in ("running", "waiting")
    }
    engine = httpx.get(f"{laneway.address}/api/v1/live", headers=admin).json()
    backends = engine["pools"][0]["backends"]
    return frame | {
        "engine": sum(one["engine_running"] + one["engine_waiting"] for one in backends)
    }
