"""The audit trail: what is written, that it cannot change, and that a check finds what did."""

import json

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from dashboard.audit import chain
from dashboard.audit.log import changed, record
from dashboard.audit.models import AppendOnly, AuditEvent, AuditHead, AuditLook
from dashboard.audit.tasks import look_at_the_chain
from gateway import keys
from tests.support.people import member, person

pytestmark = pytest.mark.django_db


@pytest.fixture
def five():
    for n in range(1, 6):
        record("ada", "tenant.created", f"tenant:t{n}", after={"name": f"Ünïcode {n}", "n": n / 3})


def check(capsys, *arguments) -> str:
    call_command("auditcheck", *arguments)
    return capsys.readouterr().out


def broken(*arguments) -> str:
    with pytest.raises(CommandError) as error:
        call_command("auditcheck", *arguments)
    return str(error.value)


def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_an_untouched_trail_is_sound(five, capsys):
    newest = AuditEvent.objects.get(number=5)

    assert check(capsys).strip() == f"5 rows, all sound. Newest: 5:{newest.hash}"
    assert [row.prev for row in AuditEvent.objects.filter(number__gt=1).order_by("number")] == [
        row.hash for row in AuditEvent.objects.filter(number__lt=5).order_by("number")
    ]


def test_an_empty_trail_is_sound(capsys):
    assert check(capsys).startswith("0 rows, all sound")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", "'ben'"),
        ("verb", "'tenant.resumed'"),
        ("object", "'tenant:t9'"),
        ("reason", "'because'"),
        ("address", "'10.0.0.1'"),
        ("after", """'{"name": "Other"}'"""),
        ("at", "'2020-01-01 00:00:00'"),
        ("tenant", "'acme'"),
    ],
)
def test_a_changed_row_is_named(five, column, value):
    sql(f"UPDATE audit_auditevent SET {column} = {value} WHERE number = 3")

    assert broken().startswith("Row 3 was changed")


def test_a_row_changed_with_its_hash_breaks_the_link_of_the_next(five):
    row = AuditEvent.objects.get(number=3)
    row.actor = "ben"
    sql(f"UPDATE audit_auditevent SET actor = 'ben', hash = '{row.sealed()}' WHERE number = 3")

    assert broken().startswith("Row 4 does not follow row 3")


def test_a_missing_row_is_named(five):
    sql("DELETE FROM audit_auditevent WHERE number = 2")

    assert broken().startswith("Row 2 is missing: row 3 follows 1.")


def test_a_cut_off_end_is_named(five):
    sql("DELETE FROM audit_auditevent WHERE number > 3")

    assert broken().startswith("Row 4 is missing: rows up to 5 were cut off.")


def test_a_cut_that_moved_the_head_is_found_by_what_was_noted(five, capsys):
    noted = check(capsys).split()[-1]
    kept = AuditEvent.objects.get(number=3)
    sql("DELETE FROM audit_auditevent WHERE number > 3")
    sql(f"UPDATE audit_audithead SET number = 3, hash = '{kept.hash}'")
    assert check(capsys).startswith("3 rows, all sound")

    assert broken("--noted", noted).startswith("Row 4 is missing")


def test_a_chain_written_anew_is_found_by_what_was_noted(five, capsys):
    noted = check(capsys).split()[-1]
    sql("DELETE FROM audit_auditevent")
    sql("DELETE FROM audit_audithead")
    for n in range(5):
        record("ben", "tenant.created", f"tenant:other{n}")
    assert check(capsys).startswith("5 rows, all sound")

    assert broken("--noted", noted).startswith("Row 5 is not the row that was noted")


def test_a_trail_without_its_head_is_no_sound_trail(five):
    sql("DELETE FROM audit_audithead")

    assert "The head is missing" in broken()


def test_rows_neither_change_nor_go(five):
    row = AuditEvent.objects.get(number=1)
    row.actor = "ben"

    for act in (
        row.save,
        row.delete,
        AuditEvent.objects.all().delete,
        lambda: AuditEvent.objects.update(actor="ben"),
    ):
        with pytest.raises(AppendOnly):
            act()


def test_an_act_that_is_rolled_back_is_not_told():
    with transaction.atomic():
        record("ada", "tenant.created", "tenant:acme")
        transaction.set_rollback(True)

    assert (AuditEvent.objects.count(), AuditHead.objects.count()) == (0, 0)


def test_secrets_are_masked_wherever_somebody_put_them():
    whole = keys.mint("live").whole
    event = record(
        "ada",
        "key.edited",
        f"key:{whole}",
        before={"password": "hunter2", "nested": [{"digest": "abc", "note": f"it is {whole}"}]},
        reason=f"leaked {whole} in chat",
    )

    event.refresh_from_db()
    text = json.dumps(event.document())
    assert whole[17:] not in text
    assert "hunter2" not in text
    assert "abc" not in text
    assert event.reason == f"leaked {whole[:16]}_… in chat"


def test_only_what_differs_is_told():
    assert changed({"a": 1, "b": 2}, {"a": 1, "b": 3}) == ({"b": 2}, {"b": 3})


def test_the_newest_hash_goes_to_the_log_too(caplog, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True), caplog.at_level("INFO"):
        event = record("ada", "tenant.created", "tenant:acme")

    assert f"audit 1 {event.hash}" in caplog.text


def test_a_save_in_the_break_glass_pages_is_told(client, acme):
    root = person("root")
    root.is_staff = root.is_superuser = True
    root.save()
    client.force_login(root)
    form = {"slug": "acme", "name": "Renamed", "status": "active"}

    client.post(f"/_admin/gateway/tenant/{acme.pk}/change/", form)

    told = AuditEvent.objects.get(verb="breakglass.saved")
    assert (told.actor, told.object) == ("root", "tenant:acme")


def test_the_nightly_look_keeps_what_it_found_and_the_page_tells_a_break(five, client, caplog):
    client.force_login(person("vic", "security"))
    look_at_the_chain()
    sound = AuditLook.objects.get()
    assert (sound.rows, sound.broken) == (6, "")  # the sign-in is one
    assert "6 were sound at" in client.get("/audit/").content.decode()

    sql("UPDATE audit_auditevent SET actor = 'ben' WHERE number = 3")
    look_at_the_chain()

    look = AuditLook.objects.get()
    assert look.broken.startswith("Row 3 was changed")
    assert "Row 3 was changed" in caplog.text
    html = client.get("/audit/").content.decode()
    assert "The trail is broken" in html
    assert "Row 3 was changed" in html


def test_a_chain_written_anew_does_not_pass_by_the_look_of_the_night_before(five):
    look_at_the_chain()
    sql("DELETE FROM audit_auditevent")
    sql("DELETE FROM audit_audithead")
    for n in range(6):
        record("ben", "tenant.created", f"tenant:x{n}")

    for _ in range(2):  # the next night too: nobody mended it
        look_at_the_chain()
        assert "is not the row that was noted" in AuditLook.objects.get().broken


def test_of_a_tenant_s_people_nobody_hears_of_the_whole_chain(five, client, acme):
    AuditLook.objects.create(pk=1, at=timezone.now(), rows=2, newest="", broken="Row 3 is bad.")
    client.force_login(member("tess", acme))

    assert "broken" not in client.get("/audit/").content.decode()


def test_what_is_written_while_the_check_reads_breaks_nothing(five, monkeypatch):
    read = AuditEvent.sealed

    def sealed(row):
        if row.number == 5 and not AuditEvent.objects.filter(number=6).exists():
            monkeypatch.setattr(AuditEvent, "sealed", read)
            record("ada", "tenant.created", "tenant:late")
        return read(row)

    monkeypatch.setattr(AuditEvent, "sealed", sealed)

    assert chain.check().broken == ""


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("7f3a0c9e-11", "7f3a0c9e-11"),
        ("short", ""),
        ("an id with spaces", ""),
        ("<b>markup</b>", ""),
        ("x" * 129, ""),
    ],
)
def test_a_row_holds_the_request_s_id_where_it_is_one(rf, said, kept):
    record("ada", "tenant.created", "tenant:acme", request=rf.post("/", HTTP_X_REQUEST_ID=said))

    assert AuditEvent.objects.get().request_id == kept
