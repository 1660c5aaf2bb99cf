"""Who calls behind proxies: believed of those that were named, and of nobody else."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.forwarded import behind, caller

OURS = [ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48")]


@pytest.mark.parametrize(
    ("peer", "said", "found"),
    [
        ("192.0.2.7", "", "192.0.2.7"),
        ("192.0.2.7", "203.0.113.9", "192.0.2.7"),  # a caller's own header
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        (
            "10.0.0.1",
            "198.51.100.1, 203.0.113.9",
            "203.0.113.9",
        ),  # the left one it may have made up
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),  # two proxies
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8:1::1", "[2001:db8:9::7]:4711", "2001:db8:9::7"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"),
        ("testclient", "203.0.113.9", "testclient"),
    ],
)
def test_the_nearest_address_that_is_no_proxy_of_ours_calls(peer, said, found):
    assert caller(peer, said, OURS) == found


@given(st.text(max_size=80))
def test_whatever_a_stranger_says_they_stay_who_they_are(said):
    assert caller("192.0.2.7", said, OURS) == "192.0.2.7"


@given(st.text(max_size=40))
def test_whatever_a_stranger_says_the_proxy_has_the_last_word(said):
    assert caller("10.0.0.1", f"{said},192.0.2.7", OURS) == "192.0.2.7"


async def asked(application, **scope):
    seen = {}

    async def inner(scope, receive, send):
        seen.update(scope)

    told = behind(inner, application)
    await told(scope, None, None)
    return seen.get("client")


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_several_headers_are_one_list_and_sockets_are_told_too(kind):
    headers = [(b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-for", b"203.0.113.9")]
    scope = {"type": kind, "headers": headers, "client": ("10.0.0.1", 5)}

    assert (await asked(["10.0.0.1"], **scope))[0] == "203.0.113.9"
    assert (await asked(["10.0.0.2"], **scope))[0] == "10.0.0.1"
    assert (await asked([], **scope))[0] == "10.0.0.1"


async def test_a_start_and_a_caller_without_address_pass():
    assert await asked(["10.0.0.1"], type="lifespan") is None
    assert await asked(["10.0.0.1"], type="http", headers=[], client=None) is None
