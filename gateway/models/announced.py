"""Rows whose change a running gateway must hear of.

A change of an ``Announced`` row moves the ``Revision`` in the same transaction.  The gateway asks
for that one number each second, and reads everything anew when it moved.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

from django.core.validators import RegexValidator
from django.db import models, transaction
from django.db.models import F, Q

Row = TypeVar("Row", bound=models.Model, covariant=True)

is_slug = RegexValidator(r"^[a-z0-9][a-z0-9-]{0,62}\Z", "Use a-z, 0-9 and -, at most 63 of them.")


class Revision(models.Model):
    """One row with one number, moved by every change that a running gateway must hear of."""

    number = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(pk=1), name="one_revision")]

    def __str__(self) -> str:
        return str(self.number)

    @classmethod
    def current(cls) -> int:
        return cls.objects.filter(pk=1).values_list("number", flat=True).first() or 0

    @classmethod
    def move(cls) -> None:
        """Count one up.  First in its transaction: the row's lock puts all changes in a line."""
        row = cls.objects.filter(pk=1)
        if not row.update(number=F("number") + 1):
            cls.objects.get_or_create(pk=1)
            row.update(number=F("number") + 1)


class AnnouncedRows(models.QuerySet[Row]):
    """Changes of many rows at once are announced like those of one."""

    def update(self, **values: Any) -> int:
        with transaction.atomic(self.db):
            Revision.move()
            return super().update(**values)

    def delete(self) -> tuple[int, dict[str, int]]:
        with transaction.atomic(self.db):
            Revision.move()
            return super().delete()

    delete.queryset_only = True  # type: ignore[attr-defined] # else a manager deletes everything

    def bulk_create(self, objs: Iterable[Row], *args: Any, **options: Any) -> list[Row]:
        with transaction.atomic(self.db):
            Revision.move()
            return super().bulk_create(objs, *args, **options)


class Announced(models.Model):
    """A row whose change reaches running gateways within a second."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            Revision.move()
            super().save(*args, **options)

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            Revision.move()
            return super().delete(*args, **options)
