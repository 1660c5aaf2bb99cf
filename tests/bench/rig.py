"""The measuring itself: start the stacks, load them in turns, sum up.

A *stack* is whatever stands between the load generator and the fake model server: nothing
("direct"), a bare asyncio proxy ("floor"), nginx, or a gateway.  All of them run at once, pinned
to one CPU, and are loaded one after the other in random order inside a round, so that a slow
minute of the machine hits them alike.
"""

import contextlib
import http.client
import json
import os
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine

HERE = Path(__file__).resolve().parent
TOKENS_PER_S = 20  # of each stream
PHASES = ("json", "quiet", "sse")
# What a summary holds of each stack, in the order of the table: heading, decimals.
COLUMNS = {
    "req_s": ("req/s", 0),
    "of_nginx": ("/nginx", 2),
    "of_floor": ("/floor", 2),
    "cpu_us_req": ("us/req", 0),
    "p50_ms": ("p50 ms", 2),
    "added_p50_ms": ("+p50", 2),
    "p99_ms": ("p99", 1),
    "cpu_us_token": ("us/tok", 1),
    "tok_p50_ms": ("tok50", 2),
    "tok_p99_ms": ("tok99", 1),
    "ttft_p50_ms": ("ttft50", 1),
    "ttft_p99_ms": ("ttft99", 1),
    "delivered": ("deliv.", 3),
    "kb_stream": ("kB/str", 1),
    "failed": ("failed", 0),
}
Reading = dict[str, Any]


@dataclass
class Options:
    key: str = "sk-bench"
    path: str = "/v1/chat/completions"
    model: str = "fake-model"
    upstream_port: int = 9000
    rounds: int = 3
    seconds: float = 3.0
    wait: float = 60.0
    connections: int = 64
    rate: float = 50.0
    prompt_bytes: int = 200
    streams: int = 200
    storm: int = 0
    probe: int = 512
    tick: bool = False
    phases: Sequence[str] = PHASES
    targets: Sequence[str] = ()  # 'NAME URL [COMMAND]'
    rivals: Sequence[str] = ()
    cpus: Sequence[int] = ()  # of the stacks, the generator, the upstream


@dataclass
class Stack:
    name: str
    port: int
    pids: list[int]  # whose CPU and memory count
    streamed: bool = False


@dataclass
class Rig:
    options: Options
    folder: Path
    cleanup: contextlib.ExitStack
    stacks: list[Stack] = field(default_factory=list)
    targets: list[Stack] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)

    def set_up(self) -> None:
        o, port = self.options, self.options.upstream_port
        for name in ("upstream", "loadgen"):
            compile_c(HERE / f"{name}.c", self.folder / name)
        self._start([f"{self.folder}/upstream", port, *["tick"] * o.tick], o.cpus[2])
        self._add("direct", port)
        self._add("floor", port + 1, [sys.executable, HERE / "floor.py", port + 1, port, o.key])
        if nginx := shutil.which("nginx"):
            user = "user root;" if os.geteuid() == 0 else ""
            names = {"dir": self.folder, "key": o.key, "upstream": port, "port": port + 2}
            conf = self.folder / "nginx.conf"
            template = (HERE / "nginx.conf.template").read_text()
            conf.write_text(template.format(user=user, **names))
            self._add("nginx", port + 2, [nginx, "-c", conf, "-e", self.folder / "log"])
        for given in o.rivals:
            self._add_given(given)
        self.targets = [self._add_given(given) for given in o.targets]

    def _add_given(self, given: str) -> Stack:
        name, url, *words = shlex.split(given)
        return self._add(name, urllib.parse.urlsplit(url).port or 80, words)

    def _add(self, name: str, port: int, words: Sequence[object] = ()) -> Stack:
        """Start a stack unless it runs already, wait for its first reply, pin it to its CPU."""
        if words:
            if found := machine.listeners(port):
                sys.exit(f"{name}: port {port} is taken by process {found[0]}")
            self._start(words, self.options.cpus[0])
        self._await_reply(name, port)
        pids = [] if name == "direct" else machine.listeners(port)
        for pid in pids:
            self.cleanup.callback(machine.pin, [pid], os.sched_getaffinity(pid))
        machine.pin(pids, {self.options.cpus[0]})
        stack = Stack(name, port, pids)
        self.stacks.append(stack)
        return stack

    def _start(self, words: Sequence[object], cpu: int) -> None:
        log = self.cleanup.enter_context((self.folder / "log").open("a"))
        command = ["taskset", "-c", str(cpu), *map(str, words)]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.cleanup.callback(machine.stop, process)

    def _await_reply(self, name: str, port: int) -> None:
        o = self.options
        messages = [{"role": "user", "content": "hi"}]
        call = {"model": o.model, "max_tokens": 4, "messages": messages}
        end, status, answer = time.perf_counter() + o.wait, 0, b"no connection"
        while status != 200:
            if time.perf_counter() > end:
                log = (self.folder / "log").read_text()[-3000:]
                sys.exit(f"{name}, port {port}: {status} {answer[:500]!r}\n{log}")
            time.sleep(0.2)
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, answer = ask(port, "POST", o.path, o.key, call)

    def measure_all(self) -> None:
        for n in range(self.options.rounds):
            for phase in self.options.phases:
                for stack in random.sample(self.stacks, len(self.stacks)):
                    self.speeds.append(machine.speed_on(self.options.cpus[0]))
                    r = self._measure(phase, stack)
                    self.readings.append({"round": n, "phase": phase, "stack": stack.name, **r})
                    rates = f"{r['rps']:8.0f} req/s {r.get('tok_s', 0):8.0f} tok/s"
                    print(f"{n + 1} {phase:6}{stack.name:10}{rates}", file=sys.stderr)

    def _measure(self, phase: str, stack: Stack) -> Reading:
        o = self.options
        if phase == "json":
            r = self._load(stack, 0.5, o.seconds, "-c", o.connections)
            if stack.pids and r["rps"]:
                r["cpu_us_req"] = r["cores"] / r["rps"] * 1e6
            return r | {"req_s": r["rps"]}
        if phase == "quiet":
            r = self._load(stack, 0.5, o.seconds, "-c", o.connections, "-r", o.rate)
            return r | milliseconds(r, "p50", "p99")
        ramp_s, before_kb = max(0.5, o.streams / 400), machine.memory_kb(stack.pids)
        asked = ["-c", o.streams, "-s", "-t", int(o.seconds * TOKENS_PER_S)]
        asked += ["-g", 1000 // TOKENS_PER_S, "-R", ramp_s]
        r = self._load(stack, ramp_s + 1, o.seconds, *asked)
        time.sleep(0.5)
        r |= milliseconds(r, "tok_p50", "tok_p99", "ttft_p50", "ttft_p99")
        if stack.pids and r["tok_s"]:
            r["cpu_us_token"] = r["cores"] / r["tok_s"] * 1e6
        if stack.pids and not stack.streamed:  # later on the memory is allocated already
            r["kb_stream"] = (r["memory_kb"] - before_kb) / o.streams
        stack.streamed = True
        return r | {"delivered": r["tok_s"] / o.streams / TOKENS_PER_S}

    def _load(self, stack: Stack, warm_s: float, seconds: float, *flags: object) -> Reading:
        """Run the generator, and look at the stack's CPU over nearly all of the measured time."""
        o = self.options
        words = ["taskset", "-c", o.cpus[1], self.folder / "loadgen", "-p", stack.port]
        words += ["-w", warm_s, "-d", seconds, "-k", o.key, "-u", o.path, "-m", o.model]
        words += ["-B", o.prompt_bytes, *flags]
        command = [str(word) for word in words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            time.sleep(warm_s + 0.1)
            began, (used, waited) = time.perf_counter(), machine.cpu_s(stack.pids)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, seconds - 0.4))
            took_s, (used_2, waited_2) = time.perf_counter() - began, machine.cpu_s(stack.pids)
            memory_kb = machine.memory_kb(stack.pids)
            reading: Reading = json.loads(process.communicate()[0])
        shares = {"cores": (used_2 - used) / took_s, "waited": (waited_2 - waited) / took_s}
        return reading | shares | {"memory_kb": memory_kb}

    def summary(self) -> tuple[dict[str, Reading], dict[str, dict[str, tuple[float, float]]]]:
        """Medians over the rounds, and the range.  Ratios and differences are taken inside a
        round first."""
        by_place = {(r["round"], r["phase"], r["stack"]): r for r in self.readings}
        seen: dict[str, dict[str, list[float]]] = {stack.name: {} for stack in self.stacks}
        for (n, phase, name), r in by_place.items():
            values = {key: r[key] for key in COLUMNS if key in r}
            values["failed"] = r["refused"] + r["broken"] + r.get("cut_short", 0)
            direct, *others = (by_place[n, phase, stack.name] for stack in self.stacks)
            if phase == "json":
                for other in others:
                    if other["rps"]:
                        values[f"of_{other['stack']}"] = r["rps"] / other["rps"]
            if "p50_ms" in r and "p50_ms" in direct:
                values["added_p50_ms"] = r["p50_ms"] - direct["p50_ms"]
            for key, value in values.items():
                seen[name].setdefault(key, []).append(value)
        medians = {
            name: {
                key: round(sum(v) if key == "failed" else statistics.median(v), 3)
                for key, v in row.items()
            }
            for name, row in seen.items()
        }
        ranges = {
            name: {key: (round(min(v), 3), round(max(v), 3)) for key, v in row.items()}
            for name, row in seen.items()
        }
        return medians, ranges

    def storm(self, target: Stack) -> Reading:
        """Hang up on many requests; does the target then run as many at once as before, and
        nothing besides?"""
        o, left, reading = self.options, 0, {}
        peaks: list[int] = []
        for count in (1, o.storm):
            flags = ["-c", 64, "-s", "-t", 40, "-g", 10, "-x", count, "-X", 200]
            reading = self._load(target, 0, 300, *flags)
            time.sleep(5)  # whatever was hung up on is over by now
            left = self._upstream_stats()["running"]
            peaks.append(self._most_at_once(target, at_least=max(peaks, default=o.probe)))
        if peaks[0] >= o.probe:
            print("storm: the target never held a request back, so lost slots stay unseen;")
            print("       set its slot limit below --probe")
        slots = {"slots_before": peaks[0], "slots_lost": peaks[0] - peaks[1]}
        return {"hung_up": reading["hung_up"], "still_running": left, **slots}

    def _most_at_once(self, target: Stack, at_least: int) -> int:
        """How many requests the target runs at once, in the best of three tries: a busy machine
        may not get that far in one, but a lost slot is missing in all of them."""
        peak = 0
        for _ in range(3):
            self._load(target, 0, 3, "-c", self.options.probe, "-s", "-t", 20, "-g", 100)
            peak = max(peak, self._upstream_stats()["peak"])
            if peak >= at_least:
                break
            time.sleep(1)
        return peak

    def _upstream_stats(self) -> dict[str, int]:
        stats: dict[str, int] = json.loads(ask(self.options.upstream_port, "GET", "/stats")[1])
        return stats

    def fitness(self) -> dict[str, float]:
        """Whether to believe the run: what else the machine was doing."""
        return {
            "speed_varied": max(self.speeds, default=1) / min(self.speeds, default=1),
            "ready_without_cpu": max((r["waited"] for r in self.readings), default=0.0),
            "generator_busy": max((r["busy"] for r in self.readings), default=0.0),
        }


def compile_c(source: Path, program: Path) -> None:
    if not shutil.which("gcc"):
        sys.exit("The kit needs gcc for its generator and its upstream: apt install gcc libc6-dev")
    subprocess.run(["gcc", "-O2", "-o", program, source, "-lm"], check=True)


def ask(port: int, method: str, path: str, key: str = "", body: object = None) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(link):
        link.request(method, path, json.dumps(body), headers)
        reply = link.getresponse()
        return reply.status, reply.read()


def milliseconds(reading: Reading, *names: str) -> Reading:
    """The generator counts in microseconds."""
    return {f"{name}_ms": reading[name] / 1e3 for name in names if name in reading}
