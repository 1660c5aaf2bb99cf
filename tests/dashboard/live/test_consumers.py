"""The live websocket: who may listen, what they hear, and what becomes of those who do not answer."""

import json
from datetime import UTC, datetime

import pytest
from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from channels.layers import channel_layers, get_channel_layer
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.utils import timezone

from dashboard.live import consumers
from dashboard.live.boards import COOKIE
from dashboard.live.models import WallBoard
from dashboard.live.release import release
from dashboard.live.routing import websocket_urlpatterns
from gateway.core.snapshot import encode
from gateway.models import QueueSample
from tests.support.clock import until
from tests.support.frames import Traffic
from tests.support.people import person, signed_in

pytestmark = pytest.mark.django_db(transaction=True)

application = AuthMiddlewareStack(URLRouter(websocket_urlpatterns))


@pytest.fixture(autouse=True)
def layer():
    channel_layers.backends = {}
    yield
    channel_layers.backends = {}


@database_sync_to_async
def sign_in(name="otto"):
    """A session in the database, as signing in would leave it. Returns the person and the cookie."""
    otto = person(name, "viewer")
    return otto, signed_in(otto)


def socket(session_key="", query=""):
    cookie = f"sessionid={session_key}".encode()
    return WebsocketCommunicator(application, f"/ws/live/{query}", headers=[(b"cookie", cookie)])


def sampled(at, waiting):
    return QueueSample(
        pool="default",
        tier="standard",
        at=datetime.fromtimestamp(at, UTC),
        waiting=waiting,
        in_flight=1,
        in_per_s=1,
        out_per_s=1,
    )


async def publish(frame=None):
    text = encode(frame or Traffic().frame(1.0)).decode()
    await get_channel_layer().group_send(consumers.GROUP, {"type": "live.frame", "text": text})
    return json.loads(text)


async def closed_with(page):
    message = await page.receive_output(timeout=3)
    assert message["type"] == "websocket.close"
    return message["code"]


@pytest.fixture
async def watching():
    _, key = await sign_in()
    page = socket(key)
    assert (await page.connect())[0]
    assert (await page.receive_json_from())["k"] == "hello"
    yield page
    await page.disconnect()


async def test_a_person_hears_each_frame_as_it_was_published(watching):
    frame = await publish()

    heard = await watching.receive_json_from()

    assert heard == {"k": "snap", **frame}


async def test_a_stranger_is_told_to_sign_in_and_hears_nothing():
    page = socket()
    await page.connect()

    assert await closed_with(page) == consumers.SIGNED_OUT
    await publish()
    assert await page.receive_nothing()


async def test_somebody_who_was_let_go_may_not_watch():
    person, key = await sign_in()
    await User.objects.filter(pk=person.pk).aupdate(is_active=False)
    page = socket(key)
    await page.connect()

    assert await closed_with(page) == consumers.SIGNED_OUT


async def test_somebody_whose_role_was_taken_may_not_watch():
    person, key = await sign_in()
    await person.groups.aclear()
    page = socket(key)
    await page.connect()

    assert await closed_with(page) == consumers.FORBIDDEN


async def test_history_comes_first():
    await sampled(timezone.now().timestamp(), 5).asave()
    _, key = await sign_in()
    page = socket(key)
    await page.connect()
    assert await page.receive_json_from() == {"k": "hello", "release": release()}

    heard = await page.receive_json_from()

    assert (heard["k"], heard["tiers"]["standard"]["waiting"]) == ("hist", [5])
    await page.disconnect()


@pytest.mark.parametrize(
    ("query", "waiting"),
    [
        ("", [9, None, 5, 5, 5]),
        ("?since={two}", [5, 5]),
        ("?since={two}.5", [9, None, 5, 5, 5]),  # no whole number: as if nothing was said
        ("?since=nan", [9, None, 5, 5, 5]),
    ],
)
async def test_a_page_that_comes_back_gets_the_gap_alone(query, waiting):
    now = int(timezone.now().timestamp()) // 2 * 2
    moments = [now - ago_s for ago_s in (60, 4, 2, 0)]
    await QueueSample.objects.abulk_create(sampled(at, 9 if at < now - 30 else 5) for at in moments)
    _, key = await sign_in()
    page = socket(key, query.format(two=now - 2))
    await page.connect()
    await page.receive_json_from()

    heard = await page.receive_json_from()

    assert heard["tiers"].get("standard", {"waiting": []})["waiting"] == waiting
    await page.disconnect()


async def test_a_page_that_was_skipped_gets_what_it_missed(watching):
    await QueueSample.objects.abulk_create(
        sampled(timezone.now().timestamp() - ago_s, waiting)
        for ago_s, waiting in ((60, 9), (-5, 7))
    )
    for _ in range(consumers.SKIP_AFTER + 1):
        await publish()
    for _ in range(consumers.SKIP_AFTER):
        await watching.receive_json_from()
    assert await watching.receive_nothing()  # the fourth is skipped

    for _ in range(consumers.SKIP_AFTER):
        await watching.send_json_to({"k": "ack"})

    heard = await watching.receive_json_from()

    assert (heard["k"], heard["tiers"]["standard"]["waiting"]) == ("hist", [7])


async def test_three_unanswered_frames_are_enough(watching):
    for _ in range(5):
        await publish()

    for _ in range(consumers.SKIP_AFTER):
        await watching.receive_json_from()

    assert await watching.receive_nothing()


async def test_an_answer_brings_the_next_frame(watching):
    for _ in range(3):
        await publish()
        heard = await watching.receive_json_from()
        await watching.send_json_to({"k": "ack", "seq": heard["seq"]})
    assert await watching.receive_nothing()  # all answers are in

    await publish()

    assert (await watching.receive_json_from())["k"] == "snap"


async def test_who_answers_nothing_for_half_a_minute_is_let_go(watching, monkeypatch):
    await publish()
    await watching.receive_json_from()
    monkeypatch.setattr(consumers, "CLOSE_AFTER_S", 0.0)

    await publish()

    assert await closed_with(watching) == consumers.SLOW


async def test_signing_out_ends_the_stream(monkeypatch):
    monkeypatch.setattr(consumers, "RECHECK_S", 0.0)
    _, key = await sign_in()
    page = socket(key)
    await page.connect()
    assert (await page.receive_json_from())["k"] == "hello"
    await publish()
    assert (await page.receive_json_from())["k"] == "snap"

    await database_sync_to_async(SessionStore(key).delete)()
    await publish()

    assert await closed_with(page) == consumers.SIGNED_OUT


async def test_the_check_is_not_made_for_every_frame(watching):
    await publish()
    await watching.receive_json_from()
    await User.objects.all().adelete()

    await publish()

    assert (await watching.receive_json_from())["k"] == "snap"


async def test_one_who_leaves_leaves_the_group(watching):
    await watching.disconnect()

    assert get_channel_layer().groups == {}


def test_a_frame_of_fifty_rows_stays_under_16_kb():
    traffic = Traffic()
    for _ in range(900):
        traffic.second()

    frame = traffic.frame(1.0)

    assert len(frame.pools[0].head) == 50
    assert len(encode(frame)) < 16_000


@database_sync_to_async
def open_board():
    now = timezone.now()
    board, _ = WallBoard.objects.make("kitchen", person("ada", "admin"), now)
    return board, board.open(now)


def wall(cookie):
    headers = [(b"cookie", f"{COOKIE}={cookie}".encode())]
    return WebsocketCommunicator(application, "/live/board/socket/", headers=headers)


async def test_a_wall_board_hears_of_tiers_and_of_nobody_s_requests():
    _, cookie = await open_board()
    page = wall(cookie)
    await page.connect()
    assert (await page.receive_json_from())["k"] == "hello"
    traffic = Traffic()
    for _ in range(200):
        traffic.second()

    sent = await publish(traffic.frame(1.0))
    heard = await page.receive_json_from()

    assert sent["pools"][0]["head"]
    assert heard["pools"][0]["head"] == []
    assert heard["pools"][0]["tiers"] == sent["pools"][0]["tiers"]
    assert {backend["url"] for backend in heard["pools"][0]["backends"]} == {""}
    await page.disconnect()


async def test_a_revoked_board_is_cut_off(monkeypatch):
    monkeypatch.setattr(consumers, "RECHECK_S", 0.0)
    board, cookie = await open_board()
    page = wall(cookie)
    await page.connect()
    assert (await page.receive_json_from())["k"] == "hello"

    await WallBoard.objects.filter(pk=board.pk).aupdate(revoked_at=timezone.now())
    await publish()

    assert await closed_with(page) == consumers.SIGNED_OUT


@pytest.mark.parametrize("cookie", ["", "guessed"])
async def test_a_board_without_a_cookie_of_its_own_hears_nothing(cookie):
    page = wall(cookie)
    await page.connect()

    assert await closed_with(page) == consumers.SIGNED_OUT


async def test_a_board_s_cookie_is_no_session_for_the_people_s_socket():
    _, cookie = await open_board()
    headers = [(b"cookie", f"{COOKIE}={cookie}; sessionid={cookie}".encode())]
    page = WebsocketCommunicator(application, "/ws/live/", headers=headers)
    await page.connect()

    assert await closed_with(page) == consumers.SIGNED_OUT


async def test_a_watcher_that_stalls_costs_no_more_the_longer_it_does(watching):
    for _ in range(50):
        await publish()
    await until(lambda: not any(q.qsize() for q in get_channel_layer().channels.values()))

    assert watching.output_queue.qsize() == consumers.SKIP_AFTER


async def test_a_person_has_ten_sockets_at_most_and_a_closed_one_counts_no_more(monkeypatch):
    monkeypatch.setattr(consumers, "SOCKETS_MOST", 2)
    _, key = await sign_in()
    first, second, third = (socket(key) for _ in range(3))
    for page in (first, second, third):
        await page.connect()

    assert await closed_with(third) == consumers.TOO_MANY
    await first.disconnect()
    again = socket(key)
    await again.connect()
    assert (await again.receive_json_from())["k"] == "hello"
    for page in (second, again):
        await page.disconnect()
