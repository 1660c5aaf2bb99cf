"""What vLLM answers to what, as shapes that a real and a pretended server can both be held to.

``vllm_contract.json`` was recorded from vLLM 0.32.0 (its CPU build, the tiny model of tests/vllm).
``make test-vllm`` holds the real server to it, ``tests/e2e`` the simulated one, ``tests/gateway``
the fake; so none of the three can drift from the others.  A shape keeps names, order, types and
the words that programs decide by; text, ids, times and numbers it forgets.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from gateway.scrape import Figures, read_figures
from gateway.selfreport import PATH, read_server_info

RECORDING = Path(__file__).with_suffix(".json")
CONTEXT_TOKENS = 4096
HELLO = [{"role": "user", "content": "Say hello to the queue."}]
EXACT = {"max_tokens": 16, "ignore_eos": True}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"days": {"type": "integer", "enum": [1]}},
            "required": ["days"],
            "additionalProperties": False,
        },
    },
}
ONE_DAY = WEATHER["function"]["parameters"]

# Kept as they are: what programs branch on, and the words of refusals.
LITERAL = {
    *("object", "type", "role", "finish_reason", "stop_reason", "code", "param", "status"),
    *("detail", "owned_by", "message", "error", "service_tier"),
}
TOLD = ("content-type", "transfer-encoding", "content-length", "server", "vary", "allow", "date")


class Ask(NamedTuple):
    """One request; ``endpoint`` "generate" or "pooling" says which kind of server answers it."""

    name: str
    path: str
    body: Any = None
    method: str = "POST"
    headers: dict[str, str] = {}
    kind: str = "generate"


def chat(name: str, /, **fields: Any) -> Ask:
    return Ask(name, "/v1/chat/completions", {"messages": HELLO, **EXACT, **fields})


def completion(name: str, /, **fields: Any) -> Ask:
    return Ask(name, "/v1/completions", {"prompt": "The queue", **EXACT, **fields})


def schema(value: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "day", "schema": value}}


WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
ALL_USAGE = {
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
}
LONG = "queue " * CONTEXT_TOKENS
CALL = {"tools": [WEATHER], "ignore_eos": False, "max_tokens": 200, "seed": 1}
NAMED = {"type": "function", "function": {"name": "weather"}}

ASKS = (
    Ask("health", "/health", method="GET"),
    Ask("ping", "/ping", method="GET"),
    Ask("ping by POST", "/ping"),
    Ask("version", "/version", method="GET"),
    Ask("load", "/load", method="GET"),
    Ask("models", "/v1/models", method="GET"),
    Ask("unknown path", "/v1/nothing", {}),
    Ask("wrong method", "/v1/chat/completions", method="GET"),
    Ask("tokenize", "/tokenize", {"prompt": "The queue"}),
    Ask("tokenize a chat", "/tokenize", {"messages": HELLO}),
    Ask("detokenize", "/detokenize", {"tokens": [300, 301]}),
    chat("chat"),
    chat("chat, two choices", n=2),
    chat("chat, stream", stream=True),
    chat("chat, stream with usage", **WITH_USAGE),
    chat("chat, stream with usage all along", **ALL_USAGE),
    chat("chat, a tool that must be called", tool_choice="required", **CALL),
    chat("chat, a tool that is named", tool_choice=NAMED, **CALL),
    chat("chat, stream, a tool that is named", stream=True, tool_choice=NAMED, **CALL),
    chat(
        "chat, an object", response_format=schema(ONE_DAY), ignore_eos=False, max_tokens=200, seed=1
    ),
    chat("chat, stream, a tool that must be called", stream=True, tool_choice="required", **CALL),
    chat("chat, any priority", priority=-7),
    chat("chat, priority as text", priority="3"),
    chat("chat, service tier", service_tier="gold"),
    completion("completion"),
    completion("completion, two prompts", prompt=["The queue", "The line"]),
    completion("completion, token ids", prompt=[300, 301, 302]),
    completion("completion, cut at the context", prompt=[300] * 4090, max_tokens=50),
    completion("completion, echo", echo=True),
    completion("completion, stream", stream=True),
    completion("completion, stream with usage", **WITH_USAGE),
    Ask("response", "/v1/responses", {"input": "Hello", "max_output_tokens": 16}),
    Ask(
        "response, stream",
        "/v1/responses",
        {"input": "Hello", "max_output_tokens": 16, "stream": True},
    ),
    Ask("message", "/v1/messages", {"model": "", "messages": HELLO, "max_tokens": 16}),
    Ask(
        "message, stream",
        "/v1/messages",
        {"model": "", "messages": HELLO, "max_tokens": 16, "stream": True},
    ),
    Ask("count tokens", "/v1/messages/count_tokens", {"model": "", "messages": HELLO}),
    # Refusals
    chat("priority beyond 64 bits", priority=2**63),
    chat("priority with a fraction", priority=1.5),
    chat("priority as a word", priority="high"),
    chat("priority null", priority=None),
    chat("unknown model", model="nobody"),
    chat("no tokens wanted", max_tokens=0),
    chat("too many tokens wanted", max_tokens=CONTEXT_TOKENS + 1),
    chat("prompt too long", messages=[{"role": "user", "content": LONG}]),
    chat("prompt too long, stream", messages=[{"role": "user", "content": LONG}], stream=True),
    chat("no choices", n=0),
    chat("stream options without a stream", stream_options={"include_usage": True}),
    chat("temperature below zero", temperature=-1),
    chat("messages of the wrong kind", messages="hello"),
    chat("a tool without a function", tools=[{"type": "function"}], tool_choice="auto"),
    chat(
        "a tool that is not there",
        tools=[WEATHER],
        tool_choice={**NAMED, "function": {"name": "y"}},
    ),
    chat("a schema that is none", response_format=schema({"type": "nonsense"})),
    Ask("no messages", "/v1/chat/completions", {}),
    Ask("no JSON", "/v1/chat/completions", b"{", headers={"content-type": "application/json"}),
    Ask("no object", "/v1/chat/completions", b"[]", headers={"content-type": "application/json"}),
    Ask("no content type", "/v1/chat/completions", b"{}", headers={"content-type": "text/plain"}),
    completion("completion of nothing", prompt=None),
    completion("completion too long", prompt=LONG),
    Ask("response, unknown service tier", "/v1/responses", {"input": "x", "service_tier": "gold"}),
    Ask("response without input", "/v1/responses", {}),
    Ask(
        "message, unknown model",
        "/v1/messages",
        {"model": "nobody", "messages": HELLO, "max_tokens": 16},
    ),
    Ask("message without a limit", "/v1/messages", {"model": "", "messages": HELLO}),
    Ask("embeddings of a model that chats", "/v1/embeddings", {"input": "x"}),
    # A pooling server
    Ask("embeddings", "/v1/embeddings", {"input": ["a", "b"]}, kind="pooling"),
    Ask(
        "embeddings, base64",
        "/v1/embeddings",
        {"input": "a", "encoding_format": "base64"},
        kind="pooling",
    ),
    Ask("pooling", "/pooling", {"input": "a"}, kind="pooling"),
    Ask("score", "/score", {"text_1": "a", "text_2": ["a", "b"]}, kind="pooling"),
    Ask("v1 score", "/v1/score", {"text_1": "a", "text_2": "b"}, kind="pooling"),
    Ask("rerank", "/rerank", {"query": "a", "documents": ["a", "b"]}, kind="pooling"),
    Ask("v2 rerank", "/v2/rerank", {"query": "a", "documents": ["b"], "top_n": 1}, kind="pooling"),
    Ask("embeddings of nothing", "/v1/embeddings", {}, kind="pooling"),
    Ask("embeddings too long", "/v1/embeddings", {"input": LONG}, kind="pooling"),
    Ask(
        "embeddings, priority as a word",
        "/v1/embeddings",
        {"input": "x", "priority": "high"},
        kind="pooling",
    ),
)


def shape_of(ask: Ask, url: str, model: str) -> dict[str, Any]:
    """Ask, and boil the answer down."""
    body = ask.body
    if isinstance(body, dict) and body.get("model") == "":
        body = {**body, "model": model}
    content = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
    headers = {"content-type": "application/json", **ask.headers} if content else ask.headers
    with httpx.Client(base_url=url, trust_env=False, timeout=120) as client:
        answer = client.request(ask.method, ask.path, content=content, headers=headers)
    kind = answer.headers.get("content-type", "")
    if kind.startswith("text/event-stream"):
        said: Any = list(events(answer.text))
    elif kind.startswith("application/json"):
        said = signature(answer.json())
    else:
        said = answer.text and "text"
    told = {name: answer.headers[name] for name in TOLD if name in answer.headers}
    told |= {name: "" for name in ("content-length", "date") if name in told}
    return {"status": answer.status_code, "headers": told, "body": said}


def signature(value: Any, key: str = "") -> Any:
    """The value with every leaf replaced by its type, but for the words in ``LITERAL``."""
    match value:
        case dict():
            return {name: signature(part, name) for name, part in value.items()}
        case list():
            kinds = [signature(part) for part in value]
            return [kind for i, kind in enumerate(kinds) if kind not in kinds[:i]]
        case str() if key in LITERAL:
            return _without_particulars(value)
        case bool() | None:
            return value if key in LITERAL else type(value).__name__
        case int() if key in LITERAL:
            return value
        case _:
            return "number" if isinstance(value, int | float) else type(value).__name__


def _without_particulars(text: str) -> str:
    """A message without its numbers and without what it repeats of the request."""
    text = re.sub(r"('input': ).*", r"\1…", text, flags=re.DOTALL)
    text = text.replace("validation errors:", "validation error:")  # a union finds one a branch
    return re.sub(r"\d+", "#", text)


def events(text: str) -> Iterator[Any]:
    """A stream's events in their order, runs of equal shape once: how many there are depends on
    how many tokens happened to leave together."""
    assert text.endswith("\n\n"), "the last event is not closed"
    last = None
    for event in text[:-2].split("\n\n"):
        lines = event.split("\n")
        names = [line[7:] for line in lines if line.startswith("event: ")]
        data = [line[6:] for line in lines if line.startswith("data: ")]
        assert len(lines) == len(names) + len(data), event
        assert len(data) == 1, event
        said = data[0] if data[0] == "[DONE]" else signature(json.loads(data[0]))
        found = [*names, said]
        if found != last:
            yield found
        last = found


def metric_names(url: str) -> dict[str, list[str]]:
    """vLLM's own families: their kind, and the labels their samples carry."""
    text = httpx.get(f"{url}/metrics", trust_env=False, timeout=60).text
    found: dict[str, list[str]] = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("vllm:"):
            labels = {label for sample in family.samples for label in sample.labels}
            found[family.name] = [family.type, *sorted(labels)]
    return dict(sorted(found.items()))


def recorded() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(RECORDING.read_text())
    return document


# Behaviour that no single answer shows


def figures(url: str) -> Figures:
    return read_figures(httpx.get(f"{url}/metrics", trust_env=False, timeout=60).text, 1.0)


def check_that_leaving_aborts(url: str, model: str, *, stream: bool) -> None:
    """Hang up on a request that runs: the engine drops it, and counts it nowhere as finished."""
    before = figures(url).scrape.completions_total
    body = {"model": model, "messages": HELLO, "max_tokens": 3000, "ignore_eos": True}
    content = json.dumps({**body, "stream": stream}).encode()
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port or 80)) as caller:
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: vllm\r\n"
            f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        caller.sendall(head.encode() + content)
        until(lambda: figures(url).scrape.running == 1)
    until(lambda: figures(url).scrape.running == 0)
    assert figures(url).scrape.completions_total == before


def check_server_info(url: str, policy: str) -> None:
    told = httpx.get(f"{url}{PATH}", trust_env=False, timeout=120)  # it asks pip what is installed
    report = read_server_info(told.json())
    assert report.policy == policy
    assert report.max_num_seqs is not None
    assert report.kv_tokens == figures(url).kv_tokens
    assert report.prefix_caching is not None
    assert report.queue_backstop is False
    assert report.idle_timeout_s == 5


def until(condition: Callable[[], object], patience_s: float = 60.0) -> None:
    give_up_at = time.perf_counter() + patience_s
    while not condition():
        assert time.perf_counter() < give_up_at
        pause(0.05)


def pause(seconds: float) -> None:
    """Between two looks at another process."""
    threading.Event().wait(seconds)


def record(generating: str, pooling: str, model: str) -> None:
    """Write the recording anew, from two real servers."""
    shapes = {
        ask.name: shape_of(ask, pooling if ask.kind == "pooling" else generating, model)
        for ask in ASKS
    }
    document = {"metrics": metric_names(generating), "answers": shapes}
    RECORDING.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
