"""A gateway tells the pages that it runs, and by which revision it decides."""

from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from gateway.auth import EMPTY, Directory
from gateway.core.snapshot import Frame
from gateway.models import GatewayState
from gateway.models.running import LIVE_FOR
from gateway.presence import Presence

FRAME = Frame(seq=1, at=0.0, epoch="e", policy_version=0, pools=())


class Telling:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 26, tzinfo=UTC).timestamp()
        self.directory = Directory(EMPTY._replace(revision=7, policy_version=3))
        self.presence = Presence(self.directory, lambda: self.now)

    async def tell(self) -> None:
        await self.presence.tell(FRAME)


@pytest.fixture
async def telling(transactional_db):
    telling = Telling()
    yield telling
    await telling.presence.leave()
    telling.presence.close()
    telling.directory.close()


async def rows() -> list[tuple[int, int]]:
    return await sync_to_async(list)(GatewayState.objects.values_list("revision", "policy_version"))


async def seen_at() -> float:
    return (await GatewayState.objects.aget()).seen_at.timestamp()


async def test_a_change_is_told_at_once_and_the_rest_every_other_second(telling):
    began = telling.now
    await telling.tell()
    telling.now += 1.0
    await telling.tell()
    assert await seen_at() == began  # nothing to say

    telling.directory.state = telling.directory.state._replace(revision=8)
    await telling.tell()
    assert (await rows(), await seen_at()) == ([(8, 3)], began + 1.0)
    telling.now += 2.0
    await telling.tell()
    assert (len(await rows()), await seen_at()) == (1, began + 3.0)


async def test_one_that_ends_is_gone_and_one_that_died_goes_with_the_next_start(telling):
    await sync_to_async(GatewayState.objects.create)(
        name="died", pid=1, revision=1, policy_version=1, seen_at=datetime(2026, 11, 25, tzinfo=UTC)
    )
    await telling.tell()
    assert await rows() == [(7, 3)]
    await telling.presence.leave()
    assert await rows() == []


@pytest.mark.django_db
def test_a_change_is_in_force_where_its_revision_was_reached():
    now = timezone.now()
    for name, revision, seen_at in (
        ("one", 8, now),
        ("two", 7, now),
        ("silent", 8, now - LIVE_FOR - timedelta(seconds=1)),
    ):
        GatewayState.objects.create(
            name=name, pid=1, revision=revision, policy_version=3, seen_at=seen_at
        )
    of_revision = GatewayState.objects.all().of_revision

    assert of_revision(8, now) == (2, 1)
    assert of_revision(7, now).everywhere
    assert not of_revision(8, now).everywhere
    assert not of_revision(7, now + timedelta(minutes=1)).everywhere
