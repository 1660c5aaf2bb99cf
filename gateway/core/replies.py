"""The way back: what vLLM's answers tell of tokens, and the little that is changed in them.

A stream passes as bytes, in whole events.  An event is decoded only where a substring says that
it holds usage, an error or the end, so that the usual token costs a few searches.  Part of
``wire``'s interface; nothing here knows tiers beyond a name to show, nor any socket.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

Family = Literal["openai", "responses", "anthropic", "pooling"]

# An event that has not ended is held back up to here, so that it can still be hidden, stamped or
# followed by an error event; beyond it the bytes pass, and are kept only to be read at its end.
HELD_BYTES = 64 * 1024
READ_BYTES = 8 * 1024 * 1024


class Usage(NamedTuple):
    """Tokens as vLLM counted them; None where it did not say.

    ``engine_wait_s`` is how long the request stood in vLLM's own queue, where that runs with
    --enable-per-request-metrics.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    engine_wait_s: float | None = None


def cost(usage: Usage, prompt_tokens: int) -> int:
    """What a request cost, in prompt tokens: one of output takes about two.  ``prompt_tokens``
    is the estimate for an answer without usage."""
    prompt = prompt_tokens if usage.prompt_tokens is None else usage.prompt_tokens
    return max(1, prompt - (usage.cached_tokens or 0) + 2 * (usage.completion_tokens or 0))


def service_tier_stamp(priority: int, family: Family) -> str:
    """The ``service_tier`` an answer from a tier with this priority shows."""
    if family == "anthropic":
        return "priority" if priority >= 8 else "batch" if priority < 0 else "standard"
    return "priority" if priority >= 8 else "flex" if priority < 0 else "default"


def usage_of(body: bytes) -> Usage:
    """The usage in a plain JSON answer of any family; an unreadable one tells nothing."""
    counted = _decoded(_ANSWER, body)
    return _merged(Usage(), counted) if counted else Usage()


def stamped(body: bytes, family: Family, stamp: str | None) -> bytes:
    """A plain JSON answer that shows ``stamp`` as the ``service_tier`` it was served in."""
    if stamp is None or family == "pooling":
        return body
    path = ("usage", "service_tier") if family == "anthropic" else ("service_tier",)
    return _with(body, path, stamp)


class UsageReader:
    """Reads a stream on its way to the caller.

    ``wants_usage``: the caller asked for the usage chunk, else it is taken out.  ``stamp``: the
    ``service_tier`` to show, None for a caller that named none.
    """

    __slots__ = (
        "_counted",
        "_family",
        "_held",
        "_marks",
        "_passed",
        "_stamp",
        "_stamps_next",
        "_token",
        "_wants_usage",
        "error",
        "pieces",
        "saw_end",
    )

    def __init__(self, family: Family, *, wants_usage: bool, stamp: str | None = None) -> None:
        self._family = family
        self._wants_usage = wants_usage
        self._stamp = stamp
        self._stamps_next = stamp is not None and family == "openai"
        self._token, self._marks = _MARKS[family]
        self._held = b""
        self._passed = 0  # how much of what is held has left already
        self._counted = Usage()
        self.pieces = 0  # events with output in them: about one a token
        self.saw_end = False
        # The error object of an error event, as JSON.  That event does not pass, nor what follows.
        self.error: bytes | None = None

    def passes(self, chunk: bytes) -> bool:
        """Take ``chunk`` if it is whole events that pass as they are, as nearly every token is.
        False: nothing was taken, ``feed`` has to look at it."""
        if self._held or not chunk.endswith(b"\n\n") or self._tells(chunk):
            return False
        self.pieces += chunk.count(self._token)
        return True

    def feed(self, chunk: bytes) -> bytes:
        """Take what arrived, split anywhere; give what may be passed on, whole events."""
        if self._held or not chunk.endswith(b"\n\n"):
            return self._feed_parts(chunk)
        return self._events(chunk)

    def finish(self) -> bytes:
        """At the end of the stream: what is left, though no blank line followed."""
        rest, passed = self._held, self._passed
        self._held, self._passed = b"", 0
        event = self._event(rest) if rest else b""
        return rest[passed:] if passed else event

    def usage(self) -> Usage:
        """As counted by vLLM, else the output as far as it was seen passing by."""
        return self._counted._replace(completion_tokens=self.completion_tokens or self.pieces)

    @property
    def prompt_tokens(self) -> int | None:
        return self._counted.prompt_tokens

    @property
    def completion_tokens(self) -> int | None:
        return self._counted.completion_tokens

    @property
    def cached_tokens(self) -> int | None:
        return self._counted.cached_tokens

    def _feed_parts(self, chunk: bytes) -> bytes:
        known = max(0, len(self._held) - 2)
        text = self._held + chunk
        passed = self._passed
        end = _after_last_blank_line(text, known)
        self._held, self._passed = text[end:], 0
        out = b""
        if end and passed:  # the first event has left in part: it can only be read
            first = _after_blank_line(text, known)
            self._events(text[:first])
            out = text[passed:first]
            text, end = text[first:], end - first
            passed = 0
        if end:
            out += self._events(text[:end])
        if len(self._held) > HELD_BYTES:
            out += self._held[passed:]
            self._passed = len(self._held)
            if self._passed > READ_BYTES:
                self._held, self._passed = b"", 0
        return out

    def _events(self, text: bytes) -> bytes:
        if self.error is not None:
            return b""
        self.pieces += text.count(self._token)
        return self._each_event(text) if self._tells(text) else text

    def _tells(self, text: bytes) -> bool:
        """Whether there may be an event in it that has to be read, stamped or taken out."""
        if self._stamps_next or text.endswith(_DONE):
            return True
        for mark in self._marks:
            if mark in text and (mark is not _USAGE or text.count(_USAGE) != text.count(_NO_USAGE)):
                return True
        return False

    def _each_event(self, text: bytes) -> bytes:
        events = []
        while text and self.error is None:
            end = _after_blank_line(text, 0) or len(text)
            events.append(self._event(text[:end]))
            text = text[end:]
        return b"".join(events)

    def _event(self, event: bytes) -> bytes:
        """Read one event; give it back as the caller may see it, b"" to take it out."""
        data = _data(event)
        if data == b"[DONE]":
            self.saw_end = True
            return event
        said = _decoded(_EVENT, data)
        if said is None:
            return event
        error = bytes(said.error)
        if said.type == "error" or error not in (b"", b"null"):
            self.error = error or data  # in OpenAI's Responses the event itself is the error
            return b""
        if said.type in _LAST_EVENTS:
            self.saw_end = True
        inner = _decoded(_ANSWER, said.response or said.message)
        told: _Answer | _Event = inner or said
        self._counted = _merged(self._counted, told)
        if self._family == "openai" and told.usage and said.choices == [] and not self._wants_usage:
            return b""
        return self._stamped(event, data, said)

    def _stamped(self, event: bytes, data: bytes, said: "_Event") -> bytes:
        if self._stamp is None:
            return event
        if self._family == "openai":
            shows = said.choices is not None and (self._stamps_next or said.choices == [])
            path = ["service_tier"]
            self._stamps_next = self._stamps_next and not shows
        elif self._family == "responses":
            shows, path = bool(said.response), ["response", "service_tier"]
        else:
            shows, path = bool(said.message), ["message", "usage", "service_tier"]
        return event.replace(data, _with(data, path, self._stamp), 1) if shows else event


# What tells a token, and what makes an event worth decoding.  Inside a JSON string the quotes
# would be escaped, so a text about these words does not look like them.
_USAGE = b'"usage"'
_DONE = (b"[DONE]\n\n", b"[DONE]\r\n\r\n")
_NO_USAGE = b'"usage":null'  # stands in each chunk of vLLM's /v1/completions
_MARKS: dict[Family, tuple[bytes, tuple[bytes, ...]]] = {
    "openai": (b'"choices"', (_USAGE, b'"error"')),
    "responses": (b'.delta"', (b'"response":', b'"error"')),
    "anthropic": (b'"content_block_delta"', (_USAGE, b'"message_stop"', b'"error"')),
}
_LAST_EVENTS = frozenset(
    ("response.completed", "response.incomplete", "response.failed", "message_stop")
)


# What a server counts cannot be less or more; else it would upset quotas, sums and columns.
_Tokens = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Milliseconds = Annotated[float, Meta(ge=0, le=1e9)]


class _Details(Struct):
    cached_tokens: _Tokens | None = None


class _Counts(Struct):
    """``usage`` in every dialect.  vLLM's ``input_tokens`` include those read from its cache."""

    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens: _Tokens | None = None
    output_tokens: _Tokens | None = None
    input_tokens_details: _Details | None = None
    cache_read_input_tokens: _Tokens | None = None


class _Timing(Struct):
    """``metrics``: absent, null, or what one request waited and took."""

    queue_time_ms: _Milliseconds | None = None


class _Answer(Struct):
    usage: _Counts | None = None
    metrics: Raw = Raw(b"")  # a server of another kind may say anything here


class _Event(Struct):
    type: str | None = None
    choices: list[Raw] | None = None
    usage: _Counts | None = None
    metrics: Raw = Raw(b"")
    response: Raw = Raw(b"")
    message: Raw = Raw(b"")  # an object at a message's start, a sentence in an error
    error: Raw = Raw(b"")


_ANSWER = msgspec.json.Decoder(_Answer)
_EVENT = msgspec.json.Decoder(_Event)
_TIMING = msgspec.json.Decoder(_Timing)
_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_Read = TypeVar("_Read")


def _decoded(decoder: msgspec.json.Decoder[_Read], text: bytes | Raw) -> _Read | None:
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError):
        return None


def _merged(known: Usage, told: _Answer | _Event) -> Usage:
    """What is known, with every number that was ``told`` in place of the earlier one."""
    counts, timing = told.usage or _Counts(), _decoded(_TIMING, told.metrics) or _Timing()
    prompt = _first(counts.prompt_tokens, counts.input_tokens, known.prompt_tokens)
    output = _first(counts.completion_tokens, counts.output_tokens, known.completion_tokens)
    details = counts.prompt_tokens_details or counts.input_tokens_details or _Details()
    cached = _first(details.cached_tokens, counts.cache_read_input_tokens, known.cached_tokens)
    wait_ms = timing.queue_time_ms
    waited_s = known.engine_wait_s if wait_ms is None else wait_ms / 1000
    return Usage(prompt, output, cached, waited_s)


def _first(*numbers: int | None) -> int | None:
    return next((number for number in numbers if number is not None), None)


def _with(document: bytes, path: Sequence[str], value: str) -> bytes:
    """A JSON object with the string ``value`` at ``path``; unchanged where there is no such place."""
    fields = _decoded(_FIELDS, document)
    name, *inner = path
    if fields is None or (inner and name not in fields):
        return document
    put = _with(bytes(fields[name]), inner, value) if inner else msgspec.json.encode(value)
    fields[name] = Raw(put)
    return msgspec.json.encode(fields)


# Where events end: a line feed, then an empty line, with or without carriage returns.


def _after_last_blank_line(text: bytes, start: int) -> int:
    """The offset behind the last blank line at or after ``start``; 0 if there is none."""
    lf, crlf = text.rfind(b"\n\n", start), text.rfind(b"\n\r\n", start)
    return max(lf + 2 if lf >= 0 else 0, crlf + 3 if crlf >= 0 else 0)


def _after_blank_line(text: bytes, start: int) -> int:
    """The offset behind the first one; 0 if there is none."""
    lf, crlf = text.find(b"\n\n", start), text.find(b"\n\r\n", start)
    ends = [lf + 2] if lf >= 0 else []
    ends += [crlf + 3] if crlf >= 0 else []
    return min(ends, default=0)


def _data(event: bytes) -> bytes:
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)
