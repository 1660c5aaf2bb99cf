"""What an order would do, worked out from the newest frame before anybody confirms it.  Pure."""

from typing import NamedTuple

from dashboard.units.shown import count, seconds, span
from gateway.core.policy import Policy
from gateway.core.snapshot import TierView

MOST_AT_ONCE = 5  # requests boosted without a question
TYPED_FROM = 21  # requests evicted only with a typed name
SLOW_PER_S = 0.05
MINUS = "\N{MINUS SIGN}"


class Impact(NamedTuple):
    """``level`` is how much is asked: 0 nothing, 1 a dialog, 2 a typed name and a reason."""

    sentences: tuple[str, ...]
    level: int
    typed: str = ""  # the name to type at level 2
    cannot: str = ""  # why it cannot be done now


class Running(NamedTuple):
    """What is in force about the same tier or tenant."""

    verb: str
    by: str
    tier: str
    until: str  # as people read it


def named(name: str, priority: int) -> str:
    return f"{name} ({str(priority).replace('-', MINUS)})"


def pause(tier: TierView, running: Running | None) -> Impact:
    if running is not None and running.verb == "pause":
        return Impact((), 1, cannot=_already(tier, running))
    said = [f"{count(tier.waiting)} wait, {_arrive(tier)}, {_until_full(tier)}."]
    if tier.oldest_s is not None:
        left_s = tier.max_wait_s - tier.oldest_s
        said.append(
            f"The oldest has waited {seconds(tier.oldest_s)}; it expires in {seconds(max(0, left_s))} "
            f"unless the tier is resumed."
        )
    said += _replaces(running)
    return Impact(tuple(said), 1)


def drain(tier: TierView, running: Running | None) -> Impact:
    if running is not None and running.verb == "drain":
        return Impact((), 2, tier.name, cannot=_already(tier, running))
    said = [
        f"Who asks for it gets 503 and your reason: {_arrive(tier)}.",
        f"{count(tier.waiting)} wait and {count(tier.in_flight)} run: they are finished{_until_empty(tier)}.",
    ]
    return Impact((*said, *_replaces(running)), 2, tier.name)


def boost(touched: int, *, exactly: bool) -> Impact:
    """By how much is not said: that is chosen in the same form."""
    if not touched:
        return Impact((), 1, cannot="Nobody waits here now.")
    told = f"{_how_many(touched, exactly)} {_are(touched)} moved by what you choose"
    said = f"{told}; never past the tenant's ceiling."
    return Impact((said,), 0 if touched <= MOST_AT_ONCE and exactly else 1)


def evict(touched: int, *, exactly: bool) -> Impact:
    if not touched:
        return Impact((), 1, cannot="Nobody waits here now.")
    said = (
        f"{_how_many(touched, exactly)} {_are(touched)} answered with 503 and your reason.",
        "There is no undo.",
    )
    typed = touched >= TYPED_FROM
    return Impact(said, 2 if typed else 1, "evict" if typed else "")


def abort(touched: int) -> Impact:
    said = (
        f"{count(touched)} running {'request ends' if touched == 1 else 'requests end'} with your "
        "reason; what was streamed so far stays with the caller.",
        "The slot is free once the model server has let go. There is no undo.",
    )
    return Impact(said, 2, "abort")


def move(policy: Policy, tenant: str, to: str, waiting: int, running: Running | None) -> Impact:
    """``to`` is empty before a tier was chosen."""
    tier = policy.tier(to)
    place = named(tier.name, tier.priority) if tier else "the tier you choose"
    said = [f"What {tenant} sends from now on goes to {place}, whatever it asks for."]
    rules = policy.tenants.get(tenant)
    if tier is not None and rules is not None and rules.ceiling < tier.priority:
        top = policy.tier_at(rules.ceiling)
        said.append(f"That is above its ceiling, {named(top.name, top.priority)}.")
    said.append("A key's own ceiling or pinned tier still holds.")
    if waiting:
        said.append(f"{count(waiting)} that wait stay where they are.")
    if running is not None:
        said.append(f"It ends the move to {running.tier} by {running.by}, until {running.until}.")
    return Impact(tuple(said), 1)


def _already(tier: TierView, running: Running) -> str:
    word = "paused" if running.verb == "pause" else "draining"
    return f"{tier.name} is {word} already, by {running.by}, until {running.until}. Resume or extend that."


def _replaces(running: Running | None) -> list[str]:
    if running is None:
        return []
    return [f"It takes the place of the {running.verb} by {running.by}, until {running.until}."]


def _arrive(tier: TierView) -> str:
    return f"{tier.in_per_s:.1f}/s arrive" if tier.in_per_s >= SLOW_PER_S else "hardly any arrive"


def _until_full(tier: TierView) -> str:
    room = tier.max_waiting - tier.waiting
    if room <= 0:
        return "full: whoever arrives is refused with 429"
    if tier.in_per_s < SLOW_PER_S:
        return f"room for {count(room)}"
    return f"full in about {_round(room / tier.in_per_s)}"


def _until_empty(tier: TierView) -> str:
    if not tier.waiting or tier.out_per_s < SLOW_PER_S:
        return ""
    return f", in about {_round(tier.waiting / tier.out_per_s)} at {tier.out_per_s:.1f}/s"


def _round(wait_s: float) -> str:
    """Whole minutes, from two on: more digits would promise too much."""
    if wait_s < 120:
        return span(max(1, round(wait_s)))
    return span(round(wait_s / 60) * 60 if wait_s < 36_000 else wait_s)


def _how_many(touched: int, exactly: bool) -> str:
    what = "waiting request" if touched == 1 else "waiting requests"
    return f"{'' if exactly else 'At most '}{count(touched)} {what}"


def _are(touched: int) -> str:
    return "is" if touched == 1 else "are"
