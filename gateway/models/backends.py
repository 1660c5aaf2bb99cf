"""Where the vLLM servers are, and what an administrator knows of them."""

from typing import NamedTuple
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from gateway.core.snapshot import SchedulingPolicy
from gateway.models.announced import Announced, AnnouncedRows, is_slug

_looks_like_address = RegexValidator(
    r"^https?://[^\s/?#@]+(/[^\s?#]*)?\Z", "Use http://host:port, perhaps /prefix."
)


def is_address(url: str) -> None:
    _looks_like_address(url)
    try:
        urlsplit(url).port  # noqa: B018 -- raises for one that is none
    except ValueError as error:
        raise ValidationError(f"{error}.") from None


class BackendRow(NamedTuple):
    """A backend as the gateway works from it: a value, so that two can be compared."""

    name: str
    pool: str
    url: str
    scheduling_policy: SchedulingPolicy
    max_in_flight: int | None
    enabled: bool


class BackendRows(AnnouncedRows["Backend"]):
    def as_rows(self) -> tuple[BackendRow, ...]:
        return tuple(BackendRow(*row) for row in self.values_list(*BackendRow._fields))


class Backend(Announced):
    """A vLLM server: where it is, and what an administrator knows of it."""

    class SchedulingPolicy(models.TextChoices):
        PRIORITY = "priority"
        FCFS = "fcfs", "FCFS"
        UNKNOWN = "unknown"

    name = models.CharField(max_length=63, unique=True, validators=[is_slug])
    pool = models.CharField(max_length=63, default="default", validators=[is_slug])
    url = models.CharField(max_length=500, validators=[is_address])
    scheduling_policy = models.CharField(
        max_length=16, choices=SchedulingPolicy, default=SchedulingPolicy.UNKNOWN
    )
    max_in_flight = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)]
    )
    enabled = models.BooleanField(default=True)

    objects = BackendRows.as_manager()

    class Meta:
        ordering = ["pool", "name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(scheduling_policy__in=["priority", "fcfs", "unknown"]),
                name="backend_scheduling_policy",
            ),
            models.CheckConstraint(
                condition=Q(max_in_flight=None) | Q(max_in_flight__gte=1),
                name="backend_max_in_flight_at_least_one",
            ),
        ]

    def __str__(self) -> str:
        return self.name
