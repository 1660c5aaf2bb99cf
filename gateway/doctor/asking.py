"""Ask every model server what it is: health, version, models, settings, figures, one token.

Nothing here judges.  Each server is asked on its own and all at once, so a silent one delays the
visit by its time-out and nobody else's answers.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from gateway.core.wire import vllm_priority
from gateway.doctor.facts import Live, Server
from gateway.models import BackendRow
from gateway.scrape import read_figures
from gateway.selfreport import PATH, SelfReport, read_server_info

TIMEOUT_S = 3.0
INFO_TIMEOUT_S = 10.0  # the first /server_info of a server looks its machine over
PROBE_TIMEOUT_S = 10.0
MOST_URGENT = 10


async def ask_all(
    rows: Sequence[BackendRow], api_key: str, live: Mapping[str, Live]
) -> list[Server]:
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    async with httpx.AsyncClient(timeout=TIMEOUT_S, headers=headers, trust_env=False) as http:
        return await asyncio.gather(*(_ask(http, row, live.get(row.name)) for row in rows))


async def _ask(http: httpx.AsyncClient, row: BackendRow, live: Live | None) -> Server:
    server = Server(
        name=row.name,
        pool=row.pool,
        url=row.url,
        declared=row.scheduling_policy,
        max_in_flight=row.max_in_flight,
        live=live,
    )
    try:
        health = await http.get(f"{row.url}/health")
        health.raise_for_status()
        listing = (await http.get(f"{row.url}/v1/models")).raise_for_status().json()
        models = tuple(str(card["id"]) for card in listing["data"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        return server._replace(error=_sentence(error))
    report = await _report(http, row.url)
    kv_tokens, caching = await _cache(http, row.url)
    ttft_s, probe_error = await _probe(http, row.url, models[0] if models else "")
    return server._replace(
        version=await _version(http, row.url),
        models=models,
        report=report or SelfReport(),
        reports_itself=report is not None,
        kv_tokens=kv_tokens,
        prefix_caching=caching if report is None else report.prefix_caching,
        clock_skew_s=_skew_s(health.headers.get("date")),
        ttft_s=ttft_s,
        probe_error=probe_error,
    )


async def _version(http: httpx.AsyncClient, url: str) -> str:
    told = await _json(http, f"{url}/version")
    return str(told.get("version", "")) if told else ""


async def _report(http: httpx.AsyncClient, url: str) -> SelfReport | None:
    told = await _json(http, f"{url}{PATH}", INFO_TIMEOUT_S)
    return read_server_info(told) if told and "vllm_config" in told else None


async def _json(
    http: httpx.AsyncClient, url: str, timeout_s: float = TIMEOUT_S
) -> dict[str, Any] | None:
    """The object at ``url``; None for anything else, as other servers have other paths."""
    try:
        told = (await http.get(url, timeout=timeout_s)).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return None
    return told if isinstance(told, dict) else None


async def _cache(http: httpx.AsyncClient, url: str) -> tuple[int | None, bool | None]:
    """The KV cache's size in tokens, and whether known prefixes are reused."""
    try:
        text = (await http.get(f"{url}/metrics")).raise_for_status().text
        kv_tokens = read_figures(text, 0.0).kv_tokens
    except (httpx.HTTPError, ValueError):
        return None, None
    on, off = ('enable_prefix_caching="True"' in text), ('enable_prefix_caching="False"' in text)
    return kv_tokens, on if on or off else None


async def _probe(http: httpx.AsyncClient, url: str, model: str) -> tuple[float | None, str]:
    """Seconds until the first token of a most urgent request, or why there was none.  A server
    without completions says 404 and is well."""
    number = vllm_priority(MOST_URGENT, scheduled_by_priority=True)
    body = {"model": model, "prompt": "a", "max_tokens": 1, "priority": number, "stream": True}
    begun = time.perf_counter()
    try:
        async with http.stream(
            "POST", f"{url}/v1/completions", json=body, timeout=PROBE_TIMEOUT_S
        ) as answer:
            if answer.status_code == httpx.codes.NOT_FOUND:
                return None, ""
            answer.raise_for_status()
            await anext(answer.aiter_bytes(), b"")
    except httpx.HTTPError as error:
        return None, _sentence(error)
    return time.perf_counter() - begun, ""


def _skew_s(date: str | None) -> float | None:
    """Its clock less ours, from the ``Date`` header, which has whole seconds."""
    try:
        return parsedate_to_datetime(date or "").timestamp() - time.time()
    except ValueError:
        return None


def _sentence(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"{error.response.status_code} to {error.request.url.path}"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return str(error) or type(error).__name__
