"""Does an engine start requests in the order of their priority?  Judged by watching it.

vLLM takes a priority under its default policy too, and ignores it with status 200, so no answer
tells (vllm/config/scheduler.py).  What does tell is an order of starts that the policy rules out:
a less urgent request begins although a more urgent one stood beside it in the engine's queue.

Only pairs that certainly waited in the engine together count.  A poll that shows at least as many
waiting in the engine as there are requests of ours without a first byte proves that each of these
waits.  Prompts matter as well: a long one is prefilled over several steps, so its first token may
come after that of a shorter one that started later.
"""

from collections import deque
from dataclasses import dataclass, field

from gateway.core.snapshot import SchedulingPolicy

ENOUGH = 3  # pieces of evidence before anything is said
SHARE = 0.8  # of the evidence that has to agree
REMEMBERED = 20  # pieces of evidence, and starts to compare a new one with
SAME_STEP_MS = 250  # first bytes closer than this may come from one step of the engine


@dataclass(slots=True)
class _Sent:
    priority: int
    prompt_tokens: int
    at_ms: int
    tells_start: bool
    queued_until_ms: int = -1  # the last moment at which it certainly waited in the engine
    started_ms: int = -1


@dataclass(slots=True)
class Witness:
    """Told of everything sent to one engine.  Higher ``priority`` is more urgent."""

    _out: dict[str, _Sent] = field(default_factory=dict)
    _starts: deque[_Sent] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _evidence: deque[bool] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    @property
    def verdict(self) -> SchedulingPolicy:
        """What the starts seen so far amount to; the newest count, as memory is short."""
        if len(self._evidence) < ENOUGH:
            return "unknown"
        kept = sum(self._evidence) / len(self._evidence)
        if kept >= SHARE:
            return "priority"
        return "fcfs" if kept <= 1 - SHARE else "unknown"

    def sent(
        self, id: str, priority: int, prompt_tokens: int, now_ms: int, *, tells_start: bool
    ) -> None:
        """``tells_start``: its first byte comes with its first token.  That of a plain answer
        comes at its end, so such a request is never evidence, though it may be what waits."""
        self._out[id] = _Sent(priority, prompt_tokens, now_ms, tells_start)

    def polled(self, waiting: int, asked_ms: int) -> None:
        """The engine showed how many wait in it, having been asked at ``asked_ms``.

        What was sent or started while the answer was on its way may be among them, so all of it
        must fit into the number; only what was there before and still waits is proven to.
        """
        possible = [
            one for one in self._out.values() if one.started_ms < 0 or one.started_ms >= asked_ms
        ]
        if waiting >= len(possible):
            for one in possible:
                if one.started_ms < 0 and one.at_ms <= asked_ms:
                    one.queued_until_ms = asked_ms

    def started(self, id: str, now_ms: int) -> None:
        """Its first byte came."""
        one = self._out.get(id)
        if one is None or one.started_ms >= 0:
            return
        one.started_ms = now_ms
        if one.tells_start and one.queued_until_ms >= 0:
            seen = _judged(one, self._starts)
            if seen is not None:
                self._evidence.append(seen)
            self._starts.append(one)

    def left(self, id: str) -> None:
        """Its exchange is over, however it ended."""
        self._out.pop(id, None)


def _judged(late: _Sent, earlier: deque[_Sent]) -> bool | None:
    """Whether the start of ``late`` after all of ``earlier`` agrees with their priorities.

    False: a less urgent one overtook it.  True: a more urgent one that was sent after it went
    first, which arrival order does not do.  None: neither happened.
    """
    agrees = None
    for early in earlier:
        together = max(early.at_ms, late.at_ms) <= min(early.queued_until_ms, late.queued_until_ms)
        apart = late.started_ms - early.started_ms >= SAME_STEP_MS
        if not together or not apart or early.prompt_tokens < late.prompt_tokens:
            continue
        if early.priority < late.priority:
            return False
        if early.priority > late.priority and early.at_ms > late.at_ms:
            agrees = True
    return agrees
