"""Why one request stands where it stands, in sentences: pure, from the gateway's explanation."""

from typing import Any, NamedTuple

from dashboard.units.shown import ABSENT, count, seconds

MINUS = "\N{MINUS SIGN}"
TAG_SCALE = 1000  # of gateway.core.ordering: tags are thousandths of a weighted token

BINDS = {
    "turn": "Only those ahead of it.",
    "limit": "Every slot is taken.",
    "holdback": "The slots that are free are held back for more urgent tiers.",
    "pace": "A cold burst of less urgent work is let in at a pace, so that it fills no engine at once.",
    "guard": "The engines' KV cache has no room for the next request.",
    "paused": "Its tier is paused.",
    "tenant_cap": "Its tenant has as much in flight as it may.",
    "no_backend": "No backend is open.",
}
OVER = "It does not wait: the request is {state}."


class Said(NamedTuple):
    about: str
    text: str


def signed(number: int) -> str:
    return f"{MINUS}{-number}" if number < 0 else str(number)


def sentences(document: dict[str, Any]) -> list[Said]:
    """What is known, the most asked first; for a request that does not wait its end alone."""
    request, why = document["request"], document.get("explanation")
    named = f"{request['tier']} ({signed(request['priority'] or 0)})" if request["tier"] else ABSENT
    tier = Said("Tier", f"{named}, by {request['reason'] or 'the default'}")
    if why is None:
        waited = Said("Waited", seconds(request["queue_wait_ms"] / 1000))
        return [Said("State", OVER.format(state=request["state"])), tier, waited]
    said = [
        Said("Place", _place(request, why)),
        Said("Stopped by", BINDS.get(why["binds"], why["binds"])),
        tier,
        Said("Effective priority", _sum(why)),
        Said("Ageing", _ageing(why)),
        Said("Ahead", _ahead(why)),
        Said("Share", _share(why)),
        Said("Slots", _slots(why)),
        Said("Rescue", _rescue(why, document.get("bound_s"))),
        Said("Expires", f"in {seconds(why['expires_in_ms'] / 1000)}, if it is not dispatched"),
    ]
    return [one for one in said if one.text]


def _place(request: dict[str, Any], why: dict[str, Any]) -> str:
    if why["position"] is None:
        return "none while nothing of its tenant in this tier may go"
    about = "" if why["position_is_exact"] else "about "
    eta = request.get("eta_s")
    when = f", expected in {seconds(eta['p50'])} to {seconds(eta['p90'])}" if eta else ""
    return f"{about}{count(why['position'])}, waited {seconds(why['waited_ms'] / 1000)}{when}"


def _sum(why: dict[str, Any]) -> str:
    return sum_of(
        why["tier"], why["priority"], why["aged"], why["boosted"], why["effective_priority"]
    )


def sum_of(tier: str, priority: int, aged: int, boost: int, effective_priority: int) -> str:
    """``standard 0 + 5 aged + 2 boost = 7``."""
    parts = f"{tier} {signed(priority)}"
    if not aged and not boost:
        return parts
    if aged:
        parts += f" + {aged} aged"
    if boost:
        parts += f" {'+' if boost > 0 else MINUS} {abs(boost)} boost"
    return f"{parts} = {signed(effective_priority)}"


def _ageing(why: dict[str, Any]) -> str:
    if why["next_step_in_ms"] is None:
        return "lifts it no further"
    return f"lifts it by 1 in {seconds(max(0, why['next_step_in_ms']) / 1000)}"


def _ahead(why: dict[str, Any]) -> str:
    if not why["ahead_waiting"]:
        return "nobody"
    top = "; ".join(
        f"{count(row['waiting'])} of {row['tenant']} at {signed(row['level'])}"
        for row in why["ahead"]
    )
    return f"{count(why['ahead_waiting'])} requests, {count(why['ahead_cost'])} tokens: {top}"


def _share(why: dict[str, Any]) -> str:
    if why["tag"] is None:
        return ""
    lead = (why["tag"] - why["level_clock"]) / TAG_SCALE
    if lead <= 0:
        return f"{why['tenant']} has had no more than its share at this level"
    return (
        f"{why['tenant']} is {count(lead)} tokens (over its weight) ahead of the least served here"
    )


def _slots(why: dict[str, Any]) -> str:
    return "; ".join(
        f"{one['name']} {one['in_flight']} of {one['base_limit'] + one['held_back']}"
        + (f", {one['held_back']} held back" if one["held_back"] else "")
        + ("" if one["open"] else ", closed")
        for one in why["backends"]
    )


def _rescue(why: dict[str, Any], bound_s: float | None) -> str:
    if why["rescue_in_ms"] is None:
        return "none while it is parked, or where the policy has no rescue lane"
    if why["rescue_in_ms"] > 0:
        return f"past its target wait, and so in the rescue lane, in {seconds(why['rescue_in_ms'] / 1000)}"
    bound = f", about {seconds(bound_s)} at the present rate" if bound_s is not None else ""
    return f"in the rescue lane: at most {count(why['bound_cost'])} tokens go before it{bound}"
