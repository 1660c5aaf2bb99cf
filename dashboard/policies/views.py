"""What is in force, what was, and the way back."""

from contextlib import suppress

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from dashboard.accounts.gate import form_page, open_to
from dashboard.accounts.permissions import (
    may_draft,
    may_publish,
    may_read_policy,
    may_roll_back,
)
from dashboard.policies import diff, managed, publish, shadowing, timed, trying, yaml_text
from dashboard.policies.fields import Document
from dashboard.policies.fields import document as as_document
from dashboard.policies.forms import MomentForm, ReasonForm, TakeOverForm
from dashboard.policies.models import Draft, Scheduled, document_of, in_force
from dashboard.policies.request import person
from gateway.models import GatewayState, PolicyVersion

SHOWN = 50  # versions; older ones by number or by moment
STOP_POLLING = 286  # htmx


@open_to(may_read_policy)
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    number, document = in_force()
    drafts = list(Draft.objects.select_related("person"))
    mine = next((draft for draft in drafts if draft.person_id == person(request).pk), None)
    versions = PolicyVersion.objects.select_related("author").defer("document")[:SHOWN]
    context = {
        **_standing(request),
        **trying.standing(request),
        **shadowing.standing(request),
        "policy": document,
        "tiers": sorted(document["tiers"], key=lambda tier: -tier["priority"]),
        "number": number,
        "mine": mine,
        "mine_changes": len(diff.sentences(document_of(mine.base), mine.document)) if mine else 0,
        "others": [
            (d.person, d.saved_at, diff.sections(document_of(d.base), d.document))
            for d in drafts
            if d is not mine
        ],
        "versions": versions,
        "may_draft": may_draft(request.user),
        "may_publish": may_publish(request.user),
        "scheduled": timed.waiting(),
        "not_published": timed.not_published(person(request), timezone.now()),
        "moment": MomentForm(),
        "managed": managed.standing(),
    }
    return render(request, "policies/overview.html", context)


@open_to(may_read_policy)
@require_safe
def status(request: HttpRequest) -> HttpResponse:
    """The line that says on how many gateways the newest version is live; it asks each second."""
    context = _standing(request)
    done = context["everywhere"] and not context["undoable"]
    answer = render(request, "policies/_status.html", context)
    answer.status_code = STOP_POLLING if done and request.headers.get("HX-Request") else 200
    return answer


def _standing(request: HttpRequest) -> Document:
    newest = (
        PolicyVersion.objects.select_related("author").defer("document").order_by("-number").first()
    )
    now = timezone.now()
    live = GatewayState.objects.all().of_policy(newest.number if newest else 0, now)
    return {
        "newest": newest,
        "live": live,
        "everywhere": live.everywhere,
        "undoable": may_publish(request.user) and publish.undoable(newest, person(request), now),
    }


@open_to(may_read_policy)
@require_safe
def version(request: HttpRequest, number: int) -> HttpResponse:
    return _version(request, number, ReasonForm())


def _version(request: HttpRequest, number: int, form: ReasonForm, moved: int = 0) -> HttpResponse:
    shown = get_object_or_404(PolicyVersion.objects.select_related("author"), number=number)
    newest, in_force_now = in_force()
    document = as_document(shown.as_policy())
    before = document_of(number - 1)
    context = {
        "version": shown,
        "newest": newest,
        "yaml": yaml_text.written(document),
        "changes": diff.sentences(before, document),
        "lines": yaml_text.line_diff(before, document),
        "back": diff.sentences(in_force_now, document),
        "may_go_back": number < newest and _may_go_back(request, number, newest),
        "form": form,
        "moved": moved,
    }
    return render(request, "policies/version.html", context, status=409 if moved else 200)


def _may_go_back(request: HttpRequest, number: int, newest: int) -> bool:
    one_step = number == newest - 1
    return may_publish(request.user) or (one_step and may_roll_back(request.user))


@open_to(may_roll_back)
@require_POST
def back(request: HttpRequest, number: int) -> HttpResponse:
    """Roll back: the old document becomes a version again."""
    old = get_object_or_404(PolicyVersion, number=number)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _version(request, number, form)
    said = form.cleaned_data["newest"]
    newest, _ = in_force()
    if newest == said and not (number < newest and _may_go_back(request, number, newest)):
        raise Http404("There is no way back to this version.")
    try:
        publish.roll_back(old, said, form.cleaned_data["reason"], person(request), request)
    except publish.BaseMoved as moved:
        return _version(request, number, form, moved.newest)
    return redirect("policies:overview")


@open_to(may_publish)
@form_page
def take_over(request: HttpRequest) -> HttpResponse:
    """From a file to people: said out loud, for the file must say so too before it applies again."""
    form = TakeOverForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        managed.take_over(person(request), form.cleaned_data["reason"], request)
        return redirect("policies:overview")
    standing = managed.standing()
    if not standing.in_file:
        return redirect("policies:overview")
    context = {"form": form, "managed": standing}
    status = 422 if request.method == "POST" else 200
    return render(request, "policies/take_over.html", context, status=status)


@open_to(may_publish)
@require_POST
def undo(request: HttpRequest) -> HttpResponse:
    """Take back what one published seconds ago; later than that, or twice, nothing happens."""
    newest = PolicyVersion.objects.newest()
    named = newest is not None and request.POST.get("number") == str(newest.number)
    now = timezone.now()
    if named and newest and publish.undoable(newest, person(request), now, publish.GRACE_S):
        with suppress(publish.BaseMoved):  # somebody published this very moment
            publish.undo(newest, person(request), request)
    return redirect("policies:overview")


@open_to(may_publish)
@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Call a scheduled publication off; one that is over, or was never there, stays as it is."""
    row = Scheduled.objects.filter(pk=pk).first()
    if row:
        timed.cancel(row, person(request), request)
    return redirect("policies:overview")


@open_to(may_read_policy)
@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    """What changed between any two versions, the older one first whichever was named first."""
    try:
        numbers = sorted(int(request.GET.get(name, "")) for name in ("a", "b"))
    except ValueError:
        raise Http404("Name two versions.") from None
    older, newer = (get_object_or_404(PolicyVersion, number=number) for number in numbers)
    documents = [as_document(row.as_policy()) for row in (older, newer)]
    context = {
        "older": older,
        "newer": newer,
        "changes": diff.sentences(*documents),
        "lines": yaml_text.line_diff(*documents),
    }
    return render(request, "policies/compare.html", context)


@open_to(may_read_policy)
@require_safe
def at(request: HttpRequest) -> HttpResponse:
    """Which version was in force at a moment."""
    form = MomentForm(request.GET)
    if form.is_valid():
        moment = form.cleaned_data["at"]
        then = PolicyVersion.objects.filter(published_at__lte=moment).order_by("-number").first()
        if then:
            return redirect("policies:version", then.number)
        form.add_error("at", "Before the first version there was none.")
    return render(request, "policies/at.html", {"moment": form}, status=422)
