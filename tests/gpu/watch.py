#!/usr/bin/env python3
"""Write down, four times a second, what vLLM's metrics and the processes' CPU clocks say.

    watch.py OUT.jsonl METRICS_URL [name=pid ...]

A process of its own, so that reading a thousand lines of metrics delays no request of the load.
"""

import http.client
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

EVERY_S = 0.25
NAMES = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv",
    "vllm:num_preemptions_total": "preemptions",
    "vllm:request_queue_time_seconds_sum": "queue_s",
    "vllm:request_queue_time_seconds_count": "queue_n",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:generation_tokens_total": "generation_tokens",
    "vllm:prefix_cache_hits_total": "cached_tokens",
    "vllm:request_success_total": "finished",
    "vllm:inter_token_latency_seconds_sum": "itl_s",
    "vllm:inter_token_latency_seconds_count": "itl_n",
    "vllm:iteration_tokens_total_sum": "step_tokens",
    "vllm:iteration_tokens_total_count": "steps",
}
LINE = re.compile(r"^(vllm:[a-z_]+)(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.M)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def read(connection: http.client.HTTPConnection) -> dict[str, float]:
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    row = dict.fromkeys(NAMES.values(), 0.0)
    for name, value in LINE.findall(text):
        if name in NAMES:
            row[NAMES[name]] += float(value)
    return row


def cpu_s(pid: int) -> float:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(after_name[11]) + int(after_name[12])) / TICKS_PER_S


def main() -> None:
    out, url, *named = sys.argv[1:]
    pids = {name: int(pid) for name, pid in (one.split("=") for one in named)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    due = time.perf_counter()
    with Path(out).open("a", buffering=1) as file:
        while True:
            try:
                row = read(connection)
            except (OSError, http.client.HTTPException):
                connection.close()
            else:
                row = {"t": round(time.perf_counter(), 4), **row}
                row |= {f"cpu_{name}": cpu_s(pid) for name, pid in pids.items()}
                file.write(json.dumps(row, separators=(",", ":")) + "\n")
            due = max(due + EVERY_S, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))


if __name__ == "__main__":
    main()
