"""The few plain forms of the policy's pages; a draft's own inputs are made in ``form``."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django import forms
from django.utils import timezone

from dashboard.policies import guards

HOW = [("now", "now"), ("canary", "canary"), ("shadow", "shadow"), ("at", "at a time")]
MINUTES = [(15, "15 min"), (60, "1 h"), (480, "8 h"), (1440, "1 day")]
PERCENTS = [(5, "5 %"), (25, "25 %"), (50, "50 %")]
TIMES = "\N{MULTIPLICATION SIGN}"
FURTHEST = timedelta(days=90)


class MomentForm(forms.Form):
    at = forms.DateTimeField(
        label="What was in force at",
        help_text="UTC",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "class": "form-control"}),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"],
    )


class PreviewForm(forms.Form):
    window = forms.ChoiceField(
        label="Arrivals",
        choices=[("15m", "the last 15 min"), ("1h", "the last hour"), ("busiest", "busiest hour")],
    )
    load = forms.ChoiceField(
        label="Load", choices=[("1", f"{TIMES}1"), ("1.5", f"{TIMES}1.5")], initial="1"
    )
    lost = forms.ChoiceField(label="Lose", required=False)

    def __init__(self, *args: Any, backends: Sequence[str], **options: Any) -> None:
        super().__init__(*args, **options)
        lost = self.fields["lost"]
        assert isinstance(lost, forms.ChoiceField)
        lost.choices = [("", "no backend"), *((name, name) for name in backends)]
        for field in self.fields.values():
            field.widget.attrs["class"] = "form-select"


class ReasonForm(forms.Form):
    reason = forms.CharField(max_length=300, strip=True)
    newest = forms.IntegerField(min_value=0)


class TakeOverForm(forms.Form):
    reason = forms.CharField(max_length=300, strip=True, error_messages={"required": "Say why."})


class PublishForm(forms.Form):
    """``accepted``: why the draft's warnings are fine; asked for where there are some."""

    message = forms.CharField(max_length=250, strip=True)
    accepted = forms.CharField(max_length=200, strip=True, required=False)
    edit = forms.IntegerField(min_value=1)
    how = forms.ChoiceField(choices=HOW, required=False)
    percent = forms.TypedChoiceField(
        choices=PERCENTS, coerce=int, required=False, empty_value="25", initial=25
    )
    guards = forms.MultipleChoiceField(
        choices=[*guards.LABELS.items()], required=False, initial=[*guards.GUARDS]
    )
    promotes = forms.BooleanField(required=False)
    minutes = forms.TypedChoiceField(
        choices=MINUTES, coerce=int, required=False, empty_value="60", initial=60
    )
    at = forms.CharField(max_length=20, required=False)
    zone = forms.CharField(max_length=64, required=False, initial="UTC")

    typed = forms.CharField(max_length=20, required=False)

    def __init__(self, *args: Any, warned: bool = False, to_type: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self.to_type = to_type
        self.fields["accepted"].required = warned
        self.fields["message"].error_messages["required"] = "Say why, for those who read it later."
        self.fields["accepted"].error_messages["required"] = "Say why the warnings are fine."

    def clean_how(self) -> str:
        return self.cleaned_data["how"] or "now"

    def clean_typed(self) -> None:
        counted_only = self.cleaned_data.get("how") == "shadow"
        if self.to_type and not counted_only and self.cleaned_data["typed"].strip() != self.to_type:
            raise forms.ValidationError(f"Type {self.to_type} to publish it all the same.")

    def clean(self) -> dict[str, Any]:
        said = self.cleaned_data
        if said.get("how") == "at":
            try:
                said["moment"] = moment(said.get("at", ""), said.get("zone", ""), timezone.now())
            except ValueError as error:
                self.add_error("at", str(error))
        return said

    @property
    def text(self) -> str:
        """What the version keeps."""
        said = self.cleaned_data
        return (
            f"{said['message']} (accepted: {said['accepted']})"
            if said["accepted"]
            else said["message"]
        )


def moment(text: str, zone: str, now: datetime) -> datetime:
    """A moment to come, as somebody in ``zone`` writes it.

    Raises:
        ValueError: with a sentence that says how to write it.
    """
    if zone not in available_timezones():
        raise ValueError(f"{zone or 'That'} is no time zone: write one like Europe/Berlin or UTC.")
    try:
        local: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        local = None
    if local is None or local.tzinfo:
        raise ValueError("Write a day and a time like 2026-11-30T07:30.")
    at = local.replace(tzinfo=ZoneInfo(zone))
    if at.astimezone(UTC).astimezone(at.tzinfo).replace(tzinfo=None) != local:
        raise ValueError(f"There is no such time in {zone}: the clocks are put forward over it.")
    if not now < at <= now + FURTHEST:
        raise ValueError("Choose a moment to come, within the next 90 days.")
    return at
