"""What is sent and answered.  A field that is not named here is refused, not ignored."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from dashboard.policies.models import Managed
from gateway.core.policy import KeyRules, default_policy, dump
from gateway.models import APIKey, PolicyVersion, Tenant

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", examples=["acme"])]
Name = Annotated[str, Field(min_length=1, max_length=200)]
KeyName = Annotated[str, Field(min_length=1, max_length=100, examples=["prod-1"])]
Service = Annotated[str, Field(max_length=100, description="What uses it; outlives rotations.")]
WORDS = r"^[^\x00]*$"  # PostgreSQL keeps no character 0
Reason = Annotated[
    str,
    Field(min_length=1, max_length=300, pattern=WORDS, description="For the audit trail."),
]
Lines = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=50)]
Ceiling = Annotated[int, Field(ge=-10, le=10, description="A tier's priority; higher runs first.")]


class Said(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Fault(BaseModel):
    message: str
    type: str
    param: str | None = Field(description="The field, header or parameter it is about.")
    code: str


class Refusal(BaseModel):
    error: Fault


class NewTenant(Said):
    slug: Slug
    name: Name


class TenantChange(Said):
    name: Name


class Why(Said):
    reason: Reason


class TenantShape(BaseModel):
    slug: str
    name: str
    status: Literal["active", "suspended"]
    created_at: datetime
    managed_by: Literal["ui", "file", "api"] = Field(description="file: its name is changed there.")
    managed_in: str = Field(description="The file, or the admin key.")

    @classmethod
    def of(cls, tenant: Tenant, owner: Managed | None) -> Self:
        return cls(
            slug=tenant.slug,
            name=tenant.name,
            status=tenant.status,  # type: ignore[arg-type] # the column's choices are these
            created_at=tenant.created_at,
            managed_by=owner.by if owner else "ui",  # type: ignore[arg-type]
            managed_in=owner.where if owner else "",
        )


class Tenants(BaseModel):
    data: list[TenantShape]
    next: str | None = Field(description="Send it as after, for the next part.")


class KeyRulesChange(Said):
    """What is left out stays as it is."""

    name: KeyName | None = None
    service: Service | None = None
    scope: Literal["read", "write"] | None = Field(None, description="Of an admin key.")
    expires_on: date | None = Field(None, description="The last day, UTC. null: until revoked.")
    ceiling: Ceiling | None = None
    models: Lines | None = Field(None, description="Empty: all models.")
    endpoints: Lines | None = Field(None, description="Empty: all endpoints.")
    networks: Lines | None = Field(None, description="Empty: from anywhere.")


class NewKey(Said):
    name: KeyName
    service: Service = ""
    kind: Literal["live", "admin"] = "live"
    scope: Literal["read", "write"] = Field("read", description="Of an admin key.")
    valid_days: Literal[7, 30, 90, 180, 365] | None = Field(
        180, description="null: until it is revoked."
    )
    ceiling: Ceiling | None = Field(None, description="null: whatever its tenant may.")
    models: Lines = Field([], description="Empty: all models.")
    endpoints: Lines = Field([], description="Empty: all endpoints.")
    networks: Lines = Field([], description="Empty: from anywhere.")


class Rotation(Said):
    overlap_hours: Literal[0, 1, 24, 168] = Field(24, description="0: the old key stops now.")
    name: KeyName | None = Field(None, description="null: the old name with the next number.")


class KeyShape(BaseModel):
    """A key's public part."""

    id: str = Field(description="The eight characters that are no secret.")
    tenant: str
    name: str
    service: str
    kind: Literal["live", "test", "admin"]
    scope: Literal["read", "write"] | None = Field(description="null: it is no admin key.")
    status: Literal["active", "disabled", "revoked"]
    ceiling: int
    models: list[str]
    endpoints: list[str]
    networks: list[str]
    created_at: datetime
    not_before: datetime | None
    expires_at: datetime | None
    retires_at: datetime | None = Field(description="Until then it is valid beside its successor.")
    replaces: str | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, key: APIKey) -> Self:
        rules: KeyRules = key.as_rules()
        return cls(
            id=key.id8,
            tenant=key.tenant.slug,
            name=key.name,
            service=key.service,
            kind=key.kind,  # type: ignore[arg-type] # the column's choices are these
            scope=rules.scope if key.kind == APIKey.Kind.ADMIN else None,
            status=key.status,  # type: ignore[arg-type]
            ceiling=rules.ceiling,
            models=list(rules.models),
            endpoints=list(rules.endpoints),
            networks=list(rules.networks),
            created_at=key.created_at,
            not_before=key.not_before,
            expires_at=key.expires_at,
            retires_at=key.retires_at,
            replaces=key.replaces.id8 if key.replaces else None,
            last_used_at=key.last_used_at,
        )


class IssuedKey(KeyShape):
    key: str | None = Field(
        description="The whole key, this once. null in a dry run and in a repeated answer."
    )


class Keys(BaseModel):
    data: list[KeyShape]


class Sent(Said):
    """A policy as GET /policy gives it; what is left out is at its default."""

    document: dict[str, Any] = Field(examples=[dump(default_policy())])


class Publication(Sent):
    message: Annotated[str, Field(min_length=1, max_length=250, pattern=WORDS)]
    accepted: Annotated[str, Field(max_length=200, pattern=WORDS)] = Field(
        "", description="Why the warnings are fine that this document brings."
    )


class Version(BaseModel):
    version: int
    message: str
    author: str
    published_at: datetime | None

    @classmethod
    def of(cls, row: PolicyVersion | None, **more: Any) -> Self:
        """None: before the first version the defaults are in force."""
        return cls(
            version=row.number if row else 0,
            message=row.message if row else "",
            author=row.author.get_username() if row and row.author else "",
            published_at=row.published_at if row else None,
            **more,
        )


class WholeVersion(Version):
    document: dict[str, Any]


class InForce(WholeVersion):
    managed_by: Literal["ui", "file", "api"] = Field(description="file: it is changed there alone.")
    managed_in: str
    drift: list[str] = Field(description="How it differs from what that file holds.")


class Versions(BaseModel):
    data: list[Version]
    next: int | None = Field(description="Send it as before, for the next part.")


class Warning(BaseModel):
    where: str
    message: str
    stands: bool = Field(description="It is so in the version in force, too.")


class Verdict(BaseModel):
    valid: bool
    problem: str = Field(description="Empty where it is valid.")
    warnings: list[Warning]


class Plan(BaseModel):
    base: int = Field(description="The version that it was compared with.")
    changes: list[str]
    diff: str
    warnings: list[Warning]
    tenants: int = Field(description="Active tenants that feel it.")
    keys: int
    waiting: int | None = Field(description="Requests; null where no gateway answers.")


def answers(model: type[BaseModel], status: int = 200) -> dict[int, type[BaseModel]]:
    """What an operation may answer, for the OpenAPI document."""
    refusals = (400, 401, 403, 404, 409, 412, 413, 422, 428)
    return {status: model} | dict.fromkeys(refusals, Refusal)
