"""What a request asks for, checked as vLLM checks it: same order, same words, same statuses.

Nothing here answers; a fault is raised as ``Refused``.
"""

from binascii import crc32
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import uuid4

from gateway.simvllm import text
from gateway.simvllm.fields import lax_int, listing, mapping, optional_int, priority
from gateway.simvllm.http import Refused, Request, invalid, unfit
from gateway.simvllm.options import Options
from gateway.simvllm.pacer import Choice, Job, Reason

TEMPLATE_TOKENS = 3  # what a chat template adds, and for each message
MESSAGE_TOKENS = 4


@dataclass(slots=True, kw_only=True)
class Asked:
    """One request for text.  ``prompts`` holds what each of the prompts says."""

    id: str
    model: str
    stream: bool
    prompts: list[str]
    prompt_tokens: list[int]
    n: int = 1
    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stops: list[str] = field(default_factory=list)
    vllm_priority: int = 0
    include_usage: bool = False
    continuous_usage: bool = False
    echo: bool = False
    fixed: str | None = None  # the whole answer, where its shape was prescribed
    tool: str | None = None
    tool_reason: str = "stop"  # how a called function ends: "tool_calls" where it was required
    prefix: str = ""
    prefix_tokens: int = 0


def check_model(options: Options, body: dict[str, Any]) -> str:
    """The model's name; vLLM lets it be left out."""
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise invalid("model", "string_type", "Input should be a valid string", model)
    if model and model != options.model:
        what = f"The model `{model}` does not exist. Valid aliases: {options.model}."
        raise Refused(404, what, "NotFoundError", "model")
    return options.model


def request_id(request: Request, body: dict[str, Any]) -> str:
    return request.headers.get("x-request-id") or str(body.get("request_id") or uuid4().hex)


def chat_prompt(messages: object, tools: object = None, where: str = "messages") -> tuple[str, int]:
    """The text of a conversation, and its tokens under the chat template."""
    if not isinstance(messages, list):
        raise invalid(where, "list_type", "Input should be a valid list", messages)
    said = []
    for message in messages:
        if not isinstance(message, dict):
            raise invalid(where, "dict_type", "Input should be a valid dictionary", message)
        said.append(text.content_text(message.get("content")))
    whole = "\n".join(said) + (text.dump_json(tools) if tools else "")
    template = TEMPLATE_TOKENS + MESSAGE_TOKENS * len(said)
    return whole, text.count_tokens(whole) + template


def text_prompts(given: object, where: str) -> tuple[list[str], list[int]]:
    """The prompts of one field: a string, a list of them, token ids, or lists of token ids."""
    if isinstance(given, str):
        return [given], [max(1, text.count_tokens(given))]
    if not isinstance(given, list) or not given:
        raise invalid(where, "string_type", "Input should be a valid string", given)
    if all(isinstance(part, int) for part in given):
        return [text.text_of(given)], [len(given)]
    prompts: list[str] = []
    tokens: list[int] = []
    for part in given:
        more, count = text_prompts(part, where)
        prompts += more
        tokens += count
    return prompts, tokens


def chat(options: Options, request: Request, body: dict[str, Any]) -> Asked:
    if "messages" not in body:
        raise invalid("messages", "missing", "Field required", body)
    prompt, tokens = chat_prompt(body["messages"], body.get("tools"))
    asked = _generation(options, request, body, [prompt], [tokens], "chatcmpl-")
    asked.max_tokens = optional_int(body, "max_completion_tokens") or asked.max_tokens
    asked.tool, asked.fixed = _prescribed(body)
    asked.tool_reason = "tool_calls" if body.get("tool_choice") == "required" else "stop"
    first = body["messages"][0] if body["messages"] else {}
    asked.prefix = text.content_text(first.get("content")) if len(body["messages"]) > 1 else ""
    asked.prefix_tokens = text.count_tokens(asked.prefix) + MESSAGE_TOKENS
    _check_length(options, asked)
    return asked


def completion(options: Options, request: Request, body: dict[str, Any]) -> Asked:
    if body.get("prompt") in (None, "", []):
        raise unfit("prompt", "Either prompt or prompt_embeds must be provided and non-empty.")
    prompts, tokens = text_prompts(body["prompt"], "prompt")
    asked = _generation(options, request, body, prompts, tokens, "cmpl-")
    asked.echo = bool(body.get("echo"))
    if "max_tokens" not in body:
        asked.max_tokens = 16  # OpenAI's default for this endpoint, and vLLM's
    _check_length(options, asked)
    return asked


def responses(options: Options, request: Request, body: dict[str, Any]) -> Asked:
    given = body.get("input")
    if "input" not in body:
        raise invalid("input", "missing", "Field required", body)
    messages = [{"content": given}] if isinstance(given, str) else listing(body, "input")
    if body.get("instructions"):
        messages = [{"content": body["instructions"]}, *messages]
    prompt, tokens = chat_prompt(messages, body.get("tools"), "input")
    tier = body.get("service_tier", "auto")
    if tier not in ("auto", "default", "flex", "scale", "priority"):
        what = "Input should be 'auto', 'default', 'flex', 'scale' or 'priority'"
        raise invalid("service_tier", "literal_error", what, tier)
    asked = _generation(options, request, body, [prompt], [tokens], "resp_")
    asked.max_tokens = optional_int(body, "max_output_tokens")
    _check_length(options, asked)
    return asked


def anthropic(options: Options, request: Request, body: dict[str, Any]) -> Asked:
    for name in ("messages", "max_tokens"):
        if name not in body:
            raise invalid(name, "missing", "Field required", body)
    said = [{"content": body.get("system") or ""}, *listing(body, "messages")]
    prompt, tokens = chat_prompt(said, body.get("tools"))
    plain = {k: v for k, v in body.items() if k not in ("priority", "stop", "n", "stream_options")}
    asked = _generation(options, request, plain, [prompt], [tokens], "chatcmpl-")
    asked.stops = [str(stop) for stop in listing(body, "stop_sequences")]
    _check_length(options, asked)
    return asked


def job(options: Options, asked: Asked) -> Job:
    """Decide what each choice will say.  The same prompt, seed and choice say the same."""
    choices = []
    for number, prompt in enumerate(asked.prompts):
        tokens = asked.prompt_tokens[number]
        room = options.context_tokens - tokens
        most = min(asked.max_tokens, room) if asked.max_tokens else room
        for i in range(asked.n):
            index = number * asked.n + i
            draw = Random(f"{options.seed}:{crc32(prompt.encode())}:{i}")
            length = text.draw_length(draw, options.output_mean_tokens, options.output_cv)
            length = most if asked.ignore_eos else min(most, max(length, asked.min_tokens))
            pieces = text.cut(asked.fixed) if asked.fixed is not None else []
            pieces = pieces[:most] or text.write_words(draw, length)
            cut_short = asked.ignore_eos or length == most
            if asked.fixed is not None:
                cut_short = len(text.cut(asked.fixed)) > most
            pieces, stop = text.cut_at_stop(pieces, asked.stops)
            reason: Reason = "length" if cut_short and stop is None else "stop"
            choices.append(
                Choice(
                    id=f"{asked.id}-{index:04d}-{uuid4().hex[:8]}",
                    index=index,
                    prompt_tokens=tokens,
                    pieces=pieces,
                    reason=reason,
                    stop=stop,
                    tool=asked.tool,
                    prefix=asked.prefix,
                    prefix_tokens=asked.prefix_tokens,
                )
            )
    return Job(choices, asked.vllm_priority)


def _generation(
    options: Options,
    request: Request,
    body: dict[str, Any],
    prompts: list[str],
    tokens: list[int],
    prefix: str,
) -> Asked:
    """What all families share."""
    stream = bool(body.get("stream"))
    stream_options = mapping(body, "stream_options")
    if stream_options and not stream:
        raise unfit("stream_options", "Stream options can only be defined when `stream=True`.")
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else listing(body, "stop")
    include_usage = bool(stream_options.get("include_usage"))
    vllm_priority = priority(request, body)
    n = 1 if body.get("n") is None else lax_int(body, "n")
    if n is None or n < 1:
        raise Refused(400, f"n must be at least 1, got {n}.")
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and temperature < 0:
        what = f"temperature must be non-negative, got {float(temperature)}."
        raise unfit("temperature", what, float(temperature))
    return Asked(
        id=prefix + request_id(request, body),
        model=check_model(options, body),
        stream=stream,
        prompts=prompts,
        prompt_tokens=tokens,
        n=n,
        max_tokens=optional_int(body, "max_tokens"),
        min_tokens=optional_int(body, "min_tokens") or 0,
        ignore_eos=bool(body.get("ignore_eos")),
        stops=[str(stop) for stop in stops],
        vllm_priority=vllm_priority,
        include_usage=include_usage,
        continuous_usage=include_usage and bool(stream_options.get("continuous_usage_stats")),
    )


def _check_length(options: Options, asked: Asked) -> None:
    limit = options.context_tokens
    if asked.max_tokens is not None and asked.max_tokens < 1:
        what = f"max_tokens must be at least 1, got {asked.max_tokens}."
        raise unfit("max_tokens", what, asked.max_tokens)
    for tokens in asked.prompt_tokens:
        if tokens >= limit:
            raise prompt_too_long(options, tokens)
    if asked.max_tokens is not None and asked.max_tokens > limit:
        what = (
            f"max_tokens={asked.max_tokens} cannot be greater than max_model_len={limit}. "
            "Please request fewer output tokens."
        )
        raise unfit("max_tokens", what, asked.max_tokens)


def prompt_too_long(options: Options, tokens: int) -> Refused:
    what = (
        f"This model's maximum context length is {options.context_tokens} tokens. However, your "
        f"prompt contains at least {tokens} input tokens, which exceeds this limit even without "
        "any output tokens. Please reduce the length of the input prompt."
    )
    return unfit("input_tokens", what, tokens)


def _prescribed(body: dict[str, Any]) -> tuple[str | None, str | None]:
    """The function that must be called, and the JSON that must be said, where there is one."""
    choice, tools = body.get("tool_choice"), listing(body, "tools")
    for i, tool in enumerate(tools):
        if not isinstance(tool, dict) or "function" not in tool:
            raise invalid(f"tools.{i}.function", "missing", "Field required", tool)
    if tools and (choice == "required" or isinstance(choice, dict)):
        functions = [mapping(tool, "function") for tool in tools if isinstance(tool, dict)]
        named = mapping(choice, "function").get("name") if isinstance(choice, dict) else None
        chosen = [f for f in functions if named in (None, f.get("name"))]
        if not chosen:
            what = "The tool specified in `tool_choice` does not match any of the specified `tools`"
            raise unfit("tool_choice", what)
        arguments = text.instance(chosen[0].get("parameters") or {"type": "object"})
        return str(chosen[0].get("name")), text.dump_json(arguments)
    wanted = mapping(body, "response_format")
    if wanted.get("type") == "json_object":
        return None, text.dump_json({"answer": "a steady queue"})
    if wanted.get("type") == "json_schema":
        schema = mapping(mapping(wanted, "json_schema"), "schema")
        _check_schema(schema)
        return None, text.dump_json(text.instance(schema))
    return None, None


def _check_schema(schema: dict[str, Any]) -> None:
    """No more than the kind at the top: a grammar compiler this is not."""
    kind = schema.get("type", "object")
    if isinstance(kind, str) and kind not in text.SCHEMA_TYPES:
        raise Refused(400, f"Grammar error: Invalid type: {kind}")
