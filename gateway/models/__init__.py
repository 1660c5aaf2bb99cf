"""The rows the gateway works from: who may ask, what the policy says, where vLLM is, what was used.

What the token path needs of them it reads through ``auth.Directory``, never a row per request.
No clock and no network in this package.
"""

from gateway.models.announced import Revision
from gateway.models.backends import Backend, BackendRow
from gateway.models.buckets import KEPT_S, QueueBucket
from gateway.models.history import (
    Grouping,
    QueueSample,
    UsageRecord,
    UsageRows,
    Used,
    UsedInADay,
)
from gateway.models.networks import KeyNetwork, network_of
from gateway.models.overrides import Override, OverrideRow
from gateway.models.policies import Immutable, PolicyVersion, Rollout, policy_of
from gateway.models.reports import TierDay
from gateway.models.running import TOLD_EVERY_S, GatewayState, InForce
from gateway.models.shadows import Shadow, ShadowCount, ShadowRow
from gateway.models.tenants import AlreadyRotated, APIKey, Tenant

__all__ = [
    "KEPT_S",
    "TOLD_EVERY_S",
    "APIKey",
    "AlreadyRotated",
    "Backend",
    "BackendRow",
    "GatewayState",
    "Grouping",
    "Immutable",
    "InForce",
    "KeyNetwork",
    "Override",
    "OverrideRow",
    "PolicyVersion",
    "QueueBucket",
    "QueueSample",
    "Revision",
    "Rollout",
    "Shadow",
    "ShadowCount",
    "ShadowRow",
    "Tenant",
    "TierDay",
    "UsageRecord",
    "UsageRows",
    "Used",
    "UsedInADay",
    "network_of",
    "policy_of",
]
