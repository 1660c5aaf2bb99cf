"""A tenant's page says on how many of the running gateways a change of its keys holds."""

import pytest
from django.utils import timezone

from gateway.models import APIKey, GatewayState, Revision
from tests.support.people import person

pytestmark = pytest.mark.django_db


def gateway(name: str, revision: int) -> None:
    GatewayState.objects.create(
        name=name, pid=1, revision=revision, policy_version=1, seen_at=timezone.now()
    )


def test_a_revocation_is_followed_until_it_holds_on_all(client, acme):
    key, _ = APIKey.objects.issue(acme, "prod")
    client.force_login(person("ada", "admin"))
    assert b"no gateway runs" in client.get("/tenant/acme/").content
    before = Revision.current()
    gateway("one", before)
    gateway("two", before)
    client.post(f"/tenant/acme/keys/{key.id8}/revoke/", {"reason": "it leaked"})

    page = client.get("/tenant/acme/").content.decode()
    assert "in force on 0/2 gateways" in page
    again = f"/tenants/in-force/?revision={Revision.current()}"
    assert again in page
    GatewayState.objects.filter(name="one").update(revision=Revision.current())
    part = client.get(again).content.decode()
    assert "in force on 1/2 gateways" in part
    assert "every 1s" in part
    GatewayState.objects.update(revision=Revision.current() + 3)
    part = client.get(again).content.decode()
    assert "in force on 2/2 gateways" in part
    assert "every 1s" not in part


@pytest.mark.parametrize("said", ["", "?revision=x", "?revision=-1", f"?revision={'9' * 40}"])
def test_a_number_that_is_none_asks_for_the_first(client, said):
    client.force_login(person("ada", "admin"))
    gateway("one", 1)

    assert b"in force on 1/1 gateway" in client.get(f"/tenants/in-force/{said}").content
