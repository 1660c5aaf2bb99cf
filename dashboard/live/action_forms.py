"""What a person says when ordering something; what it is about stands in the address."""

import uuid
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.utils import timezone

from dashboard.live.impact import MINUS, Impact, named
from dashboard.live.overrides import Order
from gateway.core.policy import Policy
from gateway.models.overrides import MOST_BOOST

TERMS = {5: "5 min", 15: "15 min", 30: "30 min", 60: "1 h", 240: "4 h", 1440: "24 h"}
USUAL_MINUTES = {"pause": 15, "drain": 30, "move": 60}
# What stands in for a reason where none has to be given.
UNSAID = {"boost": "", "evict": "the queue had to be made shorter"}
MOST_SEEN = 1_000_000  # no policy lets more wait


class OrderForm(forms.Form):
    """The fields that ``verb`` needs, and as much of a confirmation as the effect asks for."""

    minutes = forms.TypedChoiceField(label="For", coerce=int, choices=tuple(TERMS.items()))
    tier = forms.ChoiceField(label="To")
    by = forms.TypedChoiceField(
        label="By",
        coerce=int,
        choices=[
            (n, f"{n:+}".replace("-", MINUS) if n else "0: as it was")
            for n in range(MOST_BOOST, -MOST_BOOST - 1, -1)
        ],
    )
    reason = forms.CharField(label="Why?", max_length=200, strip=True)
    typed = forms.CharField(
        label="Type",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none"}),
    )
    key = forms.CharField(max_length=64, widget=forms.HiddenInput)
    saw_at = forms.FloatField(widget=forms.HiddenInput)
    seen = forms.IntegerField(
        min_value=0, max_value=MOST_SEEN, required=False, widget=forms.HiddenInput
    )
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def __init__(self, verb: str, effect: Impact, policy: Policy, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.verb, self.effect = verb, effect
        if verb not in USUAL_MINUTES:
            del self.fields["minutes"]
        if verb != "boost":
            del self.fields["by"]
        if verb == "move":
            tiers = [(one.name, named(one.name, one.priority)) for one in policy.by_urgency]
            self.fields["tier"] = forms.ChoiceField(label="To", choices=tiers)
        else:
            del self.fields["tier"]
        if effect.level < 2:
            del self.fields["typed"]
            self.fields["reason"].required = False
        else:
            self.fields["typed"].label = f"Type {effect.typed}"
            self.fields["typed"].help_text = "It shows that this is meant."
        if verb in ("drain", "evict", "abort"):
            self.fields["reason"].help_text = "Callers read it."

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"].strip()
        if typed != self.effect.typed:
            raise forms.ValidationError(f"Type {self.effect.typed}.")
        return typed

    def clean_saw_at(self) -> datetime:
        try:
            return datetime.fromtimestamp(self.cleaned_data["saw_at"], UTC)
        except (ValueError, OverflowError, OSError):
            raise forms.ValidationError("This is no moment.") from None

    def clean(self) -> dict[str, Any]:
        if self.effect.level and not self.cleaned_data.get("confirmed"):
            raise forms.ValidationError("Look at what it would do, and confirm.")
        return self.cleaned_data

    def shown_again(self, **changes: Any) -> None:
        """Let the next try carry what the person sees now; what was typed stays."""
        self.data = {**self.data.dict(), **changes}  # type: ignore[attr-defined] # a QueryDict

    def complete(self, order: Order) -> Order:
        """The order with what the form says of it."""
        said = self.cleaned_data
        return order._replace(
            tier=said.get("tier") or order.tier,
            by=said.get("by", 0),
            minutes=said.get("minutes", 0),
        )

    def why(self) -> str:
        return self.cleaned_data["reason"] or UNSAID.get(self.verb, "no reason given")


def fresh(verb: str, seen: int | None) -> dict[str, Any]:
    """What an unsent form carries: its own key, and what the person is being shown."""
    return {
        "minutes": USUAL_MINUTES.get(verb),
        "by": 2,
        "key": uuid.uuid4().hex,
        "saw_at": timezone.now().timestamp(),
        "seen": seen,
        "confirmed": True,
    }
