"""What an empty installation starts with, and what the demonstration adds.

Each function may run at every start: it adds what is missing and leaves what people made.
"""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit

from django.contrib.auth.models import Group, User
from django.db import transaction
from django.utils.crypto import get_random_string
from msgspec.structs import replace

from gateway.core.policy import KeyRules, TenantRules, default_policy
from gateway.models import APIKey, Backend, PolicyVersion, Tenant

SIMULATED = "simvllm"
FIRST_ROLES = ("admin", "security")  # nobody else could give them
DEMO_KEY = "demo "  # followed by the moment: a key of that name is replaced at the next start
DEMO_TENANTS = {
    "acme": (
        "Acme: an assistant and its editor",
        TenantRules(weight=200, task_types={"chat": "realtime", "code_generation": "critical"}),
    ),
    "birch": (
        "Birch: documents, at most critical",
        TenantRules(ceiling=8, task_types={"chat": "critical", "translate": "batch"}),
    ),
    "cedar": (
        "Cedar: bulk work, at most standard",
        TenantRules(
            ceiling=0,
            weight=50,
            default_tier="batch",
            task_types={"batch_inference": "batch", "data_augmentation": "background"},
        ),
    ),
}


def policy() -> None:
    if PolicyVersion.objects.newest() is None:
        PolicyVersion.objects.publish(default_policy(), "The defaults.")


def admin() -> str | None:
    """Make the first person, unless there is one.  Returns the password: it is stored nowhere."""
    if User.objects.exists():
        return None
    password = get_random_string(16)
    person = User.objects.create_superuser("admin", password=password)
    person.groups.set([Group.objects.get_or_create(name=role)[0] for role in FIRST_ROLES])
    return password


def first_key() -> str | None:
    """A tenant with a key, unless there is a tenant.  Returns the key: it is stored nowhere."""
    if Tenant.objects.exists():
        return None
    with transaction.atomic():
        tenant = Tenant.objects.create(slug="default", name="Default")
        return APIKey.objects.issue(tenant, "first")[1]


@transaction.atomic
def backends(urls: Sequence[str]) -> None:
    """Make ``urls`` the servers that are used.  Others stay as rows, switched off."""
    for url in urls:
        named = Backend.objects.filter(url=url).exclude(name=SIMULATED).first()
        if named is None:
            Backend.objects.create(name=_free_name(url), url=url)
        elif not named.enabled:
            named.enabled = True
            named.save()
    Backend.objects.filter(enabled=True).exclude(url__in=urls).update(enabled=False)


@transaction.atomic
def simulated_backend(url: str, slots: int) -> None:
    """Make a simulated vLLM at ``url`` the one server that is used."""
    Backend.objects.update_or_create(
        name=SIMULATED,
        defaults={
            "url": url,
            "scheduling_policy": Backend.SchedulingPolicy.PRIORITY,
            "max_in_flight": slots,
            "enabled": True,
        },
    )
    Backend.objects.filter(enabled=True).exclude(name=SIMULATED).update(enabled=False)


def has_own_backends() -> bool:
    return Backend.objects.filter(enabled=True).exclude(name=SIMULATED).exists()


@transaction.atomic
def demo_tenants() -> None:
    """Three tenants with different rights.  A tenant the policy knows keeps its rules."""
    for slug, (name, _) in DEMO_TENANTS.items():
        Tenant.objects.get_or_create(slug=slug, defaults={"name": name})
    policy = PolicyVersion.objects.newest_policy()
    rules = {slug: rules for slug, (_, rules) in DEMO_TENANTS.items()}
    if rules.keys() - policy.tenants.keys():
        PolicyVersion.objects.publish(
            replace(policy, tenants=rules | policy.tenants), "Rules for the demo tenants."
        )


@transaction.atomic
def demo_keys(at: datetime) -> dict[str, str]:
    """A fresh key for each demo tenant, by slug.  No key is stored, so the last ones are revoked."""
    stale = APIKey.objects.in_use().filter(tenant__slug__in=DEMO_TENANTS, name__startswith=DEMO_KEY)
    stale.update(status=APIKey.Status.REVOKED)
    name = f"{DEMO_KEY}{at:%Y-%m-%d %H:%M:%S}"
    return {
        tenant.slug: APIKey.objects.issue(tenant, name, rules=KeyRules())[1]
        for tenant in Tenant.objects.filter(slug__in=DEMO_TENANTS)
    }


def _free_name(url: str) -> str:
    """``vllm-`` and the address, with a number behind it if there is one of that name."""
    host = "".join(c if c.isalnum() else "-" for c in urlsplit(url).netloc.lower())
    name, n = f"vllm-{host}"[:60], 1
    while Backend.objects.filter(name=name).exists():
        n += 1
        name = f"vllm-{host}"[:56] + f"-{n}"
    return name
