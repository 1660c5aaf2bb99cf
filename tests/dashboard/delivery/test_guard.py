"""Messages do not reach into the inner network: by no spelling, by no name, by no redirect."""

import socket

import pytest

from dashboard.delivery.addresses import Unusable, target_of
from dashboard.delivery.guard import Private, public_only
from dashboard.delivery.models import Delivery
from dashboard.delivery.posting import post

INNER = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",
    "localhost",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "[::1]",
    "[fe80::1]",
    "[fd00::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
]


@pytest.mark.parametrize("host", INNER)
def test_an_inner_address_is_refused_in_every_spelling(host):
    with pytest.raises(Unusable, match="LANEWAY_ALLOW_PRIVATE_TARGETS=yes"):
        target_of(f"https://{host}/in")


@pytest.mark.parametrize(
    "address",
    [
        "mailto://10.0.0.5/?from=a@here.example&to=b@there.example",
        "mailtos://user:pass@there.example/?smtp=127.0.0.1&from=a@here.example&to=b@there.example",
        "ntfy://127.0.0.1/alarms",
        "gotify://192.168.0.7/AbCdEfGhIjK",
        "mmosts://2130706433/abcdefghijk",
    ],
)
def test_so_it_is_for_services_that_run_on_hosts_of_ones_own(address):
    with pytest.raises(Unusable, match="is not a public address"):
        target_of(address)


def test_the_operator_may_allow_them(settings):
    settings.LANEWAY_ALLOW_PRIVATE_TARGETS = True

    assert target_of("http://10.1.2.3:8080/in").where == "http://10.1.2.3:8080"


@pytest.fixture
def resolve(monkeypatch):
    """Says what names resolve to, one answer after the other; the last one stays."""
    real = socket.getaddrinfo
    answers: list[list[str]] = []

    def lookup(host, port, *args, **kwargs):
        if host != "moves.example":
            return real(host, port, *args, **kwargs)
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0)) for address in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return answers


@pytest.mark.parametrize("found", [["127.0.0.1"], ["93.184.215.14", "10.0.0.1"]])
def test_a_name_is_refused_if_any_of_its_addresses_is_an_inner_one(resolve, found):
    resolve.append(found)

    with pytest.raises(Unusable, match="is not a public address"):
        target_of("https://moves.example/in")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("http://moves.example:{}/in", "webhook"),
        ("mmost://moves.example:{}/abcdefgh", "other"),
        ("mailto://moves.example:{}/?from=a@here.example&to=b@there.example", "mail"),
    ],
)
def test_a_name_that_moves_between_check_and_use_is_caught_at_the_socket(
    resolve, add, web, message, form, kind
):
    receiver, port = web
    resolve.extend([["93.184.215.14"], ["127.0.0.1"]])
    post(message, [add("hook", form.format(port), kind)], "incident-7:firing")

    row = Delivery.objects.get()
    assert row.state == "failed"
    assert row.last_error.startswith("127.0.0.1 is not a public address.")
    assert not receiver.seen


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("form", ["http://127.0.0.1:{}/in", "mmost://127.0.0.1:{}/abcdefgh"])
def test_a_redirect_is_not_followed(add, web, message, settings, status, form):
    settings.LANEWAY_ALLOW_PRIVATE_TARGETS = True
    receiver, port = web
    receiver.answers = [(status, {"location": f"http://127.0.0.1:{port}/inner"})]
    kind = "webhook" if form.startswith("http") else "other"
    post(message, [add("hook", form.format(port), kind)], "incident-7:firing")

    assert Delivery.objects.get().state != "sent"
    assert len(receiver.seen) == 1
    assert not receiver.taken


def test_the_guard_holds_for_its_block_alone():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with public_only() as met, socket.socket() as outside, pytest.raises(Private):
            outside.connect(server.getsockname())
        assert met == ["127.0.0.1"]
        with socket.socket() as outside:
            outside.connect(server.getsockname())


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("file:///etc/passwd", "Addresses begin with"),
        ("json://example.org/x", "Addresses begin with"),
        ("exec://ls", "Addresses begin with"),
        ("https://", "names no host"),
        ("https://example.org:99999/", "host or port"),
        ("https://exa mple.org/", "one word"),
        ("slack://", "missing or wrong"),
        ("mailto://user:pass@example.org?pgpkey=/etc/passwd", "not allowed: pgpkey"),
        ("workflows://example.org/wid/sig?template=/etc/passwd", "not allowed: template"),
        ("ntfy://alarms?attach=http://10.0.0.1/", "not allowed: attach"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ?redirect=yes", "redirect"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ?retry=9", "retry"),
        ("ntfy://one/two/three", "2 receivers"),
    ],
)
def test_what_is_not_allowed_is_refused_in_a_sentence_that_shows_no_secret(address, said):
    with pytest.raises(Unusable, match=said) as refused:
        target_of(address, look_up=False)

    assert "TIiajk" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "kind", "where"),
    [
        (
            "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
            "slack",
            "Slack",
        ),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/", "slack", "Slack"),
        ("https://example.org/in?token=x&hidden=y", "webhook", "https://example.org"),
        ("https://discord.com/api/webhooks/1234567890/abcdefghijklmn", "other", "Discord"),
        ("ntfy://alarms", "ntfy", "ntfy"),
        (
            "mailtos://me:pass@example.org/?from=me@example.org&to=oncall@example.com",
            "mail",
            "oncall@example.com by example.org",
        ),
        ("workflows://example.org/wid/sig", "teams", "example.org"),
        (
            "https://prod-1.westeurope.logic.azure.com:443/workflows/abc/triggers/manual/paths/invoke?api-version=2016-06-01&sp=x&sv=1.0&sig=yyyyyyyyy",
            "teams",
            "prod-1.westeurope.logic.azure.com",
        ),
        (f"pagerduty://{'A' * 20}@{'B' * 32}", "pagerduty", "Pager Duty"),
    ],
)
def test_the_kind_and_what_may_be_shown_follow_from_the_address(address, kind, where):
    found = target_of(address, look_up=False)

    assert (found.kind, found.where) == (kind, where)
