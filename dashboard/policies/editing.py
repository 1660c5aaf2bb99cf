"""The pages of a draft: saved as one types, and whole with a button where there is no script."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_draft
from dashboard.alerts import thresholds
from dashboard.policies import bounds, diff, edit, form, managed, review
from dashboard.policies.fields import Document
from dashboard.policies.meanings import MEANINGS
from dashboard.policies.models import Draft, StaleDraft, document_of, in_force
from dashboard.policies.request import person
from gateway.core.policy import Policy, load
from gateway.core.presets import PRESETS
from gateway.models import Tenant

PRESET_TEXTS = {
    "classic": "Levels, ageing under a ceiling, a tenth of the work for rescue.",
    "guaranteed": "No ageing; a tenth for rescue bounds every wait.",
    "fair": "No ageing; a fifth for rescue: shorter waits at the bottom.",
    "strict": "Levels alone: nothing bounds a lower tier's wait but its max wait.",
    "fcfs": "One tier, in the order of arrival. Tiers and task types are replaced.",
}


@open_to(may_draft)
@require_http_methods(["GET", "HEAD", "POST"])
def sheet(request: HttpRequest, section: str, slug: str = "") -> HttpResponse:
    """One page of the draft: read it, save it, or change its shape (``do``)."""
    draft = Draft.objects.of(person(request))
    known = slug in draft.document["tenants"] or Tenant.objects.filter(slug=slug).exists()
    if section not in form.SECTIONS or (slug and not known):
        raise Http404("There is no such page.")
    if request.method != "POST":
        return render(request, "policies/sheet.html", _context(request, draft, section, slug))

    do = request.POST.get("do", "")
    quietly = bool(request.headers.get("HX-Request")) and not do
    if request.POST.get("edit") != str(draft.edit):
        return _stale(request, draft, section, slug, quietly)
    document, errors = form.take(section, draft.document, request.POST.dict(), slug)
    try:
        document = _done(document, do)
    except ValueError as error:
        errors["preset"] = f"Finish the draft first: {error}"
    if document != draft.document:
        try:
            draft.write(document, draft.edit)
        except StaleDraft:
            fresh = Draft.objects.of(person(request))
            return _stale(request, fresh, section, slug, quietly)
    return _saved(request, draft, section, slug, errors)


def _saved(
    request: HttpRequest, draft: Draft, section: str, slug: str, errors: dict[str, str]
) -> HttpResponse:
    do, scripted = request.POST.get("do", ""), bool(request.headers.get("HX-Request"))
    if do == "review":
        address = reverse("policies:review")
        return HttpResponse(headers={"HX-Redirect": address}) if scripted else redirect(address)
    if not scripted and not errors:
        return redirect(request.path)
    context = _context(request, draft, section, slug, errors)
    if not scripted:
        return render(request, "policies/sheet.html", context, status=422)
    return render(request, "policies/_sheet.html" if do else "policies/_checks.html", context)


def _done(document: Document, do: str) -> Document:
    """The document after a button: ``place:2:0``, ``remove:2``, ``add``, ``preset:classic``.

    Raises:
        ValueError: the draft cannot take the preset.
    """
    verb, *rest = do.split(":")
    if verb == "preset" and len(rest) == 1:
        return edit.use_preset(edit.clean(document), rest[0])
    if verb == "add":
        return edit.add_tier(document)
    numbers = [int(part) for part in rest if part.lstrip("-").isdecimal() and len(part) < 4]
    if not numbers or not 0 <= numbers[0] < len(document["tiers"]):
        return document
    if verb == "remove":
        return edit.remove_tier(document, numbers[0])
    if verb == "place" and len(numbers) == 2:
        return edit.place(document, *numbers)
    return document


def _stale(
    request: HttpRequest, draft: Draft, section: str, slug: str, quietly: bool
) -> HttpResponse:
    """409: the draft moved on in another window.  What was typed here is shown, not saved."""
    if quietly:
        return render(request, "policies/_stale.html", {"draft": draft}, status=409)
    context = _context(request, draft, section, slug)
    typed = request.POST.dict()
    context["unsaved"] = [
        (row.title if row else "", cell.label, typed[cell.name], cell.text)
        for group in context["groups"]
        for row, cells in [(None, group.cells), *((row, row.cells) for row in group.rows)]
        for cell in cells
        if cell.kind != "switch" and typed.get(cell.name, cell.text).strip() != cell.text
    ]
    context["is_stale"] = True
    if request.headers.get("HX-Request"):
        return render(request, "policies/_sheet.html", context, status=409)
    return render(request, "policies/sheet.html", context, status=409)


def _context(
    request: HttpRequest,
    draft: Draft,
    section: str,
    slug: str,
    errors: dict[str, str] | None = None,
) -> Document:
    found = review.problems(edit.clean(draft.document))
    by_path = {problem.path: problem.text for problem in reversed(found)} | (errors or {})
    typed = request.POST.dict() if request.method == "POST" else None
    newest, _ = in_force()
    base = document_of(draft.base)
    # What cannot be read yet has no levels: those of its last state are shown no more.
    whole = load(edit.clean(draft.document)) if section == "tiers" and not found else None
    alerts = thresholds.by_tier(whole) if whole else {}
    return {
        **frame(draft),
        "section": section,
        "slug": slug,
        "groups": form.groups(section, draft.document, by_path, slug, typed, alerts),
        "meanings": MEANINGS.get(section, {}).items(),
        "problems": [(p, link(p.path, draft.document)) for p in found],
        "preset_error": by_path.get("preset", ""),
        "changes": len(diff.sentences(base, draft.document)),
        "moved": newest if newest != draft.base else 0,
        "others": [
            (other.person, diff.sections(document_of(other.base), other.document))
            for other in Draft.objects.select_related("person").exclude(person=draft.person)
        ],
        "longest_waits": _longest_waits(whole) if whole else None,
        "tenants": _tenants(draft.document) if section == "tenants" and not slug else [],
        "presets": [(name, PRESET_TEXTS.get(name, "")) for name in PRESETS],
    }


def frame(draft: Draft) -> Document:
    """What every page of a draft shows around itself."""
    return {
        "draft": draft,
        "sections": form.SECTIONS.items(),
        "file": managed.file_of(managed.POLICY),
    }


def link(path: str, document: Document) -> str:
    section, slug, anchor = form.address(path, document)
    page = (
        reverse("policies:tenant", args=[slug])
        if slug
        else reverse("policies:sheet", args=[section])
    )
    return f"{page}#{anchor}"


def _longest_waits(policy: Policy) -> list[bounds.LongestWait] | None:
    """None: the last hour says nothing."""
    seen = bounds.last_hour(timezone.now())
    return bounds.longest_waits(policy, seen) if seen else None


def _tenants(document: Document) -> list[tuple[str, str, list[str]]]:
    """Each tenant with its rules in words: those with rules of their own, and those without."""
    names = dict(Tenant.objects.values_list("slug", "name"))
    without = {**document, "tenants": {}}
    return [
        (
            slug,
            names.get(slug, "(no such tenant)"),
            diff.rules_text(without, document, slug),
        )
        for slug in sorted(names.keys() | document["tenants"].keys())
    ]


@open_to(may_draft)
@require_POST
def discard(request: HttpRequest) -> HttpResponse:
    Draft.objects.filter(person=person(request)).delete()
    return redirect("policies:overview")
