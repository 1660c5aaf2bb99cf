"""The last look at a draft, its publication, and what to do when somebody else was faster."""

from contextlib import suppress
from zoneinfo import available_timezones

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.accounts.confirming import ask_again
from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_draft, may_publish
from dashboard.policies import (
    canary,
    diff,
    edit,
    managed,
    previews,
    publish,
    shadowing,
    timed,
    yaml_text,
)
from dashboard.policies import review as meaning
from dashboard.policies.editing import frame, link
from dashboard.policies.fields import Document
from dashboard.policies.forms import PublishForm
from dashboard.policies.merge import merge as merged
from dashboard.policies.merge import where
from dashboard.policies.models import Draft, StaleDraft, document_of, in_force
from dashboard.policies.reach import blast_radius, tiers_that_keys_name
from dashboard.policies.request import person
from gateway.core.canary import obstacles
from gateway.core.policy import load
from gateway.models import Tenant


@open_to(may_draft)
@require_http_methods(["GET", "HEAD", "POST"])
def review(request: HttpRequest) -> HttpResponse:
    draft = Draft.objects.of(person(request))
    if not draft.edit and request.method == "POST":
        return redirect("policies:overview")  # sent twice
    if not draft.edit:
        messages.info(request, "There was nothing to review yet: change something here first.")
        return redirect("policies:sheet", "tiers")
    if in_force()[0] != draft.base:
        return _conflict(request, draft)
    context = _looked_at(draft)
    if request.method != "POST":
        context["form"] = PublishForm(initial={"edit": draft.edit})
        return _page(request, context)
    if not may_publish(request.user):
        return _page(request, {**context, "form": PublishForm()}, 403)
    if context["file"]:
        return _page(request, context, 409)
    ask_again(request)

    form = context["form"] = PublishForm(
        request.POST, warned=bool(context["added"]), to_type=context["to_type"]
    )
    if context["problems"] or not context["changes"] or not form.is_valid():
        return _page(request, context, 422)
    try:
        _publish(draft, form, request)
    except publish.InFile:  # this very moment
        return _page(request, _looked_at(draft) | {"form": form}, 409)
    except publish.OnTrial as trial:
        form.add_error(None, str(trial))
        return _page(request, context, 409)
    except publish.BaseMoved:
        return _conflict(request, draft)
    except ValueError as error:
        form.add_error("how", str(error))
        return _page(request, context, 422)
    except StaleDraft:
        return _page(request, {**context, "is_stale": True}, 409)
    return redirect("policies:overview")


def _publish(draft: Draft, form: PublishForm, request: HttpRequest) -> None:
    """In the way the form chose.

    Raises:
        BaseMoved, StaleDraft, OnTrial
        ValueError: a canary cannot carry it, or there is nobody to compare with.
    """
    said, author = form.cleaned_data, person(request)
    if said["how"] == "canary":
        how = (int(said["percent"]), said["guards"], said["promotes"])
        canary.start(draft, said["edit"], form.text, *how, author, request)
    elif said["how"] == "shadow":
        shadowing.start(draft, said["edit"], form.text, int(said["minutes"]), author, request)
    elif said["how"] == "at":
        at, zone = said["moment"], said["zone"]
        timed.schedule(draft, said["edit"], form.text, at, zone, author, request)
    else:
        publish.publish(draft, said["edit"], form.text, author, request)


def _page(request: HttpRequest, context: Document, status: int = 200) -> HttpResponse:
    context |= {"may_publish": may_publish(request.user), "zones": sorted(available_timezones())}
    return render(request, "policies/review.html", context, status=status)


def _looked_at(draft: Draft) -> Document:
    base, mine = document_of(draft.base), edit.clean(draft.document)
    problems = meaning.problems(mine)
    used = tiers_that_keys_name()
    before = meaning.warnings(load(base), used)
    now = meaning.warnings(load(mine), used) if not problems else []
    return {
        **frame(draft),
        "section": "review",
        "next": draft.base + 1,
        "problems": [(p, link(p.path, mine)) for p in problems],
        "added": [w for w in now if w not in before],
        "standing": [w for w in now if w in before],
        "changes": diff.sentences(base, mine),
        "lines": yaml_text.line_diff(base, mine) if not problems else [],
        "reach": blast_radius(base, mine),
        "patch": _patch(base, mine) if not problems else "",
        **_foreseen(draft),
        "obstacles": obstacles(load(base), load(mine)) if not problems else [],
    }


def _patch(base: Document, mine: Document) -> str:
    """The draft as a change of the file that manages the policy; empty where none does."""
    where = managed.file_of(managed.POLICY)
    names = dict(Tenant.objects.values_list("slug", "name"))
    before, after = managed.settled(base), managed.settled(mine)
    return yaml_text.patch(before, after, names, where.partition("@")[0]) if where else ""


def _foreseen(draft: Draft) -> Document:
    """What a preview of the draft as it is has shown, where there is one."""
    answer = previews.answer_of(draft)
    result = answer.result if answer else None
    confirm = result["confirm"] if result else []
    return {
        "answer": answer,
        "foreseen": confirm,
        "to_type": f"v{draft.base + 1}" if confirm else "",
    }


def _conflict(request: HttpRequest, draft: Draft) -> HttpResponse:
    """409: base, theirs and mine side by side, and what both changed to choose between."""
    newest, theirs = in_force()
    base, mine = document_of(draft.base), edit.clean(draft.document)
    both = merged(base, theirs, mine)
    context = {
        **frame(draft),
        "section": "review",
        "newest": newest,
        "theirs": diff.sentences(base, theirs),
        "mine": diff.sentences(base, mine),
        "together": diff.sentences(theirs, both.document),
        "conflicts": [
            (path, where(path), *(diff.at_path(side, path) for side in (base, theirs, mine)))
            for path in both.conflicts
        ],
    }
    return render(request, "policies/conflict.html", context, status=409)


@open_to(may_draft)
@require_POST
def merge(request: HttpRequest) -> HttpResponse:
    """Put the draft onto the newest version; ``mine`` names the paths where it wins."""
    draft = Draft.objects.of(person(request))
    newest, theirs = in_force()
    if request.POST.get("newest") != str(newest) or request.POST.get("edit") != str(draft.edit):
        return redirect("policies:review")  # somebody was faster again: look once more
    mine = edit.clean(draft.document)
    keep = set(request.POST.getlist("mine"))
    document = merged(document_of(draft.base), theirs, mine, keep).document
    with suppress(StaleDraft):  # saved in another window this very moment: the review shows it
        draft.write(document, draft.edit, base=newest)
    return redirect("policies:review")
