"""The engine itself: the line, the running set, and the steps that move them."""

from heapq import heappop, heappush

from gateway.core.engine.kv import BLOCK_TOKENS, KVCache, Prefixes, blocks
from gateway.core.engine.line import WaitingLine
from gateway.core.engine.model import (
    PS,
    Counters,
    EngineConfig,
    Event,
    FirstToken,
    Preempted,
    Sequence,
    Started,
)
from gateway.core.engine.timing import StepTimes


class Engine:
    """One vLLM engine on a clock that the caller moves.  Moments must not go backwards."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()
        self.counters = Counters()
        self._times = StepTimes(self.config)
        self._most_prefill = self.config.long_prefill_token_threshold
        self._by_priority = self.config.scheduling_policy == "priority"
        self._now = 0
        self._steps = 0
        self._step_ends: int | None = None
        self._sequences: dict[str, Sequence] = {}
        self._line = WaitingLine()
        self._running: dict[str, Sequence] = {}  # in admission order, as the next
        self._prefilling: list[Sequence] = []
        self._ends: list[tuple[int, int, Sequence]] = []  # a heap by last step, stale ones too
        self._kv = KVCache(self.config.kv_tokens)
        self._prefixes = Prefixes()
        self._may_admit = False  # False: the last attempt failed and nothing has changed since
        self._submitted = 0
        self._events: list[Event] = []

    def __repr__(self) -> str:
        return f"<Engine {self.running} running, {self.waiting} waiting, KV {self.kv_usage:.0%}>"

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def kv_usage(self) -> float:
        """The share of KV blocks taken, 0 to 1."""
        return self._kv.usage_share

    @property
    def now_s(self) -> float:
        """The end of the last step done."""
        return self._now / PS

    @property
    def next_s(self) -> float | None:
        """When ``advance`` is next worth calling; None while there is nothing to do."""
        if self._step_ends is not None:
            return self._step_ends / PS
        return self._now / PS if self._sequences else None

    def submit(
        self,
        id: str,
        prompt_tokens: int,
        output_tokens: int,
        vllm_priority: int = 0,
        now_s: float = 0.0,
        cached_tokens: int = 0,
        prefix: str = "",
        prefix_tokens: int = 0,
    ) -> None:
        """Put a request into the waiting line.  ``output_tokens`` 0 is a pooling request.

        ``prefix`` names what the first ``prefix_tokens`` of the prompt share with others; it
        matters only with ``prefix_cache``.

        Raises:
            ValueError: the id is known already, or the KV cache could never hold the request.
        """
        if id in self._sequences:
            raise ValueError(f"request {id!r} is known already")
        if prompt_tokens < 1 or output_tokens < 0 or not 0 <= cached_tokens <= prompt_tokens:
            raise ValueError("a request has at least one prompt token and no negative counts")
        if prompt_tokens + max(0, output_tokens - 1) > self.config.most_tokens:
            raise ValueError(f"{prompt_tokens} + {output_tokens} tokens exceed the KV cache")
        now = round(now_s * PS)
        self._run(now, inclusive=False)
        if not self._sequences:
            self._now = max(self._now, now)
        self._submitted += 1
        by_priority = (vllm_priority, now, id, self._submitted)
        sequence = Sequence(
            id=id,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            rank=by_priority if self._by_priority else (0, 0, "", self._submitted),
            arrived=now,
            cached_tokens=cached_tokens,
            prefix=prefix if self.config.prefix_cache else "",
            prefix_tokens=min(prefix_tokens, prompt_tokens),
        )
        self._sequences[id] = sequence
        self._queue(sequence)

    def abort(self, id: str, now_s: float) -> bool:
        """Drop a request, waiting or running, and free its blocks; False if it is not known."""
        self._run(round(now_s * PS), inclusive=False)
        sequence = self._sequences.pop(id, None)
        if sequence is None:
            return False
        if sequence.waiting:
            self._line.forget(sequence)
        else:
            self._leave(sequence)
        self._may_admit = True
        return True

    def advance(self, now_s: float) -> list[Event]:
        """Do every step that ends by ``now_s`` and begin the one under way then.

        Returns:
            What happened since the last call, oldest first.
        """
        self._run(round(now_s * PS), inclusive=True)
        events, self._events = self._events, []
        return events

    def step(self) -> list[Event]:
        """Do exactly one step, whenever it ends."""
        self._run(self._now, inclusive=True)
        if self._step_ends is not None:
            self._run(self._step_ends, inclusive=False)
        events, self._events = self._events, []
        return events

    def progress(self) -> list[tuple[str, int]]:
        """Each decoding request with the tokens it has by now, in admission order."""
        return [(s.id, self._steps - s.base) for s in self._running.values() if s.decoding]

    # ---------------------------------------------------------------- the clock

    def _run(self, until: int, *, inclusive: bool) -> None:
        """Complete steps up to ``until``; begin one at ``until`` itself only if ``inclusive``.

        So requests submitted at one moment share their first step.
        """
        while True:
            if self._step_ends is not None:
                if self._step_ends > until:
                    return
                self._complete(self._step_ends)
                continue
            late = self._now > until or (self._now == until and not inclusive)
            if late or not self._sequences:
                return
            if not self._leap(until):
                self._begin()

    def _leap(self, until: int) -> bool:
        """Do many steps at once, where none of them admits, prefills, preempts or finishes."""
        decoding = len(self._running)
        if self._prefilling or not decoding or (self._may_admit and self._line):
            return False
        quiet = self._next_finish() - self._steps - 1
        quiet = min(quiet, BLOCK_TOKENS * (self._kv.free // decoding))
        if quiet < 1:
            return False
        resident_tokens = self._kv.resident_tokens
        steps = self._times.fitting(quiet, until - self._now, decoding, resident_tokens)
        if steps < 1:
            return False
        self._now += self._times.run(steps, decoding, resident_tokens)
        self._kv.grow(self._steps, steps, decoding)
        self._produce(steps, decoding)
        return True

    def _begin(self) -> None:
        """Plan a step: grow what runs, preempt where blocks lack, then admit."""
        left = self.config.max_num_batched_tokens - (len(self._running) - len(self._prefilling))
        wanted = self._kv.wanted(self._steps)
        for sequence in self._prefilling:
            sequence.chunk = sequence.chunk_within(left, self._most_prefill)
            left -= sequence.chunk
            wanted += self._wants(sequence)
        if wanted <= self._kv.free:
            self._kv.free -= wanted
            decoding = len(self._running) - len(self._prefilling)
            self._admit(left)
        else:  # nothing is admitted in a step that preempts
            self._kv.free = self._make_room()
            decoding = len(self._running) - len(self._prefilling)
        prefill_tokens = sum(sequence.chunk for sequence in self._prefilling)
        lasts = self._times.step(decoding, prefill_tokens, self._kv.resident_tokens)
        self._step_ends = self._now + lasts

    def _complete(self, ends: int) -> None:
        self._step_ends = None
        self._now = ends
        # Aborts during the step have lowered the number of decoding requests by now.
        self._produce(1, len(self._running) - len(self._prefilling))
        computed, self._prefilling = self._prefilling, []
        for sequence in computed:
            sequence.computed += sequence.chunk
            self._kv.resident_tokens += sequence.chunk
            self.counters.prompt_tokens += sequence.chunk
            sequence.chunk = 0
            if sequence.computed < sequence.target_tokens:
                self._prefilling.append(sequence)
            else:
                self._prefilled(sequence)
        while self._ends and self._next_finish() <= self._steps:
            self._finish(heappop(self._ends)[2])

    def _produce(self, steps: int, decoding: int) -> None:
        self._steps += steps
        self._kv.resident_tokens += steps * decoding
        self.counters.steps += steps
        self.counters.generation_tokens += steps * decoding

    def _next_finish(self) -> int:
        """The step at which the next request finishes; drops stale entries on the way."""
        while self._ends:
            last, _, sequence = self._ends[0]
            if sequence.decoding and last == sequence.last_step:
                return last
            heappop(self._ends)
        return self._steps + 1

    # ---------------------------------------------------------------- one request's way

    def _queue(self, sequence: Sequence) -> None:
        self._line.add(sequence)
        self._may_admit = True

    def _admit(self, left: int) -> None:
        """Take requests from the head of the line while ``left`` tokens of the budget last."""
        self._may_admit = False
        while self._line and len(self._running) < self.config.max_num_seqs:
            if left < 1:
                self._may_admit = True
                return
            sequence = self._line.head()
            fits = blocks(sequence.target_tokens) + self.config.watermark_blocks
            if fits > self._kv.free:
                return  # all behind it wait too
            self._start(sequence, left)
            left -= sequence.chunk

    def _start(self, sequence: Sequence, left: int) -> None:
        """Admit the head of the line."""
        self._line.pop()
        sequence.computed = self._cached(sequence)
        sequence.chunk = sequence.chunk_within(left, self._most_prefill)
        self._kv.free -= self._held(sequence)
        self._kv.resident_tokens += sequence.computed
        self._running[sequence.id] = sequence
        self._prefilling.append(sequence)
        if sequence.started < 0:
            sequence.started = self._now
        self._events.append(Started(sequence.id, self._now / PS))

    def _cached(self, sequence: Sequence) -> int:
        """Tokens whose KV is there already: whole blocks, never the last token of the prompt."""
        if sequence.preemptions:
            return 0  # what was cached is not counted on to have survived
        known = self._prefixes.hit(sequence.prefix) if sequence.prefix else 0
        cached = max(sequence.cached_tokens, min(known, sequence.prefix_tokens))
        cached = min(cached, sequence.prompt_tokens - 1) // BLOCK_TOKENS * BLOCK_TOKENS
        sequence.cached_tokens = cached
        self.counters.prefix_queries_tokens += sequence.prompt_tokens
        self.counters.prefix_hits_tokens += cached
        return cached

    def _prefilled(self, sequence: Sequence) -> None:
        """The prompt is computed, which gives one token."""
        if sequence.prefix:
            room = self.config.kv_tokens - self._kv.resident_tokens  # they live in free blocks
            self._prefixes.remember(sequence.prefix, sequence.prefix_tokens, room)
        if sequence.first_token < 0:
            sequence.first_token = self._now
            if not sequence.output_tokens:
                self._finish(sequence)
                return
            self._events.append(FirstToken(sequence.id, self._now / PS))
        self.counters.generation_tokens += 1
        sequence.decoding = True
        sequence.base = self._steps - sequence.generated - 1
        self._kv.join(sequence.base, sequence.prompt_tokens)
        heappush(self._ends, (sequence.last_step, sequence.rank[3], sequence))

    def _leave(self, sequence: Sequence) -> None:
        """Take a request out of the running set and free what it holds."""
        self._kv.free += self._held(sequence)
        self._kv.resident_tokens -= sequence.resident_tokens(self._steps)
        del self._running[sequence.id]
        if sequence.decoding:
            self._kv.leave(sequence.base, sequence.prompt_tokens)
            sequence.generated = self._steps - sequence.base
            sequence.decoding = False
        elif sequence in self._prefilling:
            self._prefilling.remove(sequence)
        sequence.computed = sequence.chunk = 0
        self._may_admit = True

    def _finish(self, sequence: Sequence) -> None:
        self._leave(sequence)
        del self._sequences[sequence.id]
        self.counters.finished += 1
        self.counters.queue_time_s += (sequence.started - sequence.arrived) / PS
        self._events.append(sequence.ending(self._now))

    # ---------------------------------------------------------------- blocks

    def _held(self, sequence: Sequence) -> int:
        """Blocks of a running request, those for the step under way included."""
        coming = int(self._step_ends is not None) if sequence.decoding else sequence.chunk
        return blocks(sequence.resident_tokens(self._steps) + coming)

    def _wants(self, sequence: Sequence) -> int:
        """Blocks that a running request must get before it can take part in the next step."""
        coming = 1 if sequence.decoding else sequence.chunk
        resident = sequence.resident_tokens(self._steps)
        return blocks(resident + coming) - blocks(resident)

    def _make_room(self) -> int:
        """Plan the step anew, preempting until every running request can grow, in admission order.

        A victim may be the one that asks, or one that was granted its part already: its tokens go
        to those planned after it, not to the one that asks (vLLM ``v1/core/sched/scheduler.py``).

        Returns:
            Blocks that are free then.
        """
        free, left = self._kv.free, self.config.max_num_batched_tokens
        granted: dict[str, tuple[int, int]] = {}  # blocks and tokens
        for sequence in list(self._running.values()):
            if sequence.id not in self._running:
                continue
            tokens = 1
            if not sequence.decoding:
                tokens = sequence.chunk = sequence.chunk_within(left, self._most_prefill)
            wants = self._wants(sequence)
            while sequence.id in self._running and wants > free:
                victim = self._victim()
                victim.chunk = 0  # planned, but its blocks are not taken yet
                had_blocks, had_tokens = granted.pop(victim.id, (0, 0))
                free += self._held(victim) + had_blocks
                left += had_tokens
                self._preempt(victim)
            if sequence.id in self._running:
                granted[sequence.id] = wants, tokens
                free -= wants
                left -= tokens
        return free

    def _victim(self) -> Sequence:
        """Who must give way: the highest vLLM number, then the latest; under fcfs the last in."""
        if self._by_priority:
            return max(self._running.values(), key=lambda sequence: sequence.rank[:2])
        return next(reversed(self._running.values()))

    def _preempt(self, victim: Sequence) -> None:
        self._leave(victim)
        victim.preemptions += 1
        self.counters.preemptions += 1
        self._queue(victim)
        self._events.append(Preempted(victim.id, self._now / PS))
