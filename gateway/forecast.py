"""How long one pool's waiting will take: rates and calibration, fed by what happens.

The sums are ``core.estimate``'s.  Two numbers, p50 and p90, and never a promise; None until thirty
dispatches of a tier have shown how far the plain estimate is off.
"""

from gateway.core import estimate
from gateway.core.ops import Dispatch, Submit
from gateway.core.outlook import Expect
from gateway.core.scheduler import Scheduler


class Forecast:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._drained = estimate.Rate()  # cost dispatched
        self._calibration = estimate.Calibration()

    def raw_s(self, tier_name: str, now_ms: int, ahead: int | None = None) -> float | None:
        """The uncalibrated wait behind ``ahead`` cost; by default behind all that waits at the
        tier's level and above, a sum over tiers that any arrival can afford."""
        tiers = self._scheduler.line.tiers
        own = tiers.get(tier_name)
        if own is None:
            return None
        if ahead is None:
            least = own.rules.priority
            ahead = sum(t.waiting_cost for t in tiers.values() if t.rules.priority >= least)
        return estimate.raw_wait_s(ahead, self._drained.per_s(now_ms))

    def wait(self, tier_name: str, now_ms: int, ahead: int | None = None) -> estimate.Wait | None:
        return self._calibration.wait(tier_name, self.raw_s(tier_name, now_ms, ahead))

    def expect_at(self, now_ms: int) -> Expect:
        """For a whole list at one moment: the calibration of each tier is looked up once."""
        drained = self._drained.per_s(now_ms)
        ranges = {name: self._calibration.ratios(name) for name in self._scheduler.line.tiers}

        def expect(tier: str, ahead: int) -> tuple[float, float] | None:
            wait = estimate.calibrated(estimate.raw_wait_s(ahead, drained), ranges.get(tier))
            return (round(wait.p50_s, 1), round(wait.p90_s, 1)) if wait else None

        return expect

    def dispatched(
        self, submit: Submit, dispatch: Dispatch, raw_s: float | None, now_ms: int
    ) -> None:
        self._drained.add(submit.cost, now_ms)
        if raw_s is not None:
            self._calibration.learn(submit.tier, raw_s, dispatch.waited_ms / 1000)

    def drain_per_s(self, now_ms: int) -> float:
        return self._drained.per_s(now_ms)
