"""The page that shows what a draft would have done with recorded traffic."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_draft
from dashboard.policies import previews, recorded
from dashboard.policies import review as meaning
from dashboard.policies.edit import clean
from dashboard.policies.editing import frame
from dashboard.policies.fields import Document
from dashboard.policies.forms import PreviewForm
from dashboard.policies.models import Draft, Preview
from dashboard.policies.request import person
from dashboard.policies.tasks import preview as work
from gateway.models import Backend

STOP_POLLING = 286  # htmx
UNDERWAY = (Preview.State.WAITING, Preview.State.RUNNING)


@open_to(may_draft)
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    draft = Draft.objects.of(person(request))
    if not draft.edit:
        messages.info(request, "There was nothing to preview yet: change something here first.")
        return redirect("policies:sheet", "tiers")
    names = list(Backend.objects.filter(enabled=True).values_list("name", flat=True))
    form = PreviewForm(request.POST or None, backends=names)
    problems = meaning.problems(clean(draft.document))
    if request.method == "POST" and form.is_valid() and not problems:
        said = form.cleaned_data
        since, until = recorded.window(said["window"], timezone.now())
        how = (since, until, float(said["load"]), said["lost"])
        row, is_open = previews.ask(draft, person(request), *how)
        if is_open:
            work.delay(row.pk)
        return redirect(f"{reverse('policies:preview')}?p={row.pk}")
    asked = request.GET.get("p", "")
    named = asked.isdecimal() and len(asked) < 18
    shown = Preview.objects.filter(pk=asked).first() if named else None
    context = {
        **frame(draft),
        **_shown(shown or previews.answer_of(draft)),
        "section": "preview",
        "form": form,
        "problems": problems,
        "draft_checksum": previews.of_draft(draft),
    }
    refused = request.method == "POST"
    return render(request, "policies/preview.html", context, status=422 if refused else 200)


def _shown(row: Preview | None) -> Document:
    return {"preview": row, "underway": row is not None and row.state in UNDERWAY}


@open_to(may_draft)
@require_safe
def progress(request: HttpRequest, pk: int) -> HttpResponse:
    """The answer, or how far it is; the page asks each second until it is there."""
    row = Preview.objects.filter(pk=pk).first()
    answer = render(request, "policies/_preview.html", _shown(row))
    if (row is None or row.state not in UNDERWAY) and request.headers.get("HX-Request"):
        answer.status_code = STOP_POLLING
    return answer


@open_to(may_draft)
@require_POST
def stop(request: HttpRequest, pk: int) -> HttpResponse:
    """One that is over stays as it is."""
    row = Preview.objects.filter(pk=pk).first()
    if row:
        previews.stop(row)
    return redirect(f"{reverse('policies:preview')}?p={pk}")
