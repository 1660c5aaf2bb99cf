"""What a run needs: the server, the gateway, the watcher; and where a run's figures are kept."""

import asyncio
import gzip
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from figures import summary
from laneway import Laneway
from load import Load, Record, Target

HERE = Path(__file__).resolve().parent
VLLM_NUMBERS = {"low": 5, "urgent": -10}  # vLLM: lower is earlier
LANEWAY_NUMBERS = {"low": -5, "urgent": 10}  # the tiers batch and realtime
DIRECT = ("fcfs", "priority")


class Rig:
    def __init__(
        self, out: Path, vllm_url: str, vllm_pid: int, laneway: Laneway, label: str
    ) -> None:
        self.label = label  # which gateway it was, where several are compared
        self.out = out
        self.vllm_port = int(vllm_url.rsplit(":", 1)[1])
        self.vllm_url = vllm_url
        self.vllm_pid = vllm_pid
        self.laneway = laneway
        self.watching: subprocess.Popen[bytes] | None = None
        (out / "runs").mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(f"{vllm_url}/v1/models", timeout=10) as reply:
            self.model = json.load(reply)["data"][0]["id"]

    def target(self, arrangement: str, **numbers: int) -> Target:
        if arrangement == "laneway":
            return Target(self.laneway.port, self.laneway.key, LANEWAY_NUMBERS | numbers)
        priority = VLLM_NUMBERS | numbers if arrangement == "priority" else {}
        return Target(self.vllm_port, "", priority)

    def alone(self) -> None:
        """No gateway while a run goes past it: it would take the engine's queue for its own."""
        self.laneway.stop()
        self.watch()

    def cold(self) -> None:
        """A gateway that knows nothing of its server yet."""
        self.laneway.start()
        self.watch()

    async def prepare(self, arrangement: str, state: str) -> None:
        if arrangement in DIRECT:
            self.alone()
        elif state == "cold" or self.laneway.server is None:
            self.cold()
        await self.quiet()

    def watch(self) -> None:
        self.stop_watching()
        words = [sys.executable, str(HERE / "watch.py"), str(self.out / "watch.jsonl")]
        words.append(f"{self.vllm_url}/metrics")
        if self.laneway.server is not None:
            words.append(f"laneway={self.laneway.server.pid}")
        if self.vllm_pid:
            words.append(f"vllm_api={self.vllm_pid}")
        self.watching = subprocess.Popen(words)

    def stop_watching(self) -> None:
        if self.watching is not None:
            self.watching.terminate()
            self.watching.wait()
            self.watching = None

    async def quiet(self) -> None:
        """Until the engine has nothing left, and half a second more."""
        file = self.out / "watch.jsonl"
        for _ in range(240):
            row = last_row(file)
            fresh = row and time.perf_counter() - row["t"] < 1
            if row and fresh and not row["running"] and not row["waiting"]:
                break
            await asyncio.sleep(0.25)
        await asyncio.sleep(0.5)

    def load(self, arrangement: str, **numbers: int) -> Load:
        return Load(self.target(arrangement, **numbers), self.model)

    def keep(self, about: dict[str, Any], load: Load, **more: Any) -> dict[str, Any]:
        """Write a run down, whole and compressed; print and return its figures."""
        ended = time.perf_counter()
        about = {"gateway": self.label} | about
        watched = between(self.out / "watch.jsonl", load.started - 0.5, ended, load.started)
        traced: list[dict[str, Any]] = []
        if about["arrangement"] == "laneway":
            trace = self.laneway.home / "trace.jsonl"
            traced = between(trace, load.started - 0.5, ended, load.started)
        rows = [record.row() for record in load.records]
        figures = about | summary(rows, watched, traced) | more.pop("figures", {})
        name = "-".join(
            str(about[part]) for part in ("experiment", "arrangement", "gateway", "state", "repeat")
        )
        document = {"about": about, "figures": figures, "fields": Record.FIELDS, "records": rows}
        document |= {"watched": columns(watched), "traced": columns(traced)} | more
        with gzip.open(self.out / "runs" / f"{name}.json.gz", "wt", compresslevel=9) as file:
            json.dump(document, file, separators=(",", ":"))
        with (self.out / "figures.jsonl").open("a") as file:
            file.write(json.dumps(figures) + "\n")
        print(json.dumps(figures, separators=(",", ":")), flush=True)
        return figures

    def known(self, experiment: str, figure: str, otherwise: float) -> float:
        """The mean of a figure over the direct runs so far."""
        file = self.out / "figures.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        rows = [json.loads(line) for line in lines]
        found = [
            row[figure]
            for row in rows
            if row["experiment"] == experiment and row["arrangement"] in DIRECT
        ]
        return sum(found) / len(found) if found else otherwise


def last_row(file: Path) -> dict[str, float] | None:
    if not file.exists():
        return None
    with file.open("rb") as lines:
        lines.seek(max(0, file.stat().st_size - 2000))
        whole = lines.read().decode().split("\n")[:-1]
    row: dict[str, float] | None = json.loads(whole[-1]) if whole else None
    return row


def between(file: Path, start: float, end: float, zero: float) -> list[dict[str, Any]]:
    """The rows of a time, which then counts from ``zero``."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [row for row in rows if start <= row["t"] <= end]
    return [row | {"t": round(row["t"] - zero, 3)} for row in rows]


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in rows] for name in rows[0]} if rows else {}
