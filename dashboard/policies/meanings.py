"""What the numbers of a policy mean, for whoever reads them the first time: by page and label."""

from types import MappingProxyType

_LIMITS = {
    "requests a minute": "More are refused and told when to come again.",
    "tokens a minute": (
        "Prompt and answer together; the answer as estimated, until it is there. "
        "More are refused and told when to come again."
    ),
    "on excess": "Over the limits of one tier a request can go to the next lower tier instead.",
}
MEANINGS = MappingProxyType(
    {
        "tiers": {
            "priority": "Higher is more urgent: what waits in the tier with the higher number goes first.",
            "target wait": (
                "How long a request should wait at most. Charts and alerts measure against it; "
                "what waits longer may use the rescue lane."
            ),
            "max wait": "A request that has waited so long leaves the line with an error.",
            "max waiting": "So many may wait in it; the next is refused and told when to come again.",
            "tokens waiting": (
                "The same in tokens: those of the prompts, and twice those of the expected answers."
            ),
            "ages": "Waiting lifts its requests, as set under Pool.",
            "colour": "On charts and in lists.",
        },
        "tenants": {
            "default tier": "Where its requests go that name neither a task type nor a priority.",
            "ceiling": "The most urgent number its requests reach, whatever they ask for.",
            "weight": "Its share against others in the same tier: 200 gets twice as much as 100.",
            "a client's own priority": "Whether the number that a request itself states counts.",
            "max waiting": "So many of its requests may wait; the next is refused.",
            "max in flight": "So many may run at once; the others wait and hold up nobody else.",
            "reserved slots": "Slots of its own, lent to others while it does not need them.",
            **_LIMITS,
        },
        "pool": {
            "ageing from": "Whoever has waited less is not lifted.",
            "ageing step": "+1 for each step waited: at 10s, whoever waits for 40s counts 4 higher.",
            "ageing at most": "It lifts by no more than this.",
            "ageing ceiling": "It lifts nothing above this number, so that old work never passes urgent work.",
            "a request that says nothing": "Where a request goes that names neither a task type nor a priority.",
            "rescue lane": (
                "This share of all work is for requests past their target wait, in whatever tier: "
                "it keeps the lower tiers from starving."
            ),
            "held back": (
                "This share of the slots stays free for the tiers that ageing does not reach, so "
                "that an urgent request need not wait until another ends."
            ),
            "waiting in all tiers": "So many may wait in all; the next is refused.",
        },
    }
)
