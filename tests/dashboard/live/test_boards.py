"""Wall boards: a link that works once, a cookie that shows and does nothing, and an end to both."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from dashboard.audit.models import AuditEvent
from dashboard.live.boards import COOKIE
from dashboard.live.models import WallBoard
from gateway.core.policy import default_policy
from gateway.models import PolicyVersion
from tests.support.people import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(client):
    PolicyVersion.objects.publish(default_policy(), "the first")
    client.force_login(person("ada", "admin"))
    return client


@pytest.fixture
def link(ada):
    page = ada.post("/live/boards/new/", {"name": "kitchen"}).content.decode()
    return re.search(r"http://testserver(/live/board/open/[\w-]+/)", page)[1]


@pytest.fixture
def screen(link):
    screen = Client()
    assert screen.post(link).status_code == 302
    return screen


def verbs():
    return list(AuditEvent.objects.order_by("number").values_list("verb", flat=True))


def test_a_link_opens_a_screen_and_leaves_a_cookie_for_the_board_alone(link):
    screen = Client()

    asked = screen.get(link)
    opened = screen.post(link)

    assert "Show it on this screen" in asked.content.decode()
    assert opened["Location"] == "/live/board/?kiosk=1"
    cookie = opened.cookies[COOKIE]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == (
        "/live/board/",
        True,
        "Lax",
    )
    assert cookie["max-age"] == 90 * 86_400
    assert screen.get("/live/board/?kiosk=1").status_code == 200
    assert verbs()[-2:] == ["board.made", "board.opened"]


def test_a_link_works_once(link, screen):
    assert Client().post(link).status_code == 404
    assert Client().get(link).status_code == 404


def test_a_link_that_nobody_used_in_a_day_is_too_old(link):
    WallBoard.objects.update(link_expires_at=timezone.now() - timedelta(seconds=1))

    answer = Client().post(link)

    assert answer.status_code == 404
    assert COOKIE not in answer.cookies


def test_nothing_on_a_board_acts(screen):
    page = screen.get("/live/board/").content.decode()

    assert "<form" not in page
    assert "actions.js" not in page
    assert "csrf" not in page
    assert not re.search(r'href="/(?!static)', page)  # nor does it lead anywhere
    assert 'data-socket="/live/board/socket/"' in page


def test_a_revoked_board_shows_nothing_more(ada, screen):
    board = WallBoard.objects.get()

    ada.post(f"/live/boards/{board.pk}/revoke/")

    assert screen.get("/live/board/").status_code == 403
    assert screen.get("/live/board/figures/").status_code == 404
    assert "revoked" in ada.get("/live/boards/").content.decode()
    assert verbs()[-1] == "board.revoked"


def test_a_board_ends_after_ninety_days(screen):
    assert screen.get("/live/board/figures/").status_code == 200
    WallBoard.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert screen.get("/live/board/").status_code == 403


def test_neither_link_nor_cookie_is_kept_or_shown_again(ada, link, screen):
    row = WallBoard.objects.get()
    secret = link.split("/")[-2]
    cookie = screen.cookies[COOKIE].value
    kept = str(vars(row)) + str(list(AuditEvent.objects.values()))

    assert secret not in kept
    assert cookie not in kept
    assert secret not in ada.get("/live/boards/").content.decode()


@pytest.mark.parametrize("name", ["", "   ", "\0", "x" * 61])
def test_a_board_needs_a_name_and_what_was_typed_stays(ada, name):
    answer = ada.post("/live/boards/new/", {"name": name})

    assert answer.status_code == 400
    assert "Give the board a name" in answer.content.decode()
    assert not WallBoard.objects.exists()


def test_somebody_on_call_makes_none(client):
    client.force_login(person("otto", "on-call"))

    assert client.get("/live/boards/").status_code == 403
    assert client.post("/live/boards/new/", {"name": "mine"}).status_code == 403


def test_a_person_sees_the_same_board_by_the_address(ada):
    page = ada.get("/live/?kiosk=1").content.decode()

    assert 'data-socket="/ws/live/"' in page
    assert "<form" not in page
    assert "actions.js" not in page
