"""The rows the gateway works from: who may ask, what the policy says, where vLLM is, what was used.

What the token path needs of them it reads through ``auth.Directory``, never a row per request.
No clock and no network in this package.
"""

from gateway.models.announced import Revision
from gateway.models.backends import Backend, BackendRow
from gateway.models.history import QueueSample, UsageRecord
from gateway.models.policies import Immutable, PolicyVersion
from gateway.models.tenants import APIKey, Tenant

__all__ = [
    "APIKey",
    "Backend",
    "BackendRow",
    "Immutable",
    "PolicyVersion",
    "QueueSample",
    "Revision",
    "Tenant",
    "UsageRecord",
]
