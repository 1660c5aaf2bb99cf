"""Rules: the list, and the form that is one sentence, with what it would have done."""

from typing import Any

from django.contrib import messages
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_edit_alert_rules, may_watch
from dashboard.alerts import cards, changes, preview, thresholds, wording
from dashboard.alerts import runbook as runbook_text
from dashboard.alerts.forms import RuleForm
from dashboard.alerts.models import Rule
from dashboard.alerts.views import shell
from gateway.models import PolicyVersion


@open_to(may_watch)
@require_safe
def rules(request: HttpRequest) -> HttpResponse:
    found = Rule.objects.prefetch_related("warn_channels", "crit_channels", "states")
    lines = [(rule, wording.sentence(rule), _firing(rule)) for rule in found]
    context = {"lines": lines, "may_edit": may_edit_alert_rules(request.user)}
    return render(request, "alerts/rules.html", shell(request, "rules") | context)


def _firing(rule: Rule) -> tuple[int, str]:
    """How much of it fires, and the worst of that."""
    severities = [row.severity for row in rule.states.all() if row.severity]
    return len(severities), "crit" if "crit" in severities else "warn"


@open_to(may_watch)
@require_safe
def runbook(request: HttpRequest) -> HttpResponse:
    introduction, sections = runbook_text.sections()
    context = {"introduction": introduction, "sections": sections}
    return render(request, "alerts/runbook.html", shell(request, "rules") | context)


@open_to(may_edit_alert_rules)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    return _form(request, None)


@open_to(may_watch)
@require_http_methods(["GET", "HEAD", "POST"])
def rule(request: HttpRequest, pk: int) -> HttpResponse:
    """Everybody who watches may read a rule, values and thresholds included."""
    one = get_object_or_404(Rule, pk=pk)
    if request.method == "POST" and not may_edit_alert_rules(request.user):
        return render(request, "403.html", status=403)
    return _form(request, one)


def _form(request: HttpRequest, one: Rule | None) -> HttpResponse:
    form = _bound(request, one, request.POST or None)
    dragged = _dragged(request, one)
    if dragged and not form.is_bound:
        form.initial.update(dragged)
    moved = False
    if request.method == "POST" and form.is_valid():
        try:
            saved = changes.save_rule(request, one, form.cleaned_data)
        except changes.Moved:
            moved = True
        except IntegrityError:  # the same name came twice at once
            form.add_error("name", "There is a rule of this name.")
        else:
            messages.success(request, f"{saved.name} is saved. It is judged so from now on.")
            return redirect("alerts:rules")
    may_edit = may_edit_alert_rules(request.user)
    if not may_edit:
        for field in form.fields.values():
            field.disabled = True
    context: dict[str, Any] = {"form": form, "rule": one, "moved": moved}
    context["dragged"] = wording.whose(one) if one and dragged and not form.is_bound else ""
    context |= {
        "may_edit": may_edit,
        "would": preview.of_rule(one, timezone.now()) if one else None,
    }
    status = 409 if moved else 422 if form.errors else 200
    return render(request, "alerts/rule.html", shell(request, "rules") | context, status=status)


def _dragged(request: HttpRequest, one: Rule | None) -> dict[str, str]:
    """What a line was dragged to on a chart: a level of the form, not saved yet."""
    severity = request.GET.get("level", "")
    if one is None or severity not in ("warn", "crit"):
        return {}
    try:
        at = float(request.GET.get("at", ""))
    except ValueError:
        return {}
    tier = request.GET.get("tier", "")
    text = thresholds.dragged(one, PolicyVersion.objects.newest_policy(), tier, at)
    return {severity: text} if text is not None else {}


def _bound(request: HttpRequest, one: Rule | None, said: Any) -> RuleForm:
    policy, pools = PolicyVersion.objects.newest_policy(), cards.known_pools(timezone.now())
    return RuleForm(said, policy=policy, pools=pools, rule=one)


@open_to(may_watch)
@require_safe
def would(request: HttpRequest) -> HttpResponse:
    """What the form as it stands would have done; nothing is saved."""
    pk = request.GET.get("pk", "")
    one = (
        Rule.objects.filter(pk=int(pk)).first()
        if pk.isascii() and pk.isdecimal() and len(pk) < 18
        else None
    )
    form = _bound(request, one, request.GET)
    form.is_valid()
    named = {name: found for name, found in form.errors.items() if name not in ("name", "edit")}
    if named:
        return render(request, "alerts/_would.html", {"wrong": named})
    said = {name: form.cleaned_data[name] for name in changes.FIELDS if name in form.cleaned_data}
    draft = Rule(**{"name": "", **said})
    return render(request, "alerts/_would.html", {"would": preview.of_rule(draft, timezone.now())})


@open_to(may_edit_alert_rules)
@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    one = Rule.objects.filter(pk=pk).first()
    if one is not None:
        changes.delete_rule(request, one)
        messages.success(request, f"{one.name} is deleted.")
    return redirect("alerts:rules")
