"""The policy: read it, check and plan another one, publish, roll back."""

import json
import re
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Router
from pydantic import Field

from dashboard.api import refusals
from dashboard.api.answering import Answer, changes, must_match, reads
from dashboard.api.shapes import (
    InForce,
    Plan,
    Publication,
    Sent,
    Verdict,
    Version,
    Versions,
    Warning,
    WholeVersion,
    Why,
    answers,
)
from dashboard.policies import diff, managed, publish, review, yaml_text
from dashboard.policies.fields import Document
from dashboard.policies.fields import document as as_document
from dashboard.policies.models import in_force
from dashboard.policies.reach import blast_radius, tiers_that_keys_name
from gateway.core.policy import Policy, load
from gateway.errors import GatewayError
from gateway.models import PolicyVersion

router = Router(tags=["policy"])
PLACE = re.compile(r" - at `\$\.?([^`]*)`")  # how msgspec names a field
YAML = "policy.yaml"


@router.get("", response=answers(InForce))
@reads
def get_policy(request: HttpRequest) -> Answer:
    """What is in force.  Its ETag is what a publication is based on."""
    return _told()


@router.get("/versions", response=answers(Versions))
@reads
def list_versions(
    request: HttpRequest,
    before: Annotated[int | None, Field(ge=1, le=2**31 - 1)] = None,
    limit: Annotated[int, Field(ge=1, le=500)] = 50,
) -> Answer:
    """The newest first."""
    rows = PolicyVersion.objects.select_related("author").defer("document").order_by("-number")
    if before is not None:
        rows = rows.filter(number__lt=before)
    found = list(rows[: limit + 1])
    more = found[limit - 1].number if len(found) > limit else None
    return Answer(Versions(data=[Version.of(row) for row in found[:limit]], next=more))


@router.get("/versions/{int:number}", response=answers(WholeVersion))
@reads
def get_version(request: HttpRequest, number: int) -> Answer:
    row = _version(number)
    shape = WholeVersion.of(row, document=as_document(row.as_policy()))
    return Answer(shape, etag=f'"v{number}"')


@router.post("/validate", response=answers(Verdict))
@reads
def validate_policy(request: HttpRequest, said: Sent) -> Answer:
    """Whether it could be published; changes nothing."""
    try:
        policy = _read(said.document)
    except GatewayError as error:
        return Answer(Verdict(valid=False, problem=error.message, warnings=[]))
    return Answer(Verdict(valid=True, problem="", warnings=_warnings(policy)))


@router.post("/plan", response=answers(Plan))
@reads
def plan_policy(request: HttpRequest, said: Sent) -> Answer:
    """What would change against the version in force, and who would feel it; changes nothing."""
    policy = _read(said.document)
    base, before = in_force()
    after = diff.unkeyed(diff.keyed(as_document(policy)))
    reach = blast_radius(before, after)
    shape = Plan(
        base=base,
        changes=diff.sentences(before, after),
        diff=yaml_text.patch(before, after, {}, YAML),
        warnings=_warnings(policy),
        tenants=reach.tenants,
        keys=reach.keys,
        waiting=reach.waiting,
    )
    return Answer(shape, etag=f'"v{base}"')


@router.post("", response=answers(InForce, 201))
@changes
def publish_policy(request: HttpRequest, said: Publication) -> Answer:
    """Put the document in force as the next version: running gateways use it within a second."""
    base = _base(request)
    policy = _read(said.document)
    added = [f"{w.where}: {w.message}" for w in _warnings(policy) if not w.stands]
    accepted = said.accepted.strip()
    if added and not accepted:
        raise refusals.invalid("accepted", f"Say why this is fine. {' '.join(added)}")
    message = f"{said.message} (accepted: {accepted})" if added else said.message
    try:
        publish.publish_by_api(policy, base, message, request)
    except publish.InFile as error:
        raise refusals.conflict("managed_in_file", str(error)) from None
    except publish.OnTrial as error:
        raise refusals.conflict("canary_running", str(error)) from None
    except publish.BaseMoved as moved:
        raise refusals.moved_on(f'"v{moved.newest}"') from None
    return _told(201)


@router.post("/versions/{int:number}/rollback", response=answers(InForce, 201))
@changes
def roll_back(request: HttpRequest, number: int, said: Why) -> Answer:
    """Publish an old document again, as the next version."""
    base, row = _base(request), _version(number)
    try:
        publish.roll_back(row, base, said.reason, None, request)
    except publish.BaseMoved as moved:
        raise refusals.moved_on(f'"v{moved.newest}"') from None
    return _told(201)


def _base(request: HttpRequest) -> int:
    number = in_force()[0]
    must_match(request, f'"v{number}"')
    return number


def _version(number: int) -> PolicyVersion:
    row = PolicyVersion.objects.select_related("author").filter(number=number).first()
    if row is None:
        raise refusals.not_there("version", f"v{number}")
    return row


def _told(status: int = 200) -> Answer:
    row, (owner, drift) = PolicyVersion.objects.newest(), managed.standing()
    shape = InForce.of(
        row,
        document=in_force()[1],
        managed_by=owner.by if owner else "ui",
        managed_in=owner.where if owner else "",
        drift=drift,
    )
    return Answer(shape, status, f'"v{row.number if row else 0}"')


def _read(document: Document) -> Policy:
    """Raises: GatewayError: 422 that names the field."""
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        text.encode()
        if "\\u0000" in text:
            raise ValueError("no text holds a character 0")
        return load(document)
    except (ValueError, TypeError, RecursionError) as error:  # a half character is a ValueError
        raise _unfit(str(error)) from None


def _unfit(text: str) -> GatewayError:
    place = PLACE.search(text)
    inner = place[1].replace("[", ".").replace("]", "") if place else ""
    param = f"document.{inner}".replace("..", ".").rstrip(".")
    return refusals.invalid(param, f"{param}: {PLACE.sub('', text)}.")


def _warnings(policy: Policy) -> list[Warning]:
    used: Any = tiers_that_keys_name()
    standing = review.warnings(PolicyVersion.objects.newest_policy(), used)
    return [
        Warning(where=w.where, message=w.text, stands=w in standing)
        for w in review.warnings(policy, used)
    ]
