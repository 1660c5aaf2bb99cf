"""Alert rules: list, read, make, change, delete, as the page of rules has them."""

from math import isclose
from typing import Any

from django.db import IntegrityError
from django.http import HttpRequest
from django.utils import timezone
from ninja import Router

from dashboard.alerts import cards, levels
from dashboard.alerts import changes as acts
from dashboard.alerts.forms import RuleForm
from dashboard.alerts.metrics import METRICS
from dashboard.alerts.models import Rule
from dashboard.api import refusals
from dashboard.api.answering import Answer, changes, etag_of, must_match, reads
from dashboard.api.rule_shapes import AlertRule, AlertRules, NewAlertRule, RuleChange
from dashboard.api.shapes import answers
from dashboard.delivery.models import Channel
from dashboard.units.typed import seconds_text, share_text
from gateway.models import PolicyVersion

router = Router(tags=["alert rules"])
TAKEN = "There is a rule of this name."
SPANS = ("warn_for_s", "crit_for_s", "keep_s")
CHANNELS = ("warn_channels", "crit_channels")


@router.get("", response=answers(AlertRules))
@reads
def list_rules(request: HttpRequest) -> Answer:
    """In the order of their names."""
    rows = _rows().prefetch_related(*CHANNELS)
    return Answer(AlertRules(data=[AlertRule.of(rule) for rule in rows]))


@router.post("", response=answers(AlertRule, 201))
@changes
def create_rule(request: HttpRequest, said: NewAlertRule) -> Answer:
    """It is judged from the next second on."""
    return _saved(request, None, said.model_dump(), 201)


@router.get("/{int:number}", response=answers(AlertRule))
@reads
def get_rule(request: HttpRequest, number: int) -> Answer:
    return _told(_rule(number))


@router.patch("/{int:number}", response=answers(AlertRule))
@changes
def change_rule(request: HttpRequest, number: int, said: RuleChange) -> Answer:
    """What it fires by another metric, pool or tier is over, and whoever was told hears that."""
    rule = _rule(number, to_change=True)
    must_match(request, _told(rule).etag)
    kept = AlertRule.of(rule).model_dump(include=set(NewAlertRule.model_fields))
    return _saved(request, rule, kept | said.model_dump(exclude_unset=True))


@router.delete("/{int:number}", response=answers(AlertRule))
@changes
def delete_rule(request: HttpRequest, number: int) -> Answer:
    """What it fires is over, and whoever was told hears that.  Answers what it was."""
    rule = _rule(number, to_change=True)
    must_match(request, _told(rule).etag)
    was = AlertRule.of(rule)
    acts.delete_rule(request, rule)
    return Answer(was)


def _saved(
    request: HttpRequest, rule: Rule | None, values: dict[str, Any], status: int = 200
) -> Answer:
    form = RuleForm(
        _typed(values, rule),
        policy=PolicyVersion.objects.newest_policy(),
        pools=cards.known_pools(timezone.now()),
        rule=rule,
    )
    if not form.is_valid():
        raise refusals.in_form(form)
    for name in ("warn", "crit"):
        read, said = form.cleaned_data[name], values[name]
        if said is not None and not isclose(read, said, rel_tol=1e-5):
            raise refusals.invalid(name, f"{said:g} would be kept as {read:g}: send that.")
    try:
        return _told(acts.save_rule(request, rule, form.cleaned_data), status)
    except IntegrityError:  # made by somebody else this very moment
        raise refusals.invalid("name", TAKEN) from None


def _typed(values: dict[str, Any], rule: Rule | None) -> dict[str, Any]:
    """As the page's form takes it: thresholds, times and shares as people write them.

    Raises:
        GatewayError: 422, a metric, rule or channel that is not there.
    """
    metric = METRICS.get(values["metric"])
    if metric is None:
        raise refusals.invalid("metric", f"It is none of {', '.join(METRICS)}.")
    typed = values | {name: seconds_text(values[name]) for name in SPANS}
    for name in ("warn", "crit"):
        typed[name] = levels.written(values[name], metric, of_target=values["of_target"])
    typed["clear_share"] = share_text(values["clear_share"])
    typed["hidden_while"] = _cause(values["hidden_while"])
    for name in CHANNELS:
        typed[name] = [_channel(name, one) for one in values[name]]
    return typed | {"edit": rule.edit if rule else 0}


def _cause(name: str | None) -> int | str:
    if name is None:
        return ""
    row = Rule.objects.filter(name=name).first()
    if row is None:
        raise refusals.invalid("hidden_while", f"There is no rule {name!r}.")
    return row.pk


def _channel(field: str, name: str) -> int:
    row = Channel.objects.filter(name=name).first()
    if row is None:
        raise refusals.invalid(field, f"There is no channel {name!r}.")
    return row.pk


def _rows() -> Any:
    return Rule.objects.select_related("hidden_while")


def _rule(number: int, *, to_change: bool = False) -> Rule:
    rows = _rows().select_for_update(of=("self",)) if to_change else _rows()
    rule: Rule | None = rows.filter(pk=number).first() if number < 2**63 else None
    if rule is None:
        raise refusals.not_there("rule", str(number))
    return rule


def _told(rule: Rule, status: int = 200) -> Answer:
    shape = AlertRule.of(rule)
    return Answer(shape, status, etag_of(shape, "error"))
