"""Single fields of a body, taken as pydantic takes them in vLLM, and the priority in them."""

from typing import Any

from gateway.simvllm.http import Refused, Request, invalid

INT64 = 2**63


def lax_int(body: dict[str, Any], name: str, default: int | None = None) -> int | None:
    """An integer as pydantic takes it: 2.0, "3" and true will do, 1.5, "high" and null not."""
    if name not in body:
        return default
    given = body[name]
    if isinstance(given, float):
        if given.is_integer():
            return int(given)
        what = "Input should be a valid integer, got a number with a fractional part"
        raise invalid(name, "int_from_float", what, given)
    if isinstance(given, str):
        try:
            return int(given)
        except ValueError:
            what = "Input should be a valid integer, unable to parse string as an integer"
            raise invalid(name, "int_parsing", what, given) from None
    if isinstance(given, int):
        return int(given)
    raise invalid(name, "int_type", "Input should be a valid integer", given)


def optional_int(body: dict[str, Any], name: str) -> int | None:
    return None if body.get(name) is None else lax_int(body, name)


def body_priority(body: dict[str, Any]) -> int:
    stated = lax_int(body, "priority", 0) or 0
    if stated >= INT64:
        what = f"Input should be less than or equal to {INT64 - 1}"
        raise invalid("priority", "less_than_equal", what, stated)
    if stated < -INT64:
        what = f"Input should be greater than or equal to {-INT64}"
        raise invalid("priority", "greater_than_equal", what, stated)
    return stated


def priority(request: Request, body: dict[str, Any]) -> int:
    """vLLM's own number.  The header wins; one that is no integer is ignored, and one too long
    for the wire between vLLM's processes fails there."""
    stated = body_priority(body)
    try:
        named = int(request.headers.get("x-vllm-priority", ""))
    except ValueError:
        return stated
    if not -INT64 <= named < 2 * INT64:
        raise Refused(500, "", "InternalServerError")
    return named


def mapping(body: dict[str, Any], name: str) -> dict[str, Any]:
    """A field that is an object; empty where it is missing or null."""
    given = body.get(name)
    if given is not None and not isinstance(given, dict):
        raise invalid(name, "dict_type", "Input should be a valid dictionary", given)
    return given or {}


def listing(body: dict[str, Any], name: str) -> list[Any]:
    """A field that is a list; empty where it is missing or null."""
    given = body.get(name)
    if given is not None and not isinstance(given, list):
        raise invalid(name, "list_type", "Input should be a valid list", given)
    return given or []
