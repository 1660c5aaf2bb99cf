"""What people fill in: a rule as one sentence, a silence, a note."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django import forms

from dashboard.alerts import hours, levels
from dashboard.alerts.metrics import METRICS, MOST_URGENT
from dashboard.alerts.models import SEVERITIES, Rule
from dashboard.alerts.wording import tier as tier_text
from dashboard.delivery.models import Channel
from dashboard.units import typed
from gateway.core.policy import Policy

MOST_FOR_S = 86_400.0
TERMS = {"30": "30 min", "120": "2 hours", "480": "8 hours", "until9": "until 09:00 UTC"}
OTHER = "other"
LONGEST = timedelta(days=30)
ACK_TERMS = {"30": "30 min", "120": "2 h", "480": "8 h", "": "until resolved"}


class SpanField(forms.Field):
    """A time as people type it, in seconds."""

    def __init__(self, *, most_s: float = MOST_FOR_S, **options: Any) -> None:
        super().__init__(**options)
        self.most_s = most_s

    def to_python(self, value: Any) -> Any:
        text = str(value or "").strip()
        if not text:
            return None
        try:
            said = typed.seconds(text)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        if said > self.most_s:
            raise forms.ValidationError(f"At most {typed.seconds_said(self.most_s)}.")
        return said

    def prepare_value(self, value: Any) -> Any:
        return typed.seconds_text(value) if isinstance(value, int | float) else value


class RuleForm(forms.Form):
    name = forms.CharField(max_length=80)
    metric = forms.ChoiceField(label="When")
    tier = forms.ChoiceField(label="of", required=False)
    pool = forms.ChoiceField(label="in", required=False)
    warn = forms.CharField(max_length=40, required=False)
    warn_for_s = SpanField(label="for", required=False, initial=60)
    crit = forms.CharField(max_length=40, required=False)
    crit_for_s = SpanField(label="for", required=False, initial=60)
    clear_share = forms.CharField(
        label="Clears at", max_length=10, initial="80%", help_text="of each level"
    )
    keep_s = SpanField(
        label="Keep firing",
        initial=120,
        required=False,
        help_text="after it cleared, so that a short dip is no end",
    )
    no_data = forms.ChoiceField(label="No data", choices=Rule.NoData.choices)
    hours = forms.CharField(
        label="Active",
        max_length=60,
        initial=hours.ALWAYS,
        help_text="UTC, like mon-fri 08:00-18:00",
    )
    runbook = forms.URLField(
        max_length=500,
        required=False,
        assume_scheme="https",
        help_text="What to do, as a link; else the page Runbook is linked.",
    )
    hidden_while = forms.ModelChoiceField(
        queryset=Rule.objects.all(),
        required=False,
        empty_label="never",
        help_text="While that rule fires in the same pool, which explains this one, nobody is told.",
    )
    warn_channels = forms.ModelMultipleChoiceField(
        label="Notify at warn",
        queryset=Channel.objects.all(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    crit_channels = forms.ModelMultipleChoiceField(
        label="Notify at crit, too",
        queryset=Channel.objects.all(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    enabled = forms.BooleanField(required=False, initial=True)
    edit = forms.IntegerField(min_value=0, widget=forms.HiddenInput, initial=0)

    def __init__(
        self,
        *args: Any,
        policy: Policy,
        pools: Iterable[str],
        rule: Rule | None = None,
        **options: Any,
    ) -> None:
        if rule is not None:
            options.setdefault("initial", _initial(rule))
        super().__init__(*args, **options)
        self.rule = rule
        others = Rule.objects.exclude(pk=rule.pk) if rule else Rule.objects.all()
        self.fields["hidden_while"].queryset = others  # type: ignore[attr-defined]
        tiers = [(tier.name, tier_text(tier.name, tier.priority)) for tier in policy.by_urgency]
        current_tier = rule.tier if rule else ""
        known = [(metric.key, metric.label) for metric in METRICS.values()]
        _choose(self.fields["metric"], known, rule.metric if rule else known[0][0])
        tiers = [("", "each tier"), (MOST_URGENT, "the most urgent tier"), *tiers]
        _choose(self.fields["tier"], tiers, current_tier)
        _choose(
            self.fields["pool"],
            [("", "each pool"), *((pool, pool) for pool in pools)],
            rule.pool if rule else "",
        )

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        twins = Rule.objects.filter(name=name)
        if self.rule is not None:
            twins = twins.exclude(pk=self.rule.pk)
        if twins.exists():
            raise forms.ValidationError("There is a rule of this name.")
        return name

    def clean_clear_share(self) -> float:
        try:
            text = self.cleaned_data["clear_share"].strip()
            said = 1.0 if text in ("100%", "100 %") else typed.share(text)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        if not 0 < said <= 1:
            raise forms.ValidationError("More than 0 and at most 100%.")
        return said

    def clean_hidden_while(self) -> Rule | None:
        chosen: Rule | None = self.cleaned_data["hidden_while"]
        cause, seen = chosen, {self.rule}
        while cause is not None:
            if cause in seen:  # both would fire, and nobody be told of either
                raise forms.ValidationError("That rule is itself hidden while this one fires.")
            seen.add(cause)
            cause = cause.hidden_while
        return chosen

    def clean_hours(self) -> str:
        text: str = self.cleaned_data["hours"].strip().lower()
        try:
            hours.parsed(text)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        return text

    def clean(self) -> dict[str, Any]:
        said = self.cleaned_data
        metric = METRICS.get(said.get("metric", ""))
        if metric is None:
            if "metric" in said:
                self.add_error("metric", "It is not measured any more: choose another.")
            return said
        relative = set()
        for name in ("warn", "crit"):
            text = said.get(name, "")
            said[name] = None
            if not text:
                continue
            try:
                level = levels.parsed(text, metric)
            except ValueError as error:
                self.add_error(name, str(error))
                continue
            if level.of_target and not metric.of_tier:
                self.add_error(name, "Only a tier has a target wait.")
            if level.value == 0 and metric.below:
                self.add_error(name, "Nothing is ever under 0.")
            said[name] = level.value
            relative.add(level.of_target)
        if len(relative) > 1:
            self.add_error("crit", "Write both levels in target waits, or neither.")
        said["of_target"] = True in relative
        if not self.errors:
            self._judge_levels(said, below=metric.below)
        for name, usual in (("warn_for_s", 60.0), ("crit_for_s", 60.0), ("keep_s", 120.0)):
            if said.get(name) is None:
                said[name] = usual
        if not metric.of_tier:
            said["tier"] = ""
        return said

    def _judge_levels(self, said: dict[str, Any], *, below: bool) -> None:
        warn, crit = said["warn"], said["crit"]
        if warn is None and crit is None:
            self.add_error("warn", "Give at least one level.")
        elif warn is not None and crit is not None and (warn < crit if below else warn > crit):
            word = "under" if below else "over"
            self.add_error("crit", f"Crit must lie {word} warn: it is the worse of the two.")


class SilenceForm(forms.Form):
    rule = forms.ModelChoiceField(
        queryset=Rule.objects.all(), required=False, empty_label="every rule"
    )
    tier = forms.ChoiceField(required=False)
    pool = forms.ChoiceField(required=False)
    severity = forms.ChoiceField(label="Level", required=False, choices=[("", "both"), *SEVERITIES])
    term = forms.ChoiceField(label="For", choices=[*TERMS.items(), (OTHER, "another time")])
    other = SpanField(
        label="Another time",
        required=False,
        most_s=LONGEST.total_seconds(),
        help_text="like 45m, 6h or 2d",
    )
    reason = forms.CharField(
        label="Why?", max_length=300, help_text="Shown to everybody while it lasts."
    )

    def __init__(self, *args: Any, policy: Policy, pools: Iterable[str], **options: Any) -> None:
        super().__init__(*args, **options)
        tiers = [(tier.name, tier_text(tier.name, tier.priority)) for tier in policy.by_urgency]
        _choose(self.fields["tier"], [("", "each tier"), *tiers])
        _choose(self.fields["pool"], [("", "each pool"), *((pool, pool) for pool in pools)])

    def clean(self) -> dict[str, Any]:
        said = self.cleaned_data
        if said.get("term") == OTHER and not said.get("other") and "other" not in self.errors:
            self.add_error("other", "Say how long, like 45m or 2d.")
        return said

    def ends_at(self, now: datetime) -> datetime:
        term = self.cleaned_data["term"]
        if term == OTHER:
            return now + timedelta(seconds=self.cleaned_data["other"])
        if term == "until9":
            nine = now.replace(hour=9, minute=0, second=0, microsecond=0)
            return nine if nine > now else nine + timedelta(days=1)
        return now + timedelta(minutes=int(term))


class AckForm(forms.Form):
    term = forms.ChoiceField(choices=list(ACK_TERMS.items()), required=False)

    def until(self, now: datetime) -> datetime | None:
        term = self.cleaned_data["term"]
        return now + timedelta(minutes=int(term)) if term else None


class NoteForm(forms.Form):
    text = forms.CharField(label="What happened?", max_length=200)
    at = forms.DateTimeField(
        label="When",
        required=False,
        help_text="UTC. Empty: now.",
        widget=forms.DateTimeInput(
            attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S"
        ),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"],
    )


def _choose(field: forms.Field, choices: list[tuple[str, str]], current: str = "") -> None:
    """What is kept stays a choice, also where the policy or the pools have lost it."""
    assert isinstance(field, forms.ChoiceField)
    if current not in dict(choices):
        choices = [*choices, (current, f"{current} (gone)")]
    field.choices = choices


def _initial(rule: Rule) -> dict[str, Any]:
    metric = rule.judged
    copied = ("name", "metric", "tier", "pool", "warn_for_s", "crit_for_s", "keep_s", "no_data")
    return {
        **{name: getattr(rule, name) for name in (*copied, "hours", "runbook", "enabled", "edit")},
        "hidden_while": rule.hidden_while_id,
        "warn": levels.written(rule.warn, metric, of_target=rule.of_target),
        "crit": levels.written(rule.crit, metric, of_target=rule.of_target),
        "clear_share": typed.share_text(rule.clear_share),
        "warn_channels": list(rule.warn_channels.all()),
        "crit_channels": list(rule.crit_channels.all()),
    }
