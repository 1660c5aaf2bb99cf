"""The pages of alerts: what is open, what was, one incident, the badge on every page."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard.accounts.gate import open_to, open_to_all
from dashboard.accounts.permissions import may_operate, may_watch
from dashboard.alerts import cards, changes, links, open_now, timeline
from dashboard.alerts.forms import ACK_TERMS, AckForm, NoteForm
from dashboard.alerts.models import Annotation, Incident, Rule, Silence
from dashboard.delivery.models import TRIES

PER_PAGE = 50


def shell(request: HttpRequest, tab: str) -> dict[str, Any]:
    """What stands around each of these pages."""
    now = timezone.now()
    return {
        "tab": tab,
        "now": now,
        "pulse": cards.pulse(now),
        "counts": open_now.counts(),
        "rules_enabled": Rule.objects.enabled().count(),
        "silences_active": Silence.objects.active(now).count(),
        "may_operate": may_operate(request.user),
        "ack_terms": ACK_TERMS,
        "tries": TRIES,
    }


@open_to(may_watch)
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    context = shell(request, "open") | {"cards": cards.cards(now), "pending": cards.pending(now)}
    fragment = "part" in request.GET
    return render(request, "alerts/_open.html" if fragment else "alerts/open.html", context)


@open_to(may_watch)
@require_safe
def badge(request: HttpRequest) -> HttpResponse:
    return render(request, "alerts/_badge.html", {"counts": open_now.counts()})


@open_to(may_watch)
@require_safe
def history(request: HttpRequest) -> HttpResponse:
    rows = Incident.objects.select_related("rule").exclude(closed_at=None)
    chosen = request.GET.get("rule", "").replace("\0", "")  # PostgreSQL takes none
    if chosen:
        rows = rows.filter(rule_name=chosen)
    part = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    names = Incident.objects.order_by("rule_name").values_list("rule_name", flat=True).distinct()
    context = {"part": part, "chosen": chosen, "names": list(names)}
    return render(request, "alerts/history.html", shell(request, "history") | context)


@open_to(may_watch)
@require_safe
def incident(request: HttpRequest, pk: int) -> HttpResponse:
    return _incident(request, pk, NoteForm(auto_id="line_%s"))


def _incident(request: HttpRequest, pk: int, form: NoteForm, status: int = 200) -> HttpResponse:
    one = get_object_or_404(Incident.objects.select_related("rule"), pk=pk)
    now = timezone.now()
    context = {
        "incident": one,
        "card": next(iter(cards.cards(now, pk)), None),  # None: it is over
        "lines": timeline.lines(one, now),
        "acked": one.acked(now),
        "charts": timeline.charts(one, now),
        "form": form,
    }
    context = shell(request, "open" if one.closed_at is None else "history") | context
    return render(request, "alerts/incident.html", context, status=status)


@open_to(may_watch)
@require_safe
def markdown(request: HttpRequest, pk: int) -> HttpResponse:
    one = get_object_or_404(Incident.objects.select_related("rule"), pk=pk)
    answer = HttpResponse(timeline.markdown(one, timezone.now()), "text/markdown; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="incident-{one.pk}.md"'
    return answer


@open_to(may_operate)
@require_POST
def line(request: HttpRequest, pk: int) -> HttpResponse:
    """A person's own line in the timeline."""
    form = NoteForm(request.POST, auto_id="line_%s")
    if not form.is_valid():
        return _incident(request, pk, form, status=422)
    one = get_object_or_404(Incident, pk=pk)
    said = form.cleaned_data
    changes.add_line(request, one, said["text"], said["at"] or timezone.now())
    return redirect("alerts:incident", pk)


@open_to(may_operate)
@require_POST
def ack(request: HttpRequest, pk: int) -> HttpResponse:
    form, now = AckForm(request.POST), timezone.now()
    one = get_object_or_404(Incident, pk=pk)
    if not form.is_valid():
        messages.error(request, "Choose how long: 30 min, 2 h, 8 h, or until it is resolved.")
    elif changes.ack(one, request.user, form.until(now), now, request):
        messages.success(request, f"{one.rule_name}: you have it. No repeats until then.")
    else:
        messages.info(request, f"{one.rule_name} was resolved meanwhile: nothing to acknowledge.")
    return _back(request, pk)


@open_to(may_operate)
@require_POST
def unack(request: HttpRequest, pk: int) -> HttpResponse:
    changes.end_ack(request, get_object_or_404(Incident, pk=pk), timezone.now())
    return _back(request, pk)


def _back(request: HttpRequest, pk: int) -> HttpResponse:
    """To the page that somebody acted on."""
    if request.POST.get("from") == "incident":
        return redirect("alerts:incident", pk)
    return redirect("alerts:page")


@open_to_all  # the link itself is the proof, and a preview of it only sees a button
@require_http_methods(["GET", "HEAD", "POST"])
def ack_link(request: HttpRequest, token: str) -> HttpResponse:
    one, now = links.meant(token), timezone.now()
    if one is None:
        return render(request, "alerts/ack_link.html", {"gone": True}, status=410)
    form = AckForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        signed_in = request.user.is_authenticated and may_operate(request.user)
        by = request.user if signed_in else "by a message's link"
        if not changes.ack(one, by, form.until(now), now, request, acks=one.acks):
            return render(request, "alerts/ack_link.html", {"gone": True}, status=410)
        return render(request, "alerts/ack_link.html", {"incident": one, "done": True})
    context = {"incident": one, "ack_terms": ACK_TERMS, "acked": one.acked(now)}
    return render(request, "alerts/ack_link.html", context)


@open_to(may_watch)
@require_http_methods(["GET", "HEAD", "POST"])
def notes(request: HttpRequest) -> HttpResponse:
    """Moments that people marked; whoever may act adds one."""
    form = NoteForm(request.POST or None, initial={"at": request.GET.get("at", "")})
    if request.method == "POST":
        if not may_operate(request.user):
            return render(request, "403.html", status=403)
        if form.is_valid():
            changes.mark(
                request, form.cleaned_data["text"], form.cleaned_data["at"] or timezone.now()
            )
            return redirect("alerts:notes")
    part = Paginator(Annotation.objects.select_related("by"), PER_PAGE)
    context = {"part": part.get_page(request.GET.get("page")), "form": form}
    status = 422 if form.errors else 200
    return render(request, "alerts/notes.html", shell(request, "notes") | context, status=status)


@open_to(may_watch)
@require_http_methods(["GET", "HEAD", "POST"])
def note(request: HttpRequest, pk: int) -> HttpResponse:
    """Where a chart's mark leads: one's own can be put right, another's stands in the list."""
    one = get_object_or_404(Annotation, pk=pk)
    own = may_operate(request.user) and one.by_id == request.user.pk
    if request.method == "POST" and not own:
        return render(request, "403.html", status=403)
    if not own:
        return redirect(f"{reverse('alerts:notes')}#note-{one.pk}")
    form = NoteForm(request.POST or None, initial={"text": one.text, "at": one.at})
    if form.is_valid():
        said = form.cleaned_data
        changes.edit_mark(request, one, said["text"], said["at"] or one.at)
        messages.success(request, "The note is changed, on every chart within a minute.")
        return redirect("alerts:notes")
    status = 422 if form.errors else 200
    context = shell(request, "notes") | {"form": form, "note": one}
    return render(request, "alerts/note.html", context, status=status)


@open_to(may_operate)
@require_POST
def note_delete(request: HttpRequest, pk: int) -> HttpResponse:
    """One's own; of somebody else's nothing changes."""
    note = Annotation.objects.filter(pk=pk, by_id=request.user.pk).first()
    if note is not None:
        changes.unmark(request, note)
    return redirect("alerts:notes")
