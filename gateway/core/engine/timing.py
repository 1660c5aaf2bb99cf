"""How long steps take, in whole picoseconds: ``base + a·decoding + c·prefill + e·KV resident``."""

from bisect import bisect_right

from gateway.core.engine.model import PS, EngineConfig


class StepTimes:
    def __init__(self, config: EngineConfig) -> None:
        self._base = round(config.step_base_s * PS)
        self._per_decoding = round(config.step_per_decoding_s * PS)
        self._per_prefill = round(config.step_per_prefill_token_s * PS)
        self._per_kv = round(config.step_per_kv_token_s * PS)

    def step(self, decoding: int, prefill_tokens: int, resident_tokens: int) -> int:
        computing = self._per_decoding * decoding + self._per_prefill * prefill_tokens
        return self._base + computing + self._per_kv * resident_tokens

    def run(self, steps: int, decoding: int, resident_tokens: int) -> int:
        """So many steps in which all only decode: each leaves ``decoding`` more tokens resident."""
        first = self.step(decoding, 0, resident_tokens)
        return steps * first + self._per_kv * decoding * (steps * (steps - 1) // 2)

    def fitting(self, most: int, time: int, decoding: int, resident_tokens: int) -> int:
        """How many steps of such a run, ``most`` of them at the most, end within ``time``."""

        def lasts(steps: int) -> int:
            return self.run(steps, decoding, resident_tokens)

        return most if lasts(most) <= time else bisect_right(range(most), time, key=lasts) - 1
