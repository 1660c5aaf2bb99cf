"""KV blocks, counted and not placed, and a memory of known prefixes.

Decoding requests take a block every 16 steps.  They are kept by the step, modulo 16, at which
they do, so any number of steps is accounted for at once.
"""

from collections import OrderedDict

BLOCK_TOKENS = 16


def blocks(tokens: int) -> int:
    return -(-tokens // BLOCK_TOKENS)


class KVCache:
    def __init__(self, kv_tokens: int) -> None:
        self.size = kv_tokens // BLOCK_TOKENS
        self.free = self.size
        self.resident_tokens = 0
        self._growing = [0] * BLOCK_TOKENS

    @property
    def usage_share(self) -> float:
        return 1 - self.free / self.size

    def grows_at(self, base: int, prompt_tokens: int) -> int:
        """The step, modulo the block size, at which a decoding request takes its next block."""
        return (base + 1 - prompt_tokens) % BLOCK_TOKENS

    def join(self, base: int, prompt_tokens: int) -> None:
        self._growing[self.grows_at(base, prompt_tokens)] += 1

    def leave(self, base: int, prompt_tokens: int) -> None:
        self._growing[self.grows_at(base, prompt_tokens)] -= 1

    def wanted(self, step: int) -> int:
        """Blocks that the decoding requests take in this step."""
        return self._growing[step % BLOCK_TOKENS]

    def grow(self, step: int, steps: int, decoding: int) -> None:
        """Give every decoding request what ``steps`` steps from ``step`` on take."""
        whole, part = divmod(steps, BLOCK_TOKENS)
        self.free -= whole * decoding + sum(self.wanted(step + i) for i in range(part))


class Prefixes:
    """Which prefixes were computed, the least recently computed with first."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, int] = OrderedDict()
        self._total = 0

    def hit(self, prefix: str) -> int:
        return self._tokens.get(prefix, 0)

    def remember(self, prefix: str, tokens: int, room: int) -> None:
        """Keep a prefix, and of the others what fits into ``room`` tokens with it."""
        self._total += tokens - self._tokens.pop(prefix, 0)
        self._tokens[prefix] = tokens
        while self._total > room and self._tokens:
            self._total -= self._tokens.popitem(last=False)[1]
