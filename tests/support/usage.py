"""Finished requests, as the gateway would have recorded them."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from gateway.models import Tenant, UsageRecord


def used(
    tenant: Tenant, id8: str, *, times: int = 1, ago: timedelta = timedelta(), **columns: Any
) -> None:
    said = {
        "request_id": "req_1",
        "arrived_at": timezone.now() - ago,
        "tenant": tenant,
        "key_id8": id8,
        "endpoint": "/v1/chat/completions",
        "model": "qwen",
        "task_type": "chat",
        "tier": "standard",
        "reason": "",
        "policy_version": 1,
        "backend": "gpu-1",
        "outcome": "completed",
        "code": "",
        "status": 200,
        "stream": False,
        "e2e_s": 0.041,
        "prompt_tokens": 10,
        "completion_tokens": 5,
    }
    UsageRecord.objects.bulk_create(UsageRecord(**{**said, **columns}) for _ in range(times))
