"""What an admin fills in for a channel, and how the log is filtered."""

from copy import copy
from typing import Any

from django import forms

from dashboard.delivery.addresses import AT_MOST, Target, Unusable, target_of
from dashboard.delivery.changes import fingerprint
from dashboard.delivery.models import Channel, Delivery


class ChannelForm(forms.Form):
    """A new channel, or ``channel`` changed: then an empty address leaves the one that is sealed."""

    name = forms.CharField(max_length=60, help_text="As rules and people call it: oncall, pager.")
    address = forms.CharField(
        max_length=AT_MOST,
        strip=True,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
        ),
        help_text="Whoever knows it can write there: it is kept sealed and not shown again.",
    )
    reminders = forms.BooleanField(
        label="Tell it of keys too",
        required=False,
        help_text="Ends that come near, first use from a network, revocation by a finder.",
    )
    new_signing = forms.BooleanField(
        label="Make a new signing secret",
        required=False,
        help_text="Receivers that check signatures refuse messages until they know it.",
    )
    seen = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)

    def __init__(self, *args: Any, channel: Channel | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        self._channel = channel
        self.target: Target | None = None
        if channel is None:
            del self.fields["new_signing"], self.fields["seen"]
            return
        seen = fingerprint(channel)
        self.initial.update(name=channel.name, reminders=channel.reminders, seen=seen)
        self.fields["address"].required = False
        self.fields["address"].help_text = "Empty: stays as it is. It is not shown."
        if channel.kind != Channel.Kind.WEBHOOK:
            del self.fields["new_signing"]

    def say_what_moved(self, channel: Channel) -> None:
        """What it is at present.  Sent once more, what was typed counts."""
        self.add_error(
            None,
            f"Somebody changed this channel meanwhile: it is called {channel.name}, leads to "
            f"{channel.where} and is {'' if channel.reminders else 'not '}told of keys. Save again "
            "to have it as below.",
        )
        again: Any = copy(self.data)
        again["seen"] = fingerprint(channel)
        self.data = again

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip()
        twins = Channel.objects.filter(name=name)
        if self._channel is not None:
            twins = twins.exclude(pk=self._channel.pk)
        if twins.exists():
            raise forms.ValidationError("There is a channel of this name.")
        return name

    def clean_address(self) -> str:
        address: str = self.cleaned_data["address"]
        if address:
            try:
                self.target = target_of(address)
            except Unusable as error:
                raise forms.ValidationError(str(error)) from None
        return address


class LogForm(forms.Form):
    channel = forms.ModelChoiceField(
        Channel.objects.all(), required=False, to_field_name="name", empty_label="all"
    )
    state = forms.ChoiceField(
        required=False,
        choices=[("", "all"), *((state.value, state.value) for state in Delivery.State)],
    )
