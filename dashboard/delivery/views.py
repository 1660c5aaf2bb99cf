"""Channels and what went through them.  Admins change them; who is on call sees how they do."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from dashboard.accounts import permissions as may
from dashboard.accounts.gate import form_page, open_to
from dashboard.delivery import changes
from dashboard.delivery.forms import ChannelForm, LogForm
from dashboard.delivery.models import TRIES, Channel, Delivery
from dashboard.delivery.watch import health

PER_PAGE = 50
TAKEN = "There is a channel of this name."


@open_to(may.may_see_channels)
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    context = {
        "channels": Channel.objects.all(),
        "health": health(timezone.now()),
        "reminded": Channel.objects.for_reminders().exists(),
        "may_manage": may.may_manage_channels(request.user),
    }
    return render(request, "delivery/page.html", context)


@open_to(may.may_manage_channels)
@never_cache
@form_page
def new(request: HttpRequest) -> HttpResponse:
    form = ChannelForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and form.target is not None:
        said = form.cleaned_data
        try:
            channel, signing = changes.add(
                request,
                said["name"],
                said["address"],
                form.target,
                reminders=said["reminders"],
            )
        except IntegrityError:  # the same form arrived twice at once
            form.add_error("name", TAKEN)
        else:
            return _done(request, channel, signing, f"{channel} is there. Send it a test.")
    return _form(request, "delivery/new.html", {"form": form})


@open_to(may.may_manage_channels)
@never_cache
@form_page
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    channel = get_object_or_404(Channel, pk=pk)
    form = ChannelForm(request.POST or None, channel=channel)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        try:
            signing = changes.edit(
                request,
                channel,
                said["name"],
                said["address"],
                form.target,
                reminders=said["reminders"],
                new_signing=bool(said.get("new_signing")),
                seen=said["seen"],
            )
        except IntegrityError:
            form.add_error("name", TAKEN)
        except changes.Moved:
            present = get_object_or_404(Channel, pk=pk)
            form.say_what_moved(present)
            context = {"form": form, "channel": present}
            return render(request, "delivery/edit.html", context, status=409)
        else:
            return _done(request, channel, signing, f"{said['name']} is changed.")
    context = {"form": form, "channel": Channel.objects.get(pk=pk)}
    return _form(request, "delivery/edit.html", context)


@open_to(may.may_manage_channels)
@require_POST
def test(request: HttpRequest, pk: int) -> HttpResponse:
    channel = get_object_or_404(Channel, pk=pk)
    if not channel.enabled:
        messages.error(request, f"{channel} is disabled. Enable it to send a test.")
        return redirect("delivery:page")
    return redirect("delivery:one", changes.send_test(request, channel).pk)


@open_to(may.may_manage_channels)
@require_POST
def switch(request: HttpRequest, pk: int) -> HttpResponse:
    channel, on = get_object_or_404(Channel, pk=pk), request.POST.get("to") == "on"
    if changes.switch(request, channel, on=on):
        said = "takes messages again" if on else "is disabled: nothing more is sent there"
        messages.success(request, f"{channel} {said}.")
    return redirect("delivery:page")


@open_to(may.may_manage_channels)
@form_page
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    channel = get_object_or_404(Channel, pk=pk)
    if request.method == "POST":
        changes.delete(request, channel)
        messages.success(request, f"{channel} is deleted.")
        return redirect("delivery:page")
    context = {
        "channel": channel,
        "waiting": channel.deliveries.undelivered().count(),
        "logged": channel.deliveries.count(),
    }
    return render(request, "delivery/delete.html", context)


@open_to(may.may_see_channels)
@require_safe
def log(request: HttpRequest) -> HttpResponse:
    """A filter that cannot be read filters nothing, and the page says so beside it."""
    form = LogForm(request.GET)
    form.is_valid()
    channel, state = form.cleaned_data.get("channel"), form.cleaned_data.get("state")
    rows = Delivery.objects.select_related("channel")
    if channel:
        rows = rows.filter(channel=channel)
    if state:
        rows = rows.filter(state=state)
    part = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    said = {"channel": channel.name if channel else "", "state": state or ""}
    context = {
        "form": form,
        "part": part,
        "query": urlencode({name: value for name, value in said.items() if value}),
        "filtered": any(said.values()),
        **_about(request),
    }
    fragment = request.headers.get("HX-Target") == "deliveries"
    return render(request, "delivery/_log.html" if fragment else "delivery/log.html", context)


@open_to(may.may_see_channels)
@never_cache
@require_safe
def one(request: HttpRequest, pk: int) -> HttpResponse:
    """One delivery; while it is on its way, the page asks again each second."""
    row = get_object_or_404(Delivery.objects.select_related("channel"), pk=pk)
    fragment = request.headers.get("HX-Target") == "delivery"
    template = "delivery/_one.html" if fragment else "delivery/one.html"
    return render(request, template, {"row": row, **_about(request)})


@open_to(may.may_manage_channels)
@require_POST
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(Delivery.objects.select_related("channel"), pk=pk)
    if not row.channel.enabled:
        messages.error(request, f"{row.channel} is disabled. Enable it to send this again.")
    elif not changes.retry(request, row):
        messages.error(request, "Only what failed can be sent again.")
    return redirect("delivery:one", pk)


def _about(request: HttpRequest) -> dict[str, Any]:
    return {"may_manage": may.may_manage_channels(request.user), "tries": TRIES}


def _done(request: HttpRequest, channel: Channel, signing: str, told: str) -> HttpResponse:
    """Back to the list; a signing secret is shown in the answer itself, which nothing keeps."""
    if not signing:
        messages.success(request, told)
        return redirect("delivery:page")
    return render(request, "delivery/signing.html", {"channel": channel, "signing": signing})


def _form(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A form that was sent and comes back has errors: 422, so that no client takes it for done."""
    return render(request, template, context, status=422 if request.method == "POST" else 200)
