"""Celery's broker on a folder: a message is seen whole or not at all."""

import pytest
from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps

from dashboard import broker, celery_app


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tasks").mkdir()
    return tmp_path


@pytest.fixture
def channel(folder):
    options = {
        "data_folder_in": str(folder / "tasks"),
        "data_folder_out": str(folder / "tasks"),
        "control_folder": str(folder / "control"),
    }
    with celery_app.connection_for_write("filesystem://", transport_options=options) as connection:
        yield connection.default_channel


def test_celery_uses_it(channel):
    assert type(channel) is broker.Channel


def test_a_message_comes_as_it_went(channel, folder):
    channel._put("celery", {"task": "look", "n": 1})
    channel._put("celery", {"task": "look", "n": 2})

    assert [channel._get("celery")["n"] for _ in range(2)] == [1, 2]
    assert not list((folder / "tasks").iterdir())


@pytest.mark.parametrize("module", [broker, filesystem])
def test_nothing_is_there_to_take_while_it_is_written(channel, folder, module, monkeypatch):
    seen = []

    def looking(payload):
        seen.extend((folder / "tasks").glob("*.msg"))
        return dumps(payload)

    monkeypatch.setattr(module, "dumps", looking)

    channel._put("celery", {"task": "look"})

    assert seen == []


def test_a_folder_that_is_gone_is_told(channel, folder):
    (folder / "tasks").rmdir()

    with pytest.raises(ChannelError, match="Cannot write"):
        channel._put("celery", {})
