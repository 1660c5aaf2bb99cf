"""Channels in the browser: made, tried, changed, switched off, deleted; secrets are shown once or never."""

import pytest
from django.test import Client
from django.utils import timezone
from standardwebhooks import Webhook

from dashboard.audit.models import AuditEvent
from dashboard.delivery.models import Channel, Delivery
from dashboard.delivery.posting import post
from tests.support.people import person

pytestmark = pytest.mark.django_db

SLACK = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
PAGE = "/alerts/channels/"


@pytest.fixture
def ada() -> Client:
    browser = Client()
    browser.force_login(person("ada", "admin"))
    return browser


@pytest.fixture
def otto() -> Client:
    browser = Client()
    browser.force_login(person("otto", "on-call"))
    return browser


def acts() -> list[str]:
    return list(AuditEvent.objects.order_by("number").values_list("verb", flat=True))


def trail() -> str:
    return "".join(str(event.document()) for event in AuditEvent.objects.all())


def test_an_empty_page_says_what_to_do(ada, otto):
    assert b"Make the first" in ada.get(PAGE).content
    assert b"Make the first" not in otto.get(PAGE).content


def test_a_channel_is_made_and_its_address_is_never_shown_again(ada):
    answer = ada.post(f"{PAGE}new/", {"name": "oncall", "address": SLACK}, follow=True)

    channel = Channel.objects.get()
    assert (channel.kind, channel.where, channel.created_by) == ("slack", "Slack", "ada")
    assert channel.address == SLACK
    for page in (answer, ada.get(f"{PAGE}{channel.pk}/"), ada.get(PAGE)):
        assert b"TIiajk" not in page.content
    assert acts()[-1] == "channel.created"
    assert "TIiajk" not in trail()


def test_a_webhooks_signing_secret_is_shown_once(ada, settings):
    settings.LANEWAY_ALLOW_PRIVATE_TARGETS = True
    answer = ada.post(
        f"{PAGE}new/", {"name": "hook", "address": "https://127.0.0.1/in?token=s3cret"}
    )

    channel = Channel.objects.get()
    assert channel.signing in answer.content.decode()
    assert answer["Cache-Control"].startswith("max-age=0")
    for path in (PAGE, f"{PAGE}{channel.pk}/"):
        assert channel.signing not in ada.get(path).content.decode()
    assert Webhook(channel.signing)
    assert channel.signing not in trail()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"name": "oncall", "address": "https://127.0.0.1/in"}, "is not a public address"),
        ({"name": "oncall", "address": "gopher://x"}, "Addresses begin with"),
        ({"name": "taken", "address": SLACK}, "There is a channel of this name."),
        ({"name": "", "address": SLACK}, "This field is required."),
        ({"name": "oncall", "address": "x" * 3000}, "at most 2000 characters"),
        ({"name": "a\0b", "address": SLACK}, "Null characters"),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_nothing_is_lost(ada, add, said, error):
    add("taken", SLACK)
    answer = ada.post(f"{PAGE}new/", said)

    assert answer.status_code == 422
    assert error in answer.content.decode().replace("&#x27;", "'")
    if said["name"].isalpha():
        assert f'value="{said["name"]}"' in answer.content.decode()
    assert Channel.objects.count() == 1


def test_a_channel_is_told_of_keys_if_it_is_ticked(ada, add):
    channel = add("oncall", SLACK)
    assert "No channel is told of keys" in ada.get(PAGE).content.decode()
    ada.post(f"{PAGE}{channel.pk}/", {"name": "oncall", "address": "", "reminders": "on"})

    assert Channel.objects.for_reminders().get() == channel
    assert "No channel is told of keys" not in ada.get(PAGE).content.decode()
    assert AuditEvent.objects.get(verb="channel.edited").after == {"reminders": True}


def test_an_edit_without_an_address_keeps_the_one_there_is(ada, add):
    channel = add("oncall", SLACK)
    ada.post(f"{PAGE}{channel.pk}/", {"name": "pager", "address": ""})

    channel.refresh_from_db()
    assert (channel.name, channel.address) == ("pager", SLACK)
    event = AuditEvent.objects.get(verb="channel.edited")
    assert (event.before, event.after) == ({"name": "oncall"}, {"name": "pager"})


def test_a_second_window_does_not_overwrite_the_first(ada, add):
    channel = add("oncall", SLACK)
    seen = ada.get(f"{PAGE}{channel.pk}/").context["form"]["seen"].value()
    typed = {"name": "oncall", "address": "", "reminders": "on", "seen": seen}
    ada.post(f"{PAGE}{channel.pk}/", {"name": "pager", "address": "", "seen": seen})

    late = ada.post(f"{PAGE}{channel.pk}/", typed)

    channel.refresh_from_db()
    assert (late.status_code, channel.name, channel.reminders) == (409, "pager", False)
    assert "it is called pager, leads to" in late.content.decode()
    again = late.context["form"]["seen"].value()
    assert again != seen
    ada.post(f"{PAGE}{channel.pk}/", typed | {"seen": again})
    channel.refresh_from_db()
    assert (channel.name, channel.reminders) == ("oncall", True)


def test_a_new_address_brings_its_kind_and_the_trail_says_only_that_it_changed(ada, add):
    channel = add("oncall", SLACK)
    ada.post(f"{PAGE}{channel.pk}/", {"name": "oncall", "address": "ntfy://our-alarms"})

    channel.refresh_from_db()
    assert (channel.kind, channel.address) == ("ntfy", "ntfy://our-alarms")
    assert AuditEvent.objects.get(verb="channel.edited").after["address"] == "(changed)"
    assert "our-alarms" not in trail()


def test_a_new_signing_secret_is_made_when_asked_for(ada, add):
    channel = add("hook", "https://93.184.215.14/in", "webhook")
    old = channel.signing
    answer = ada.post(f"{PAGE}{channel.pk}/", {"name": "hook", "address": "", "new_signing": "on"})

    channel.refresh_from_db()
    assert channel.signing != old
    assert channel.signing in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_test_is_sent_from_the_worker_and_its_result_is_shown(ada, add, web, settings):
    settings.LANEWAY_ALLOW_PRIVATE_TARGETS = True
    receiver, port = web
    channel = add("hook", f"http://127.0.0.1:{port}/in", "webhook")
    answer = ada.post(f"{PAGE}{channel.pk}/test/", follow=True)

    assert "sent</span>" in answer.content.decode()
    assert len(receiver.taken) == 1
    receiver.answers = [503]
    answer = ada.post(f"{PAGE}{channel.pk}/test/", follow=True)
    assert "Answered 503." in answer.content.decode()
    assert "failed</span>" in answer.content.decode()  # at once: somebody waits for it
    assert "failing" in ada.get(PAGE).content.decode()
    ada.post(answer.request["PATH_INFO"] + "retry/")
    assert len(receiver.taken) == 2
    assert acts()[-3:] == ["channel.tested", "channel.tested", "delivery.retried"]


def test_one_on_its_way_asks_again_by_itself_until_it_is_there(ada, add, message):
    post(message, [add("oncall", SLACK)], "incident-7-1")
    row = Delivery.objects.get()
    path = f"{PAGE}log/{row.pk}/"
    fragment = ada.get(path, headers={"HX-Request": "true", "HX-Target": "delivery"})

    assert b"every 1s" in fragment.content
    assert b"<html" not in fragment.content
    row.claim(timezone.now())
    row.sent(timezone.now())
    assert b"every 1s" not in ada.get(path).content
    assert b"now 2m27\nsince 11:20\n" in ada.get(path).content
    assert b"ack/x" not in ada.get(path).content  # whoever has the link may acknowledge


def test_a_disabled_channel_gets_nothing_and_what_waited_is_not_sent_later(ada, add, message):
    channel = add("oncall", SLACK)
    post(message, [channel], "incident-7-1")
    ada.post(f"{PAGE}{channel.pk}/switch/", {"to": "off"})
    ada.post(f"{PAGE}{channel.pk}/switch/", {"to": "off"})

    row = Delivery.objects.get()
    assert (row.state, row.last_error) == (
        "failed",
        "The channel was disabled before this was sent.",
    )
    assert acts().count("channel.disabled") == 1
    assert AuditEvent.objects.get(verb="channel.disabled").after == {"not_sent": 1}
    ada.post(f"{PAGE}{channel.pk}/test/")
    ada.post(f"{PAGE}log/{row.pk}/retry/")
    assert Delivery.objects.get().state == "failed"
    ada.post(f"{PAGE}{channel.pk}/switch/", {"to": "on"})
    channel.refresh_from_db()
    assert channel.enabled


def test_deleting_asks_first_and_says_what_goes(ada, add, message):
    channel = add("oncall", SLACK)
    post(message, [channel], "incident-7-1")
    asked = ada.get(f"{PAGE}{channel.pk}/delete/").content.decode()

    assert "1 message that waits for it is not sent." in asked
    assert Channel.objects.exists()
    ada.post(f"{PAGE}{channel.pk}/delete/")
    assert not Channel.objects.exists()
    assert acts()[-1] == "channel.deleted"


def test_the_log_is_filtered(ada, add, message):
    oncall, quiet = add("oncall", SLACK), add("quiet", SLACK)
    post(message, [oncall, quiet], "incident-7-1")
    Delivery.objects.filter(channel=quiet).update(state="failed", ended_at=timezone.now())

    def shown(query: str) -> list[str]:
        part = ada.get(f"{PAGE}log/{query}").context["part"]
        return sorted(row.channel.name for row in part)

    assert shown("") == ["oncall", "quiet"]
    assert shown("?channel=quiet") == ["quiet"]
    assert shown("?state=queued") == ["oncall"]
    assert shown("?state=nonsense&channel=nobody&page=x") == ["oncall", "quiet"]
    assert shown("?channel=quiet&state=sent") == []


def test_who_is_on_call_sees_the_state_and_changes_nothing(otto, add):
    channel = add("oncall", SLACK)
    page = otto.get(PAGE).content.decode()

    assert "oncall" in page
    assert "Send test" not in page
    for path in ("", "test/", "switch/", "delete/"):
        assert otto.post(f"{PAGE}{channel.pk}/{path}").status_code == 403
    assert Channel.objects.get().enabled
