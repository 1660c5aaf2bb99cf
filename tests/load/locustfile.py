"""Load as users make it: six kinds of work, streamed, with statistics for each tier.

    locust -f tests/load/locustfile.py --host http://127.0.0.1:8000 --key lw_live_… \\
        --headless --users 40 --spawn-rate 10 --run-time 60s

Locust counts each request under its task type; the lines TTFT, QUEUE and E2E count the same
requests under the tier that Laneway put them in.  A refusal with 429 or 503 is no failure of
Laneway's: it is counted under REFUSED with its code.
"""

import json
import time
from typing import Any, NamedTuple

from locust import HttpUser, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment


class Kind(NamedTuple):
    """One kind of work: about so many tokens of prompt, at most so many of answer."""

    task_type: str
    prompt_tokens: int
    max_tokens: int
    stream: bool = True


PATIENCE_S = 600  # what OpenAI's clients have
CHAT = Kind("chat", 60, 40)
CODE = Kind("code_generation", 120, 80)
SUMMARY = Kind("summarize", 400, 40)
TRANSLATION = Kind("translate", 150, 60)
BATCH = Kind("batch_inference", 200, 60, stream=False)
AUGMENTATION = Kind("data_augmentation", 80, 80, stream=False)


@events.init_command_line_parser.add_listener
def _arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument("--key", required=True, help="an API key of Laneway (lw_live_…)")
    parser.add_argument("--served-model", default="", help="by default the first that is listed")


class Caller(HttpUser):
    """Somebody who asks, reads the answer, thinks for a moment and asks again."""

    abstract = True

    def on_start(self) -> None:
        options = self.environment.parsed_options
        self.headers = {"authorization": f"Bearer {options.key}"}
        self.model = options.served_model or self._first_model()
        self.asked = 0

    def _first_model(self) -> str:
        listing = self.client.get("/v1/models", headers=self.headers, name="models").json()
        return str(listing["data"][0]["id"])

    def ask(self, kind: Kind) -> None:
        self.asked += 1
        words = "queue " * kind.prompt_tokens
        said = f"Request {self.asked} of {id(self)}: {words}"  # no two alike: caches would lie
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": said}],
            "max_tokens": kind.max_tokens,
            "stream": kind.stream,
        }
        begun = time.perf_counter()
        with self.client.post(
            "/v1/chat/completions",
            json=body,
            headers={**self.headers, "x-task-type": kind.task_type},
            name=kind.task_type,
            stream=kind.stream,
            timeout=PATIENCE_S,
            catch_response=True,
        ) as answer:
            if answer.status_code in (429, 503):
                answer.success()
                count(self.environment, "REFUSED", answer.json()["error"]["code"], 0.0)
                return
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {answer.text[:200]}")
                return
            first_s = self._read(answer, begun) if kind.stream else None
            whole_s = time.perf_counter() - begun
            told = answer.headers
            tier = told["x-laneway-tier"]
            if first_s is not None:
                count(self.environment, "TTFT", tier, first_s)
            count(self.environment, "QUEUE", tier, int(told["x-laneway-queue-wait-ms"]) / 1000)
            count(self.environment, "E2E", tier, whole_s)

    def _read(self, answer: Any, begun: float) -> float | None:
        """Read a stream to its end.  Returns the time of its first token."""
        first_s, last = None, b""
        for raw in answer.iter_lines():
            if not raw.startswith(b"data: "):
                continue
            if first_s is None:
                first_s = time.perf_counter() - begun
            if raw.startswith(b'data: {"error"'):
                answer.failure(json.loads(raw[6:])["error"]["code"])
            last = raw
        if last.strip() != b"data: [DONE]":
            answer.failure("the stream was cut off")
        return first_s


def count(environment: Environment, what: str, name: str, seconds: float) -> None:
    """A line of its own in Locust's table."""
    environment.events.request.fire(
        request_type=what,
        name=name,
        response_time=1000 * seconds,
        response_length=0,
        exception=None,
        context={},
    )


class Person(Caller):
    """Chats and writes code, and reads what came before asking again."""

    weight = 3
    wait_time = between(0.5, 3)

    @task(3)
    def chat(self) -> None:
        self.ask(CHAT)

    @task(1)
    def code(self) -> None:
        self.ask(CODE)


class Application(Caller):
    """Summarizes and translates as documents come in."""

    weight = 2
    wait_time = between(0.2, 1)

    @task(2)
    def summarize(self) -> None:
        self.ask(SUMMARY)

    @task(1)
    def translate(self) -> None:
        self.ask(TRANSLATION)


class Job(Caller):
    """Works through a pile without ever pausing."""

    weight = 4
    wait_time = between(0, 0.01)

    @task(3)
    def batch(self) -> None:
        self.ask(BATCH)

    @task(1)
    def augment(self) -> None:
        self.ask(AUGMENTATION)
