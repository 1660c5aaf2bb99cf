"""The few plain forms of the policy's pages; a draft's own inputs are made in ``form``."""

from typing import Any

from django import forms


class MomentForm(forms.Form):
    at = forms.DateTimeField(
        label="What was in force at",
        help_text="UTC",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "class": "form-control"}),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"],
    )


class ReasonForm(forms.Form):
    reason = forms.CharField(max_length=300, strip=True)
    newest = forms.IntegerField(min_value=0)


class PublishForm(forms.Form):
    """``accepted``: why the draft's warnings are fine; asked for where there are some."""

    message = forms.CharField(max_length=250, strip=True)
    accepted = forms.CharField(max_length=200, strip=True, required=False)
    edit = forms.IntegerField(min_value=1)

    def __init__(self, *args: Any, warned: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["accepted"].required = warned
        self.fields["message"].error_messages["required"] = "Say why, for those who read it later."
        self.fields["accepted"].error_messages["required"] = "Say why the warnings are fine."

    @property
    def text(self) -> str:
        """What the version keeps."""
        said = self.cleaned_data
        return (
            f"{said['message']} (accepted: {said['accepted']})"
            if said["accepted"]
            else said["message"]
        )
