"""How long a revoked key goes on being accepted, with traffic running: commit to the first 401.

    python -m tests.bench.revocation --keys 300 --out docs/bench/revocation

Starts the demo (``manage.py up --demo``: simulated vLLM, three tenants' traffic) on a folder of its
own, issues keys, asks with each every few milliseconds, and revokes it at a random moment.  A time
counts until the answer with 401 was read, so a pause between two questions is part of it.
"""

# ruff: noqa: TID251 -- a started process gets this one's environment, and settings come first

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
PAUSE_S = 0.02
WORKERS = 6
UP_WITHIN_S = 90
MOST_S = 10.0  # a key that is accepted so long after its end ends this run


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=300)
    parser.add_argument("--rate", type=float, default=20, help="the demo's requests a second")
    parser.add_argument("--server", choices=["daphne", "uvicorn"], default="daphne")
    parser.add_argument("--out", type=Path, help="writes OUT.md and OUT.json")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="laneway-revocation-") as home:
        port = free_port()
        os.environ |= {"LANEWAY_HOME": home, "PORT": str(port)}
        os.environ["DJANGO_SETTINGS_MODULE"] = "dashboard.settings"
        words = ["up", "--demo", "--rate", str(options.rate), "--server", options.server]
        with (Path(home) / "up.log").open("wb") as log:
            up = subprocess.Popen([sys.executable, "manage.py", *words], cwd=ROOT, stdout=log)
        try:
            taken_s, asked = asyncio.run(measure(f"http://127.0.0.1:{port}", options.keys))
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(30)
    report(options, sorted(taken_s), asked)


async def measure(address: str, count: int) -> tuple[list[float], int]:
    """Seconds from each commit to the first 401, and how many requests were made meanwhile."""
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=10) as http:
        await until_up(http)
        import django

        django.setup()
        from gateway.models import Tenant

        tenant = await Tenant.objects.aget(slug="acme")
        numbers, taken_s, asked = iter(range(count)), list[float](), [0]

        async def worker() -> None:
            for number in numbers:
                taken_s.append(await revoke_one(http, tenant, number, asked))

        await asyncio.gather(*(worker() for _ in range(WORKERS)))
    return taken_s, asked[0]


async def revoke_one(http: httpx.AsyncClient, tenant: Any, number: int, asked: list[int]) -> float:
    from gateway.models import APIKey

    loop = asyncio.get_running_loop()
    key, whole = await asyncio.to_thread(APIKey.objects.issue, tenant, f"bench-{number}")
    headers = {"authorization": f"Bearer {whole}"}
    while (await http.get("/v1/models", headers=headers)).status_code != 200:
        await asyncio.sleep(PAUSE_S)
    await asyncio.sleep(random.random())  # so that all moments of the ticker are met

    def revoke() -> float:
        key.revoke()
        return loop.time()  # the commit has returned

    revoking = asyncio.create_task(asyncio.to_thread(revoke))
    while True:
        answer = await http.get("/v1/models", headers=headers)
        asked[0] += 1
        if answer.status_code == 401:
            return max(0.0, loop.time() - await revoking)
        if revoking.done() and loop.time() - revoking.result() > MOST_S:
            sys.exit(f"The key {key.id8} is still accepted after {MOST_S} s.")
        await asyncio.sleep(PAUSE_S)


async def until_up(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(UP_WITHIN_S):
        while True:
            try:
                if (await http.get("/readyz")).is_success:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.2)


def report(options: argparse.Namespace, taken_s: list[float], asked: int) -> None:
    cuts = statistics.quantiles(taken_s, n=100, method="inclusive")
    figures = {"p50_s": cuts[49], "p90_s": cuts[89], "p99_s": cuts[98], "most_s": taken_s[-1]}
    print(
        len(taken_s), "keys;", ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
    )
    if options.out is None:
        return
    row = " | ".join(f"{value:.2f} s" for value in figures.values())
    text = f"""# How fast a revocation holds

Written by `python -m tests.bench.revocation --keys {options.keys}` on {datetime.now(UTC):%Y-%m-%d}: the demo
under {options.server} with {options.rate:g} requests/s of tenants' traffic, {os.cpu_count()} cores, {len(taken_s)} keys revoked at
random moments, {WORKERS} at a time. From the commit to the first 401 that the key's holder read, who asks
every {PAUSE_S * 1000:.0f} ms ({asked:,} requests). Target: p99 under 1 s.

| keys | p50 | p90 | p99 | most |
|---|---|---|---|---|
| {len(taken_s)} | {row} |
"""
    options.out.with_suffix(".md").write_text(text)
    document = {"taken_s": [round(one, 4) for one in taken_s], **figures}
    options.out.with_suffix(".json").write_text(json.dumps(document) + "\n")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
