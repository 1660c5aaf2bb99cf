"""Why has priority no effect?  Facts about the last hour's requests → findings."""

from collections.abc import Iterator, Sequence

from gateway.doctor.facts import Traffic
from gateway.doctor.finding import Finding

ABOUT = "traffic"
PRESSURE_S = 0.05  # a p95 below this is no line
FEW = 20
MOSTLY = 0.5
SHOWN = 3


def judge(traffic: Traffic) -> Iterator[Finding]:
    n = traffic.requests
    if n < FEW:
        ended = f"{n or 'No'} request{'' if n == 1 else 's'} ended in the last hour"
        message = f"{ended}: too few to say what priority does."
        yield Finding("note", ABOUT, "little_traffic", message)
        return
    if traffic.wait_p95_s < PRESSURE_S:
        message = (
            f"Nobody waits (p95 of {n} requests: {traffic.wait_p95_s * 1000:.0f} ms), so there is "
            "no order to choose: with free slots every request starts at once."
        )
        advice = (
            "That is well. If requests are slow all the same, the engine itself is what is full."
        )
        yield Finding("note", ABOUT, "no_pressure", message, advice)
    else:
        message = f"Requests wait for their turn (p95 of {n}: {traffic.wait_p95_s:.1f} s)."
        yield Finding("ok", ABOUT, "pressure", message)
    if len(traffic.tiers) == 1:
        message = f"All of them belong to the tier {traffic.tiers[0]}; among equals order is fair."
        advice = "Let clients send X-Task-Type, or give keys their own default tiers."
        yield Finding("warning", ABOUT, "one_tier", message, advice)
    if traffic.unstated > MOSTLY * n:
        share = round(100 * traffic.unstated / n)
        message = f"{share} % state neither a priority nor a task type and get the default tier."
        advice = "Send X-Task-Type, or `priority` in the body; see the README's table."
        yield Finding("note", ABOUT, "unstated", message, advice)
    if traffic.clamped:
        message = f"Ceilings held requests below the tier they asked for: {_most(traffic.clamped)}."
        advice = "If that is not wanted, raise the ceiling of the key or of its tenant."
        yield Finding("note", ABOUT, "clamped", message, advice)
    if traffic.unmapped:
        message = f"The policy knows no tier for these task types: {_most(traffic.unmapped)}."
        advice = "Map them in the policy, or correct what the clients send."
        yield Finding("warning", ABOUT, "unmapped", message, advice)


def _most(counted: Sequence[tuple[str, int]]) -> str:
    shown = ", ".join(f"{name} ({n})" for name, n in counted[:SHOWN])
    rest = len(counted) - SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown
