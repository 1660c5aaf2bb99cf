#!/usr/bin/env python3
"""Start a vLLM for the proof, wait until it answers, and leave it running.

    serve.py MODEL [--port 8100] [--log vllm.log] [-- vLLM's own options]

Prints its process id.  One server is enough for all arrangements: under the priority policy equal
priorities are served in order of arrival, which is first come, first served.
"""

import argparse
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

WITHIN_S = 420
OPTIONS = (
    "--scheduling-policy priority --max-num-seqs 256 --max-model-len 16384 "
    # 400,000 tokens: chat takes under half of it, and 4,000-token prompts are bound by it.
    "--num-gpu-blocks-override 25000 --gpu-memory-utilization 0.85 "
    "--no-enable-log-requests --disable-uvicorn-access-log"
)
QUIET = {  # no network, and nothing that has to be compiled by a second package
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}


def command(model: str, port: int, options: list[str]) -> list[str]:
    words = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", model]
    words += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "qwen"]
    folder = Path(model)
    if folder.is_dir() and not list(folder.glob("*.safetensors")):
        words += ["--load-format", "dummy"]
    return words + OPTIONS.split() + options


def start(model: str, port: int, log: Path, options: list[str]) -> subprocess.Popen[bytes]:
    """Returns once the server is healthy; its complaint ends this program."""
    settings = {**os.environ, **QUIET}  # noqa: TID251 - another program's settings, passed on
    words = command(model, port, options)
    with log.open("wb") as out:
        server = subprocess.Popen(
            words, stdout=out, stderr=out, env=settings, start_new_session=True
        )
    begun = time.perf_counter()
    while time.perf_counter() - begun < WITHIN_S:
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
        else:
            print(f"vLLM is up after {time.perf_counter() - begun:.0f} s, process {server.pid}")
            return server
    server.kill()
    sys.exit(f"vLLM did not come up.\n{log.read_text(errors='replace')[-6000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--log", type=Path, default=Path("vllm.log"))
    parser.add_argument("options", nargs="*", help="vLLM's own, after --")
    given = parser.parse_args()
    start(given.model, given.port, given.log, given.options)


if __name__ == "__main__":
    main()
