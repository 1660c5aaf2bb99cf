"""What is judged, what fires, who was told and who took it on.  Pure judgement is ``rules``'s."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse

from dashboard.alerts import rules
from dashboard.alerts.hours import ALWAYS, parsed
from dashboard.alerts.metrics import METRICS, MOST_URGENT, Metric
from dashboard.delivery.models import Channel
from gateway.models.announced import is_slug

SEVERITIES = [("warn", "warn"), ("crit", "crit")]
# Of an incident's timeline, of what the evaluator writes.  Flapping writes some 1,000 lines a day.
FIRST_LINES, LAST_LINES = 100, 200


class RuleRows(models.QuerySet["Rule"]):
    def enabled(self) -> "RuleRows":
        return self.filter(enabled=True)


class Rule(models.Model):
    """One sentence: when this metric of that tier is over a level for so long, tell those.

    Thresholds are in the metric's unit (seconds, shares, counts), or, with ``of_target``, in target
    waits of the tier that is judged.  ``edit`` counts its saves: the lock of two open pages.
    """

    class NoData(models.TextChoices):
        OK = "ok", "is fine"
        KEEP = "keep", "changes nothing"
        ALERT = "alert", "is an alert"

    name = models.CharField(max_length=80, unique=True)
    metric = models.CharField(max_length=32)
    pool = models.CharField(max_length=63, blank=True, validators=[is_slug])  # "" is each
    tier = models.CharField(max_length=32, blank=True)  # "" is each, MOST_URGENT the first
    of_target = models.BooleanField(default=False)
    warn = models.FloatField(null=True, blank=True)
    warn_for_s = models.FloatField(default=60)
    crit = models.FloatField(null=True, blank=True)
    crit_for_s = models.FloatField(default=60)
    clear_share = models.FloatField(default=0.8)
    keep_s = models.FloatField(default=120)
    no_data = models.CharField(max_length=8, choices=NoData, default=NoData.OK)
    hours = models.CharField(max_length=60, default=ALWAYS)
    runbook = models.URLField(max_length=500, blank=True)
    hidden_while = models.ForeignKey("self", models.SET_NULL, null=True, blank=True)
    enabled = models.BooleanField(default=True)
    edit = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=300, blank=True)  # why it cannot be judged
    warn_channels = models.ManyToManyField(Channel, blank=True, related_name="+")
    crit_channels = models.ManyToManyField(Channel, blank=True, related_name="+")

    objects = RuleRows.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(warn__isnull=False) | Q(crit__isnull=False), name="rule_has_a_level"
            ),
            models.CheckConstraint(
                condition=Q(clear_share__gt=0, clear_share__lte=1), name="rule_clear_share"
            ),
            models.CheckConstraint(
                condition=Q(no_data__in=["ok", "keep", "alert"]), name="rule_no_data"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def judged(self) -> Metric:
        """What nobody knows any more is shown by its key, and never judged."""
        return METRICS.get(self.metric) or Metric(self.metric, self.metric, "count", "")

    @property
    def what_to_do(self) -> str:
        """A whole address: its own runbook, else its metric's section in Laneway's."""
        own = f"{settings.LANEWAY_URL}{reverse('alerts:runbook')}#{self.metric}"
        return self.runbook or own

    @property
    def most_urgent(self) -> bool:
        return self.tier == MOST_URGENT

    def threshold(self, severity: str, target_wait_s: float | None) -> float | None:
        """In the metric's unit.  None: this level is not judged here."""
        value = self.crit if severity == "crit" else self.warn
        if value is None or not self.of_target:
            return value
        return value * target_wait_s if target_wait_s else None

    def as_rule(self, target_wait_s: float | None) -> rules.Rule:
        below = self.judged.below

        def level(severity: str, for_s: float) -> rules.Level | None:
            threshold = self.threshold(severity, target_wait_s)
            if threshold is None:
                return None
            return rules.level(threshold, for_s, self.clear_share, below=below)

        return rules.Rule(
            warn=level("warn", self.warn_for_s),
            crit=level("crit", self.crit_for_s),
            below=below,
            keep_s=self.keep_s,
            no_data=self.no_data,  # type: ignore[arg-type] # the column's constraint
            hours=parsed(self.hours),
        )

    def channels(self, severity: str) -> list[Channel]:
        """Whom a message of this severity reaches: crit also goes where warn went, so that those
        who heard of the beginning hear of the end."""
        rows = list(self.warn_channels.all())
        if severity == "crit":
            rows += [one for one in self.crit_channels.all() if one not in rows]
        return rows


class IncidentRows(models.QuerySet["Incident"]):
    def open(self) -> "IncidentRows":
        return self.filter(closed_at=None)


class Incident(models.Model):
    """From the first alert of a rule in a pool to the last: what one message is about.

    ``said`` counts the messages and is the lock of those who would send the next one.
    """

    rule = models.ForeignKey(Rule, models.SET_NULL, null=True, related_name="incidents")
    rule_name = models.CharField(max_length=80)
    pool = models.CharField(max_length=63, blank=True)
    severity = models.CharField(max_length=4, choices=SEVERITIES)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, db_index=True)
    moves = models.PositiveIntegerField(default=0)
    said = models.PositiveIntegerField(default=0)
    said_at = models.DateTimeField(null=True)
    said_severity = models.CharField(max_length=4, blank=True)
    said_of = models.JSONField(default=list)  # instances
    said_flapping = models.BooleanField(default=False)
    said_to = models.JSONField(default=list)  # ids of channels: whoever heard of it hears its end
    left_out = models.PositiveIntegerField(default=0)  # lines, between the first and the last kept
    acks = models.PositiveIntegerField(default=0)  # an ack link is good for one number
    acked_by = models.CharField(max_length=150, blank=True)
    acked_at = models.DateTimeField(null=True)
    acked_until = models.DateTimeField(null=True)  # None: until it is resolved
    acked_severity = models.CharField(max_length=4, blank=True)

    objects = IncidentRows.as_manager()

    class Meta:
        ordering = ["-opened_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "pool"],
                condition=Q(closed_at=None),
                name="one_open_incident_a_rule_and_pool",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rule_name}, {self.opened_at:%Y-%m-%d %H:%M}"

    def acked(self, now: datetime) -> bool:
        return self.acked_at is not None and (self.acked_until is None or self.acked_until > now)

    def tell(
        self,
        at: datetime,
        kind: str,
        text: str,
        *,
        severity: str = "",
        instance: str = "",
        by: str = "",
    ) -> None:
        """Add a line.  What comes and goes for days keeps its first and its last lines; those
        that people wrote or caused all stay."""
        self.events.create(
            at=at, kind=kind, text=text[:500], severity=severity, instance=instance, by=by[:150]
        )
        if by:
            return
        own = self.events.filter(by="").order_by("pk").values_list("pk", flat=True)
        middle = list(own[FIRST_LINES:])[:-LAST_LINES]
        if middle:
            self.events.filter(pk__in=middle).delete()
            Incident.objects.filter(pk=self.pk).update(left_out=F("left_out") + len(middle))


class AlertState(models.Model):
    """How one rule stands at one instance.  ``revision`` moves with each change, by a conditional
    UPDATE: of two evaluators that saw the same, one makes the change."""

    rule = models.ForeignKey(Rule, models.CASCADE, related_name="states")
    instance = models.CharField(max_length=100)  # pool/tier
    pool = models.CharField(max_length=63, blank=True)
    tier = models.CharField(max_length=32, blank=True)
    priority = models.SmallIntegerField(null=True)
    revision = models.PositiveIntegerField(default=0)
    state = models.JSONField(default=dict)
    severity = models.CharField(max_length=4, blank=True)
    phase = models.CharField(max_length=10, default="normal")
    since = models.DateTimeField(null=True)  # since when it fires
    value = models.FloatField(null=True)  # at the last change
    at_least = models.BooleanField(default=False)
    threshold = models.FloatField(null=True)
    note = models.CharField(max_length=300, blank=True)
    hidden_by = models.CharField(max_length=100, blank=True)
    incident = models.ForeignKey(Incident, models.SET_NULL, null=True, related_name="states")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rule", "instance"], name="one_state_an_instance")
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} at {self.instance}: {self.severity or self.phase}"

    def move(self, **values: Any) -> bool:
        """Make a change from what this copy says.  False: somebody was first, read it again."""
        mine = AlertState.objects.filter(pk=self.pk, revision=self.revision)
        if not mine.update(revision=F("revision") + 1, **values):
            return False
        self.revision += 1
        for name, value in values.items():
            setattr(self, name, value)
        return True


class AlertEvent(models.Model):
    """One line of an incident's timeline.  Never changed; of very many the middle is left out."""

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="events")
    at = models.DateTimeField()
    kind = models.CharField(max_length=16)
    instance = models.CharField(max_length=100, blank=True)
    severity = models.CharField(max_length=4, blank=True)
    text = models.CharField(max_length=500)
    by = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["at", "pk"]

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {self.text}"


class SilenceRows(models.QuerySet["Silence"]):
    def active(self, now: datetime) -> "SilenceRows":
        return self.filter(starts_at__lte=now, ends_at__gt=now)

    def ended_since(self, at: datetime, now: datetime) -> "SilenceRows":
        return self.filter(ends_at__gt=at, ends_at__lte=now)


class Silence(models.Model):
    """For a while nobody is told of what it matches.  An empty field matches everything."""

    rule = models.ForeignKey(Rule, models.CASCADE, null=True, blank=True, related_name="silences")
    pool = models.CharField(max_length=63, blank=True)
    tier = models.CharField(max_length=32, blank=True)
    severity = models.CharField(max_length=4, choices=SEVERITIES, blank=True)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(db_index=True)
    reason = models.CharField(max_length=300)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    announced = models.BooleanField(default=False)  # that it ends soon
    hid_at = models.DateTimeField(null=True)  # when it last hid something

    objects = SilenceRows.as_manager()

    class Meta:
        ordering = ["ends_at"]
        constraints = [
            models.CheckConstraint(condition=~Q(reason=""), name="silence_has_a_reason"),
            models.CheckConstraint(
                condition=Q(ends_at__gte=F("starts_at")), name="silence_ends_after_its_start"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.matcher} until {self.ends_at:%H:%M}"

    @property
    def matcher(self) -> str:
        """What it matches, in words."""
        parts = [self.rule.name if self.rule else "every rule"]
        parts += [f"tier {self.tier}"] if self.tier else []
        parts += [f"pool {self.pool}"] if self.pool else []
        parts += [f"{self.severity} only"] if self.severity else []
        return ", ".join(parts)

    def could_hide(self) -> list[Rule]:
        """Rules whose alerts it would match.  One of the most urgent tier may be of any."""
        rules = Rule.objects.enabled()
        if self.rule_id is not None:
            rules = rules.filter(pk=self.rule_id)
        if self.pool:
            rules = rules.filter(pool__in=["", self.pool])
        if self.tier:
            rules = rules.filter(tier__in=["", MOST_URGENT, self.tier])
            return [rule for rule in rules if rule.judged.of_tier or rule.judged.of_frame]
        return list(rules)

    def hides(self, state: AlertState) -> bool:
        return (
            self.rule_id in (None, state.rule_id)
            and self.pool in ("", state.pool)
            and self.tier in ("", state.tier)
            and self.severity in ("", state.severity)
        )


class AnnotationRows(models.QuerySet["Annotation"]):
    def between(self, since: datetime, until: datetime) -> "AnnotationRows":
        return self.filter(at__gte=since, at__lte=until)


class Annotation(models.Model):
    """A moment somebody marked, drawn on every chart."""

    at = models.DateTimeField(db_index=True)
    text = models.CharField(max_length=200)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)

    objects = AnnotationRows.as_manager()

    class Meta:
        ordering = ["-at"]
        constraints = [
            models.CheckConstraint(condition=~Q(text=""), name="annotation_says_something")
        ]

    def __str__(self) -> str:
        return self.text


class Heartbeat(models.Model):
    """When the rules were last judged, by whichever evaluator.  One row."""

    at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(pk=1), name="one_heartbeat")]

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S}"

    @classmethod
    def last(cls) -> datetime | None:
        return cls.objects.filter(pk=1).values_list("at", flat=True).first()

    @classmethod
    def beat(cls, at: datetime) -> None:
        if not cls.objects.filter(pk=1).update(at=at):
            cls.objects.get_or_create(pk=1, defaults={"at": at})


def hiding(silences: Iterable[Silence], state: AlertState) -> Silence | None:
    return next((silence for silence in silences if silence.hides(state)), None)
