"""Embeddings, scores, classes: one prefill in the engine and no token out.

Vectors come from the text, so equal texts are equal and nothing else about them means anything;
scores are the share of words that two texts have in common.
"""

from array import array
from base64 import b64encode
from binascii import crc32
from dataclasses import dataclass
from math import sqrt
from random import Random
from typing import Any
from uuid import uuid4

from gateway.simvllm import asked, fields, text
from gateway.simvllm.http import Refused, Request, invalid
from gateway.simvllm.options import Options
from gateway.simvllm.pacer import Choice, Job

DIMENSIONS = 384
LABELS = ("negative", "positive")


@dataclass(slots=True, kw_only=True)
class Pooled:
    """What to compute, and the reply once it is."""

    job: Job
    reply: dict[str, Any]


def ask(options: Options, request: Request, body: dict[str, Any], created: int) -> Pooled:
    kind = request.path.rsplit("/", 1)[1]
    model = asked.check_model(options, body)
    stated = fields.body_priority(body)  # vLLM reads no header here
    if kind in ("score", "rerank"):
        texts, tokens = _pairs(kind, body)
    elif "messages" in body:
        said, count = asked.chat_prompt(body["messages"])
        texts, tokens = [said], [count]
    elif "input" in body:
        texts, tokens = asked.text_prompts(body["input"], "input")
    else:
        raise invalid("input", "missing", "Field required", body)
    for count in tokens:
        if count > options.context_tokens:
            raise asked.prompt_too_long(options, count)
    prefix = {"embeddings": "embd", "pooling": "pool"}.get(kind, kind)
    id = f"{prefix}-{asked.request_id(request, body)}"
    choices = [
        Choice(f"{id}-{i:04d}-{uuid4().hex[:8]}", i, count, [], "stop")
        for i, count in enumerate(tokens)
    ]
    usage = {
        "prompt_tokens": sum(tokens),
        "total_tokens": sum(tokens),
        "completion_tokens": 0,
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }
    data = _data(kind, body, texts)
    head: dict[str, Any] = {"id": id, "model": model}
    if kind == "rerank":
        counted = {name: usage[name] for name in ("prompt_tokens", "total_tokens")}
        reply = {**head, "usage": counted, "results": data}
    else:
        reply = {**head, "object": "list", "created": created, "data": data, "usage": usage}
    return Pooled(job=Job(choices, stated), reply=reply)


def _pairs(kind: str, body: dict[str, Any]) -> tuple[list[str], list[int]]:
    names = ("query", "documents") if kind == "rerank" else ("text_1", "text_2")
    if kind == "score" and "queries" in body:
        names = ("queries", "documents")
    for name in names:
        if name not in body:
            raise invalid(name, "missing", "Field required", body)
    left, right = (_texts(body[name]) for name in names)
    if len(left) not in (1, len(right)):
        raise Refused(400, "Input lengths must be either 1:1, 1:N or N:N")
    left = left * len(right) if len(left) == 1 else left
    joined = [f"{one}\n{two}" for one, two in zip(left, right, strict=True)]
    return joined, [text.count_tokens(both) + asked.MESSAGE_TOKENS for both in joined]


def _texts(given: object) -> list[str]:
    return [text.content_text([part]) for part in (given if isinstance(given, list) else [given])]


def _data(kind: str, body: dict[str, Any], texts: list[str]) -> list[dict[str, Any]]:
    if kind == "score":
        scores = [_score(both) for both in texts]
        return [{"index": i, "object": "score", "score": score} for i, score in enumerate(scores)]
    if kind == "rerank":
        documents = _texts(body["documents"])
        results = [
            {
                "index": i,
                "document": {"text": documents[i], "multi_modal": None},
                "relevance_score": _score(both),
            }
            for i, both in enumerate(texts)
        ]
        results.sort(key=lambda result: (-float(str(result["relevance_score"])), result["index"]))
        return results[: fields.optional_int(body, "top_n") or None]
    if kind == "classify":
        return [_classified(i, said) for i, said in enumerate(texts)]
    size = fields.optional_int(body, "dimensions") or DIMENSIONS
    vectors: list[Any] = [_vector(said, size) for said in texts]
    if body.get("encoding_format") == "base64":
        vectors = [b64encode(array("f", vector).tobytes()).decode() for vector in vectors]
    if kind == "pooling":
        return [{"index": i, "object": "pooling", "data": v} for i, v in enumerate(vectors)]
    return [{"index": i, "object": "embedding", "embedding": v} for i, v in enumerate(vectors)]


def _score(both: str) -> float:
    one, _, two = both.partition("\n")
    left, right = set(one.lower().split()), set(two.lower().split())
    return len(left & right) / max(1, len(left | right))


def _classified(index: int, said: str) -> dict[str, Any]:
    positive = Random(crc32(said.encode())).random()
    probs = [1 - positive, positive]
    label = LABELS[probs.index(max(probs))]
    return {"index": index, "label": label, "probs": probs, "num_classes": len(LABELS)}


def _vector(said: str, size: int) -> list[float]:
    draw = Random(crc32(said.encode()))
    vector = [draw.gauss(0, 1) for _ in range(size)]
    length = sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]
