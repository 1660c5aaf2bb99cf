"""What may be filled in about people.  Each form names its fields: no other is taken."""

from typing import Any, Literal

from django import forms
from django.contrib.auth.models import User

from dashboard.accounts.models import Membership
from dashboard.accounts.roles import ROLES
from gateway.models import Tenant

MEANING = {
    "viewer": "sees everything, changes nothing",
    "on-call": "pauses, drains, acknowledges, rolls back",
    "admin": "policies, tenants, keys",
    "security": "people, roles, the audit trail",
}
CHOICES = [(role, f"{role}: {MEANING[role]}") for role in ROLES]


class RolesForm(forms.Form):
    roles = forms.MultipleChoiceField(
        choices=CHOICES,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="admin and security need a second factor.",
    )
    seen = forms.CharField(required=False, max_length=100, widget=forms.HiddenInput)


class MemberForm(forms.Form):
    """A person's part in a tenant.  The one of the two that a page is about is not asked for."""

    person = forms.CharField(max_length=150, help_text="The name they sign in with.")
    tenant = forms.ModelChoiceField(
        Tenant.objects.order_by("slug"), to_field_name="slug", empty_label="none"
    )
    role = forms.ChoiceField(
        label="Role in it", choices=Membership.Role.choices, initial=Membership.Role.VIEWER
    )

    def __init__(self, *args: Any, about: Literal["person", "tenant"], **more: Any) -> None:
        super().__init__(*args, **more)
        del self.fields[about]

    def clean_person(self) -> User:
        person = User.objects.filter(username=self.cleaned_data["person"].strip()).first()
        if person is None:
            raise forms.ValidationError("Nobody signs in with this name.")
        return person


class InvitedForm(MemberForm):
    """The same for those who may not know who there is: any name will do."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, about="tenant", **more)
        self.fields["person"].validators.append(User.username_validator)

    def clean_person(self) -> str:  # type: ignore[override]
        return str(self.cleaned_data["person"].strip())


class InviteForm(RolesForm):
    seen = None  # type: ignore[assignment] # nobody could have seen their roles before
    name = forms.CharField(
        max_length=150,
        validators=[User.username_validator],
        help_text="They sign in with it, and it stands in the audit trail.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )
    mail = forms.EmailField(
        label="E-mail", required=False, max_length=254, help_text="As good as the name to sign in."
    )
    tenant = forms.ModelChoiceField(
        Tenant.objects.order_by("slug"),
        to_field_name="slug",
        required=False,
        empty_label="none",
        help_text="For people who see one tenant and nothing else.",
    )
    tenant_role = forms.ChoiceField(
        label="Role in it", choices=Membership.Role.choices, initial=Membership.Role.VIEWER
    )
    field_order = ["name", "mail", "roles", "tenant", "tenant_role"]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip()
        if User.objects.filter(username__iexact=name).exists():
            raise forms.ValidationError("There is somebody of this name.")
        return name

    def clean_mail(self) -> str:
        mail: str = self.cleaned_data["mail"].lower()
        if mail and User.objects.filter(email__iexact=mail).exists():
            raise forms.ValidationError("Somebody has this address.")
        return mail

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        if "roles" in said and not said["roles"] and not said.get("tenant") and not self.errors:
            self.add_error("roles", "Without a role or a tenant they would see nothing.")
        return said
