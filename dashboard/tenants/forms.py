"""What people may fill in for tenants and keys.  Each form names its fields: no other is taken."""

from collections.abc import Iterable
from copy import copy
from datetime import UTC, datetime, time, timedelta
from ipaddress import ip_network
from typing import Any

from django import forms
from msgspec.structs import replace

from dashboard.tenants.changes import fingerprint
from gateway.core.policy import KeyRules, Policy
from gateway.core.wire import ENDPOINTS
from gateway.models import APIKey, Tenant
from gateway.models.announced import is_slug

TERMS = {"7": "7 days", "30": "30 days", "90": "90 days", "180": "180 days", "365": "1 year"}
NEVER = "never"
OVERLAPS = {
    "0": "now: it leaked",
    "1": "in 1 hour",
    "24": "in 24 hours",
    "168": "in 7 days",
}
MOST_LINES = 50
MINUS = "\N{MINUS SIGN}"


def _lines(text: str) -> list[str]:
    """What stands on lines or between commas, each once."""
    return list(
        dict.fromkeys(part.strip() for part in text.replace(",", "\n").split("\n") if part.strip())
    )


class TenantForm(forms.Form):
    name = forms.CharField(max_length=200, help_text="As people say it.")
    slug = forms.CharField(
        label="Short name",
        max_length=63,
        validators=[is_slug],
        help_text="a-z, 0-9 and -. It stands in policies, metrics and logs, and stays.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, tenant: Tenant | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        self._own = tenant

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"]
        if self._own is None and Tenant.objects.filter(slug=slug).exists():
            raise forms.ValidationError("There is a tenant of this name.")
        return slug


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label="Why?", max_length=500, help_text="Kept in the audit trail, for whoever asks later."
    )


class SuspendForm(ReasonForm):
    """It stops every service of somebody at once: its short name is typed, so that it is that one."""

    typed = forms.CharField(
        max_length=63, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
    )

    def __init__(self, *args: Any, tenant: Tenant, **more: Any) -> None:
        super().__init__(*args, **more)
        self._slug = tenant.slug
        self.fields["typed"].label = f"Type {tenant.slug}"

    def clean_typed(self) -> None:
        if self.cleaned_data["typed"].strip() != self._slug:
            raise forms.ValidationError(f"Type {self._slug} to suspend it.")


class KeyRulesForm(forms.Form):
    """The fields that making and editing a key share."""

    name = forms.CharField(
        label="Name", max_length=100, help_text="Once among the tenant's keys in use."
    )
    service = forms.CharField(
        max_length=100,
        required=False,
        help_text="What will use it. It outlives the keys: a rotation keeps it.",
    )
    ceiling = forms.TypedChoiceField(
        label="At most", coerce=int, help_text="Higher is more urgent; requests above are lowered."
    )
    models = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="One a line. Empty: all models.",
    )
    endpoints = forms.MultipleChoiceField(
        required=False,
        choices=[(path, path) for path in (*ENDPOINTS, "/v1/models")],
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: all endpoints.",
    )
    networks = forms.CharField(
        required=False,
        widget=forms.Textarea(
            attrs={"rows": 2, "spellcheck": "false", "placeholder": "10.2.0.0/16"}
        ),
    )

    def __init__(
        self, *args: Any, tenant: Tenant, policy: Policy, address: str, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self.tenant, self._policy = tenant, policy
        tiers = [(tier.priority, _tier(tier.name, tier.priority)) for tier in policy.by_urgency]
        current = self.initial.get("ceiling", 10)
        if current not in dict(tiers):  # the tier may be gone, or the key be unbound
            tiers.insert(0, (current, "any tier" if current == 10 else f"priority {current}"))
        ceiling = self.fields["ceiling"]
        assert isinstance(ceiling, forms.TypedChoiceField)
        ceiling.choices = tiers
        said = "Where it may be used from, one a line. Empty: anywhere."
        self.fields["networks"].help_text = (
            f"{said} Your address now: {address}." if address else said
        )

    @property
    def key(self) -> APIKey | None:
        return None

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip()
        twins = self.tenant.keys.filter(name=name).exclude(status=APIKey.Status.REVOKED)
        if self.key is not None:
            twins = twins.exclude(pk=self.key.pk)
        twin = twins.first()
        if twin is not None:
            raise forms.ValidationError(f"The key {twin.id8} in use has this name.")
        return name

    def clean_models(self) -> tuple[str, ...]:
        return _bounded(_lines(self.cleaned_data["models"]), "models")

    def clean_networks(self) -> tuple[str, ...]:
        networks, wrong = [], []
        for text in _bounded(_lines(self.cleaned_data["networks"]), "networks"):
            try:
                networks.append(str(ip_network(text, strict=False)))
            except ValueError:
                wrong.append(text)
        if wrong:
            example = "Write 10.2.7.9, 10.2.0.0/16 or 2001:db8::/32."
            raise forms.ValidationError(f"No network: {', '.join(wrong)}. {example}")
        return tuple(networks)

    def rules(self, base: KeyRules) -> KeyRules:
        """``base`` with what this form says; what it does not show stays."""
        said = self.cleaned_data
        return replace(
            base,
            ceiling=said["ceiling"],
            models=said["models"],
            endpoints=tuple(said["endpoints"]),
            networks=said["networks"],
            scope=said.get("scope") or base.scope,
        )


SCOPES = [("read", "reads"), ("write", "reads and changes")]


class NewKeyForm(KeyRulesForm):
    term = forms.ChoiceField(
        label="Valid for", choices=[*TERMS.items(), (NEVER, "until revoked")], initial="180"
    )
    kind = forms.ChoiceField(
        choices=[
            ("live", "calls models"),
            ("admin", "admin key: metrics and the management API of all tenants, no models"),
        ],
        initial="live",
    )
    scope = forms.ChoiceField(
        label="As an admin key it",
        choices=SCOPES,
        initial="read",
        required=False,
        help_text="Tenants, keys and the policy, of everybody.",
    )
    field_order = ["name", "service", "term", "ceiling", "models", "endpoints", "networks", "kind"]

    def __init__(self, *args: Any, may_make_admin: bool, **more: Any) -> None:
        super().__init__(*args, **more)
        if not may_make_admin:
            del self.fields["kind"], self.fields["scope"]

    def clean_scope(self) -> str:
        """Named after ``kind``, so known by then: a key that calls models has none."""
        return self.cleaned_data["scope"] if self.cleaned_data.get("kind") == "admin" else "read"

    def expires_at(self, now: datetime) -> datetime | None:
        term = self.cleaned_data["term"]
        return None if term == NEVER else now + timedelta(days=int(term))


class EditKeyForm(KeyRulesForm):
    expires_on = forms.DateField(
        label="Last day",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="It ends with this day, in UTC. Empty: valid until revoked.",
    )
    scope = forms.ChoiceField(label="As an admin key it", choices=SCOPES)
    seen = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)
    field_order = ["name", "service", "expires_on", "ceiling", "models", "endpoints", "networks"]

    def __init__(self, *args: Any, key: APIKey, **more: Any) -> None:
        self._key = key
        rules = key.as_rules()
        last = key.expires_at - timedelta(microseconds=1) if key.expires_at else None
        initial = {
            "name": key.name,
            "service": key.service,
            "expires_on": last.astimezone(UTC).date() if last else None,
            "ceiling": rules.ceiling,
            "models": "\n".join(rules.models),
            "endpoints": list(rules.endpoints),
            "networks": "\n".join(rules.networks),
            "scope": rules.scope,
            "seen": fingerprint(key),
        }
        super().__init__(*args, initial=initial, **more)
        if key.kind != APIKey.Kind.ADMIN:
            del self.fields["scope"]

    @property
    def key(self) -> APIKey:
        return self._key

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        ends, begins = self._expires_at(), self._key.not_before
        if ends and begins and ends <= begins:
            self.add_error("expires_on", f"It is valid from {begins:%Y-%m-%d} on: end later.")
        return said

    def say_what_moved(self, key: APIKey) -> None:
        """Beside each field what it is at present, where that is not what was typed.

        Sent once more, what was typed counts: whoever sends it has seen what goes.
        """
        present = EditKeyForm(key=key, tenant=self.tenant, policy=self._policy, address="").initial
        self.add_error(None, "Somebody changed this key meanwhile. Save again to have it as below.")
        for name in self.fields.keys() - {"seen"}:
            there = _parts(present[name])
            if _parts(self[name].value()) != there:
                self.add_error(name, f"At present: {', '.join(there) or 'empty'}.")
        again: Any = copy(self.data)
        again["seen"] = present["seen"]
        self.data = again

    def _expires_at(self) -> datetime | None:
        """The end of the day said; the moment itself where the day did not change."""
        last: Any = self.cleaned_data.get("expires_on")
        if last == self.initial["expires_on"]:
            return self._key.expires_at
        return datetime.combine(last + timedelta(days=1), time(), UTC) if last else None

    def columns(self) -> dict[str, Any]:
        return {
            "name": self.cleaned_data["name"],
            "service": self.cleaned_data["service"].strip(),
            "expires_at": self._expires_at(),
            "rules": self.rules(self._key.as_rules()),
        }


class RotateForm(forms.Form):
    overlap = forms.TypedChoiceField(
        label="The old key stops",
        choices=list(OVERLAPS.items()),
        coerce=lambda hours: timedelta(hours=int(hours)),
        initial="24",
        widget=forms.RadioSelect,
    )
    name = forms.CharField(label="Name of the new key", max_length=100)

    def __init__(self, *args: Any, key: APIKey, **more: Any) -> None:
        self._key = key
        taken = key.tenant.keys.exclude(status=APIKey.Status.REVOKED)
        self._taken = set(taken.values_list("name", flat=True))
        super().__init__(*args, **more)
        self.initial["name"] = _next_name(key.name, self._taken)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip()
        if name in self._taken:
            raise forms.ValidationError("A key in use has this name.")
        return name


def _parts(value: Any) -> list[str]:
    """A field's value as it is compared and told."""
    parts = value if isinstance(value, list) else _lines("" if value is None else str(value))
    return [str(part) for part in parts]


def _bounded(values: list[str], what: str) -> tuple[str, ...]:
    if len(values) > MOST_LINES or any(len(value) > 200 for value in values):
        raise forms.ValidationError(f"At most {MOST_LINES} {what}, of 200 characters each.")
    return tuple(values)


def _next_name(name: str, taken: Iterable[str]) -> str:
    """``prod-1`` → ``prod-2``, ``ci`` → ``ci-2``: the first that is free."""
    stem, dash, number = name.rpartition("-")
    if not dash or not number.isdecimal():
        stem, number = name, "1"
    n = int(number) + 1
    while f"{stem}-{n}" in taken:
        n += 1
    return f"{stem[:90]}-{n}"


def _tier(name: str, priority: int) -> str:
    return f"{name} ({str(priority).replace('-', MINUS)})"
