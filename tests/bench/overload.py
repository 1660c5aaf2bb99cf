#!/usr/bin/env python3
"""Three times more than the backend can do, in real time: who waits, and who does not?

    overload.py                       45 s of the mix "overload" against the simulated vLLM
    overload.py --rate 30 --seed 3    others

Starts a simulated vLLM, a Laneway on a temporary data folder under uvicorn, and the load
generator; prints what each tier waited.  Exit status 1 if tier realtime's queue wait p95 is not
under a second, or if nothing less urgent had to wait.
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import laneway
import machine

SEQUENCES = 16  # what the simulated server runs at once, and the slots the gateway has for it
GRACE_S = 2
REALTIME_P95_S = 1.0
# Chunks of eight tokens: what is measured is the line, and two cores have three processes to run.
SIMVLLM = f"simvllm --max-num-seqs {SEQUENCES} --kv-tokens 200000 --stream-interval 8 --port"


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="laneway-overload-") as name:
        with contextlib.ExitStack() as cleanup:
            overload = measure(options, Path(name), cleanup)
    show(overload)
    if options.out:
        options.out.write_text(json.dumps(overload) + "\n")
    if not options.smoke:
        sys.exit(not holds(overload))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rate", type=float, default=16.0, help="requests a second (default: %(default)s)")
    add("--duration", type=float, default=45.0, help="seconds (default: %(default)s)")
    add("--seed", type=int, default=7)
    add("--port", type=int, default=9100, help="and the next one")
    add("--server", choices=sorted(laneway.SERVERS), default="uvicorn")
    add("--out", type=Path)
    add("--smoke", action="store_true", help="5 s, and no judgement")
    options = parser.parse_args()
    if options.smoke:
        options.duration = 5.0
    return options


def measure(
    options: argparse.Namespace, folder: Path, cleanup: contextlib.ExitStack
) -> dict[str, Any]:
    backend, gateway = options.port, options.port + 1
    key = laneway.prepare(folder, f"http://127.0.0.1:{backend}", SEQUENCES)
    log = cleanup.enter_context((folder / "log").open("w"))
    started = (
        (laneway.words(folder, "manage.py", *SIMVLLM.split(), backend), backend, "/health"),
        (laneway.server(options.server, folder, gateway), gateway, "/v1/models"),
    )
    for words, port, path in started:
        process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        cleanup.callback(machine.stop, process)
        if not answers(port, path, key):
            sys.exit(f"nothing answers on port {port}:\n{(folder / 'log').read_text()[-3000:]}")
    generated, began = tokens_generated(backend), time.perf_counter()
    said = laneway.words(folder, "manage.py", "loadgen", "--mix", "overload", "--json")
    said += ["--url", f"http://127.0.0.1:{gateway}", "--key", key, "--hang-up-share", "0"]
    said += ["--rate", str(options.rate), "--duration", str(options.duration)]
    said += ["--seed", str(options.seed), "--grace", str(GRACE_S)]
    limit_s = options.duration + 60
    done = subprocess.run(said, capture_output=True, text=True, timeout=limit_s)
    took_s = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    summary = json.loads(done.stdout)
    rates = {
        "asked_tokens_per_s": summary["asked_tokens"] / options.duration,
        "served_tokens_per_s": (tokens_generated(backend) - generated) / took_s,
    }
    factor = rates["asked_tokens_per_s"] / max(1.0, rates["served_tokens_per_s"])
    return summary | rates | {"factor": factor, "server": options.server}


def answers(port: int, path: str, key: str, patience_s: float = 30.0) -> bool:
    """Wait until there is an answer with something in it: a gateway lists its models late."""
    url = f"http://127.0.0.1:{port}{path}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    end = time.perf_counter() + patience_s
    while time.perf_counter() < end:
        with contextlib.suppress(OSError, ValueError):
            with urllib.request.urlopen(request, timeout=5) as reply:
                text = reply.read()
                if path != "/v1/models" or json.loads(text)["data"]:
                    return True
        time.sleep(0.2)
    return False


def tokens_generated(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    found = re.findall(r"^vllm:generation_tokens_total(?:\{.*\})? (\S+)$", text, re.M)
    return sum(map(float, found))


def holds(overload: dict[str, Any]) -> bool:
    """Tier realtime hardly waits, and others do: served late, or in the line at the end."""
    tiers = overload["tiers"]
    p95_s = tiers.get("realtime", {}).get("queue_wait_s", {}).get("p95")
    others = [tier for name, tier in tiers.items() if name != "realtime"]
    waited_s = [tier["queue_wait_s"]["p95"] or 0.0 for tier in others]
    waited_s += [tier["oldest_unfinished_s"] for tier in others]
    return p95_s is not None and p95_s < REALTIME_P95_S < max(waited_s, default=0.0)


def show(overload: dict[str, Any]) -> None:
    print(
        f"asked for {overload['asked_tokens_per_s']:.0f} tokens/s, "
        f"got {overload['served_tokens_per_s']:.0f}: {overload['factor']:.1f}x overload"
    )
    print(f"{'tier':<22}{'sent':>6}{'served':>8}{'refused':>9}{'open':>6}{'oldest':>9}", end="")
    print(f"{'wait p50':>10}{'p95 s':>8}{'ttft p95 s':>12}")
    for name, tier in overload["tiers"].items():
        refused, oldest_s = sum(tier["refused"].values()), tier["oldest_unfinished_s"]
        print(f"{name:<22}{tier['sent']:>6}{tier['ok']:>8}{refused:>9}", end="")
        print(f"{tier['unfinished']:>6}{oldest_s:>9.1f}", end="")
        wait, ttft = tier["queue_wait_s"], tier["ttft_s"]
        for seconds, width in ((wait["p50"], 10), (wait["p95"], 8), (ttft["p95"], 12)):
            print(f"{'-' if seconds is None else format(seconds, '.2f'):>{width}}", end="")
        print()


if __name__ == "__main__":
    main()
