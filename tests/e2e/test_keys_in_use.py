"""Keys while they are used: a rotation that no caller notices, and secrets that are nowhere."""

import asyncio
import re
from collections import Counter
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.support.started import outside, started

pytestmark = pytest.mark.e2e
CALLERS = 6
IN_FORCE_S = 2.0  # a second by design, and one for a machine that is busy


@pytest.fixture(scope="module")
def laneway(new_home):
    with started(outside(new_home())) as running:
        yield running


@pytest.fixture(scope="module")
def robot(laneway):
    """The management API with an admin key, which is in ``robot.headers``."""
    told = laneway.manage(
        "issuekey", "default", "--name", "robot", "--kind", "admin", "--scope", "write"
    )
    key = re.search(r"lw_admin_\w+", told)[0]
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"{laneway.address}/api/v1", headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def admin(laneway):
    """The pages, signed in, without a browser."""
    with httpx.Client(base_url=laneway.address, follow_redirects=True) as client:
        sent(client, "/accounts/login/", login="admin", password=laneway.password)
        yield client


def sent(client, path, **fields):
    client.get(path)
    token = client.cookies["csrftoken"]
    return client.post(path, data=fields | {"csrfmiddlewaretoken": token})


def issue(robot, name):
    return robot.post("/tenants/default/keys", json={"name": name}).raise_for_status().json()


def rotate(robot, key, hours):
    path = f"/keys/{key['id']}/rotate"
    return robot.post(path, json={"overlap_hours": hours}).raise_for_status().json()


def ask(client, laneway, key, **more):
    body = {"model": laneway.model, "messages": [{"role": "user", "content": "Hi"}]}
    return client.post(
        f"{laneway.address}/v1/chat/completions",
        headers={"Authorization": f"Bearer {key}"},
        json=body | {"max_tokens": 2} | more,
        timeout=30,
    )


@asynccontextmanager
async def traffic(laneway, keys):
    """Callers that go on asking; each takes the newest of ``keys``.  Yields statuses by key."""
    seen = Counter()

    async def call(client, place):
        while True:
            key = keys[min(place, len(keys) - 1)]
            answer = await ask(client, laneway, key)
            seen[key, answer.status_code] += 1

    async with httpx.AsyncClient() as client:
        # The first half moves on to a successor at once, the others keep what they have.
        callers = [asyncio.create_task(call(client, n * 2 // CALLERS)) for n in range(CALLERS)]
        yield seen
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        assert all(caller.cancelled() for caller in callers)


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_rotation_under_load_is_noticed_by_nobody_and_now_stops_the_old_key(laneway, robot):
    old = issue(robot, "busy-1")
    keys = [old["key"]]
    await until(lambda: ask(httpx, laneway, old["key"]).status_code == 200)
    loop = asyncio.get_running_loop()

    async with traffic(laneway, keys) as seen:
        await until(lambda: seen[old["key"], 200] > 20)
        new = await asyncio.to_thread(rotate, robot, old, 1)
        await until(lambda: ask(httpx, laneway, new["key"]).status_code == 200)
        keys.append(new["key"])
        before = seen[old["key"], 200]
        await until(lambda: seen[new["key"], 200] > 20 and seen[old["key"], 200] > before + 20)
        assert {status for _, status in seen} == {200}

        await asyncio.to_thread(robot.post, f"/keys/{old['id']}/revoke", json={"reason": "moved"})
        begun = loop.time()
        await until(lambda: seen[old["key"], 401])
        assert loop.time() - begun < IN_FORCE_S
        newest = await asyncio.to_thread(rotate, robot, new, 0)
        await until(lambda: seen[new["key"], 401])
        assert ask(httpx, laneway, newest["key"]).status_code == 200


def test_no_secret_is_left_anywhere(laneway, robot, admin):
    page = sent(
        admin, "/tenant/default/keys/new/", name="by page", term="30", ceiling="10", kind="live"
    )
    keys = [re.search(r"lw_live_\w{58}", page.text)[0]]
    rotated = sent(
        admin,
        f"/tenant/default/keys/{keys[0].split('_')[2]}/rotate/",
        overlap="24",
        name="by page 2",
    )
    keys.append(re.search(r"lw_live_\w{58}", rotated.text)[0])
    issued = issue(robot, "by API")
    successor = rotate(robot, issued, 24)
    keys += [issued["key"], successor["key"], robot.headers["Authorization"].split()[1]]
    answers = [
        ask(httpx, laneway, key, **more)
        for key in keys
        for more in ({}, {"model": "none"}, {"messages": 3})
    ]
    swapped = keys[0][:-1] + ("0" if keys[0][-1] != "0" else "1")
    answers += [ask(httpx, laneway, swapped), robot.get("/keys/nobody")]
    answers += [
        robot.get("/tenants", headers={"Authorization": f"Bearer {key}"}) for key in keys[:3]
    ]
    why = {"reason": f"{keys[2]} was in a chat"}
    answers.append(robot.post(f"/keys/{issued['id']}/revoke", json=why))
    assert {200, 400, 401, 403, 404} <= {answer.status_code for answer in answers}

    answers += [
        admin.get(path)
        for path in (
            "/tenant/default/",
            f"/tenant/default/keys/{issued['id']}/edit/",
            f"/tenant/default/keys/{keys[1].split('_')[2]}/rotate/",
            "/audit/",
            "/audit/audit.csv",
            "/audit/audit.jsonl",
        )
    ]
    assert "was in a chat" in answers[-1].text
    secrets = [key.split("_")[3][:43] for key in keys]
    told = [answer.request.url for answer in answers if any(s in answer.text for s in secrets)]
    files = [path for path in laneway.home.rglob("*") if path.is_file()]
    kept = [path for path in files if any(s.encode() in path.read_bytes() for s in secrets)]

    assert (told, kept) == ([], [])
    assert any(path.suffix == ".sqlite3" for path in files)
    assert "all sound" in laneway.manage("auditcheck")
