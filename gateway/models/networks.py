"""From which networks keys are used: for those who own the keys, nothing is decided by it."""

from collections.abc import Mapping
from datetime import datetime
from ipaddress import IPv6Address, ip_address, ip_network

from django.db import models

MOST = 60  # characters of a network


class KeyNetworks(models.QuerySet["KeyNetwork"]):
    def note(self, seen_at: Mapping[tuple[str, str], datetime]) -> None:
        """Remember uses, by a key's id and the network; those that are known only move in time."""
        self.bulk_create(
            [
                KeyNetwork(key_id8=id8, network=network, first_seen_at=at, last_seen_at=at)
                for (id8, network), at in seen_at.items()
            ],
            update_conflicts=True,
            unique_fields=["key_id8", "network"],
            update_fields=["last_seen_at"],
        )

    def of_key(self, id8: str) -> "KeyNetworks":
        return self.filter(key_id8=id8).order_by("-last_seen_at")

    def since(self, at: datetime) -> "KeyNetworks":
        return self.filter(last_seen_at__gte=at)

    def older_than(self, at: datetime) -> "KeyNetworks":
        return self.filter(last_seen_at__lt=at)


class KeyNetwork(models.Model):
    """A network that a key was used from.  Written by ``records.Recorder``; ``told`` by reminders."""

    key_id8 = models.CharField(max_length=8)
    network = models.CharField(max_length=MOST)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    told = models.BooleanField(default=False)  # its owner has heard of it, or need not

    objects = KeyNetworks.as_manager()

    class Meta:
        ordering = ["key_id8", "first_seen_at"]
        constraints = [
            models.UniqueConstraint(fields=["key_id8", "network"], name="network_once_a_key")
        ]
        indexes = [models.Index(fields=["told"], name="network_told")]

    def __str__(self) -> str:
        return f"{self.key_id8} from {self.network}"


def network_of(address: str) -> str:
    """What an address belongs to for people: its /24, or its /64 in IPv6.  "" for what is none."""
    try:
        peer = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(peer, IPv6Address):
        if peer.ipv4_mapped is None:
            return str(ip_network((peer, 64), strict=False))
        peer = peer.ipv4_mapped
    return str(ip_network((peer, 24), strict=False))
