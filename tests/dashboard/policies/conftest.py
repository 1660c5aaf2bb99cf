"""Ada (admin), Otto (on call), a viewer and a person of a tenant; one published version."""

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache

from gateway.core.policy import default_policy
from gateway.models import PolicyVersion


@pytest.fixture(autouse=True)
def first(db):
    cache.clear()
    yield PolicyVersion.objects.publish(default_policy(), "the first")
    cache.clear()


@pytest.fixture
def person(db):
    def make(name, role=""):
        user = User.objects.create_user(name)
        if role:
            user.groups.add(Group.objects.get_or_create(name=role)[0])
        return user

    return make


@pytest.fixture
def ada(person):
    return person("ada", "admin")


@pytest.fixture
def otto(person):
    return person("otto", "on-call")


@pytest.fixture
def as_ada(client, ada):
    client.force_login(ada)
    return client


@pytest.fixture
def sent():
    """Send a page of the draft as its form would: all its inputs, with some changed."""

    def send(client, section, changes, headers=None, **more):
        path = f"/policy/draft/{section}/"
        page = client.get(path)
        values = {
            cell.name: cell.text
            for group in page.context["groups"]
            for cell in group.every_cell
            if cell.kind != "switch" or cell.text
        }
        values |= {"edit": page.context["draft"].edit, **changes, **more}
        return client.post(path, values, headers=headers or {})

    return send
