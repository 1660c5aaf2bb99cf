"""The rules every installation begins with, each against what it is there for."""

from datetime import timedelta

import pytest

from dashboard.alerts import watch
from dashboard.alerts.models import Incident, Rule
from dashboard.delivery.message import Message
from dashboard.delivery.models import LEASE, Delivery
from dashboard.delivery.posting import post
from gateway.core.snapshot import BurnView, LostView
from tests.dashboard.alerts.conftest import at, frame, play

pytestmark = pytest.mark.django_db


def burn(**over):
    return {"burn": BurnView(**{"m5": 0.5, "m30": 0.5, "h1": 0.5, "h6": 0.5} | over)}


@pytest.mark.parametrize(
    ("tier", "said", "fires"),
    [
        ("batch", {"passed_over_s": 301.0}, {"Passed over while others go": "warn"}),
        ("background", {"passed_over_s": 901.0}, {"Passed over while others go": "crit"}),
        ("batch", {"passed_over_s": 200.0}, {}),
        ("batch", {"bound_used": 0.85}, {"Starvation: the bound is near": "warn"}),
        ("batch", {"bound_used": 1.01}, {"Starvation: the bound is near": "crit"}),
        ("batch", {"bound_used": 0.6}, {}),
        ("standard", burn(h1=15.0, m5=15.0), {"Target wait missed too often": "crit"}),
        ("standard", burn(h1=15.0, m5=2.0), {}),  # it is over already
        ("standard", burn(h1=9.0, m5=30.0), {}),  # not for long enough to matter
        ("standard", burn(h6=7.0, m30=7.0), {"Target wait missed for hours": "warn"}),
        ("standard", burn(h6=7.0, m30=1.0), {}),
        ("standard", burn(h1=13.0, m5=50.0, h6=3.0, m30=20.0), {}),
        ("realtime", {"oldest_s": 2.5}, {"Oldest waiting, most urgent tier": "warn"}),
        ("realtime", {"oldest_s": 7.0}, {"Oldest waiting, most urgent tier": "crit"}),
        ("standard", {"p95": 130}, {"Wait p95 against the target wait": "crit"}),
        ("standard", {"waiting": 750}, {"Queue against its limit": "warn"}),
        ("standard", {"waiting": 960}, {"Queue against its limit": "crit"}),
        (
            "realtime",
            {"lost_per_min": LostView(rejected=1, expired=0, evicted=0, cancelled=0)},
            {"Refused in the most urgent tier": "crit"},
        ),
    ],
)
def test_a_shipped_rule_fires_at_what_it_is_there_for(db, tier, said, fires):
    play(range(0, 130, 9), **{tier: said})  # a longer step would be a gap, which begins anew

    assert dict(Incident.objects.values_list("rule_name", "severity")) == fires


def test_a_message_that_no_worker_tries_is_an_alert_and_one_that_waits_its_turn_is_none(
    db, channel, time_machine
):
    time_machine.move_to(at(0), tick=False)
    post(Message("firing", "warn", "one", at=at(0)), [channel], "incident-1-1")
    play(range(14))
    assert not Incident.objects.exists()
    play(range(14, 40))
    assert Incident.objects.get().rule_name == "Notifier silent"

    one = Delivery.objects.get()
    assert one.claim(at(40))  # a worker is back, and has it
    post(Message("firing", "warn", "two", at=at(0)), [channel], "incident-1-2")
    watch.judge(frame(41))
    assert Incident.objects.open().count() == 0

    later = 42 + int(LEASE / timedelta(seconds=1))
    play(range(later, later + 30))  # and died over it
    assert Incident.objects.open().count() == 1


def test_fifteen_rules_are_shipped_and_no_two_of_one_name(db):
    assert Rule.objects.count() == 15
    assert Rule.objects.get(metric="burn").warn is None
