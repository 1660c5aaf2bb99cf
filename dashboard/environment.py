"""The only reader of the environment: a variable in, a value that makes sense out.

What makes no sense is noted, so that the start can stop with a sentence for each variable.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dashboard.accounts.roles import ROLES

YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
problems: list[str] = []


def env(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def refuse(name: str, expected: str, shown: str | None = None) -> None:
    problems.append(f"{name} is {shown or repr(env(name))}: expected {expected}.")


def stop_if_refused() -> None:
    """Empties what was noted, so that the environment can be read anew."""
    if problems:
        told = "\n".join(problems)
        problems.clear()
        raise SystemExit(f"Laneway cannot start.\n{told}")


def envbool(name: str, default: bool) -> bool:
    said = env(name, YES[0] if default else NO[0]).lower()
    if said not in YES + NO:
        refuse(name, "yes or no")
    return said in YES


def envint(name: str, default: int, least: int, most: int) -> int:
    said = env(name, str(default))
    if said.isascii() and said.isdigit() and least <= int(said) <= most:
        return int(said)
    refuse(name, f"a whole number from {least} to {most}")
    return default


def envchoice(name: str, default: str, choices: tuple[str, ...]) -> str:
    said = env(name, default)
    if said not in choices:
        refuse(name, "one of " + ", ".join(choices))
    return said


def envlist(name: str, pattern: str, expected: str) -> list[str]:
    said = [part.strip() for part in env(name).split(",") if part.strip()]
    if not all(re.fullmatch(pattern, part) for part in said):
        refuse(name, expected)
    return said


def envnetworks(name: str, default: str) -> list[str]:
    said = [part.strip() for part in env(name, default).split(",") if part.strip()]
    try:
        return [str(ip_network(part, strict=False)) for part in said]
    except ValueError:
        refuse(name, "IP addresses or networks, separated by commas")
        return []


def envurl(name: str, schemes: tuple[str, ...], *, host: bool, many: bool = False) -> list[str]:
    """The addresses in a variable, without a slash at the end; an empty list when it is not set."""
    urls = [url.strip().rstrip("/") for url in env(name).split(",")] if many else [env(name)]
    urls = [url for url in urls if url]
    if not all(_is_url(url, schemes, host) for url in urls):
        kinds = " or ".join(f"{scheme}://" for scheme in schemes)
        hidden = re.sub(r"(://[^/@]*:)[^/@]*@", r"\1***@", env(name))
        refuse(name, f"an address that starts with {kinds}", repr(hidden))
        return []
    return urls


def _is_url(url: str, schemes: tuple[str, ...], host: bool) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in schemes and (bool(parts.hostname) or not host) and port != 0


def envpath(name: str, default: Path) -> Path:
    path = Path(env(name, str(default))).expanduser().resolve()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        refuse(name, f"a folder that can be written ({error.strerror})")
    return path


def kept(path: Path, make: Callable[[], str]) -> str:
    """The text of ``path``; on the first start what ``make`` gives, readable by the owner alone.

    Linking a finished draft lets exactly one of two processes that start at once win.
    """
    if not path.exists():
        descriptor, draft = tempfile.mkstemp(dir=path.parent)  # made with mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(make())
        with suppress(FileExistsError):
            os.link(draft, path)
        os.unlink(draft)
    return path.read_text().strip()


def peppers(text: str, name: str) -> Mapping[str, bytes]:
    """``id:hex`` parts, the one for new keys first; the others keep older keys valid."""
    parts = re.split(r"[\s,]+", text.strip())
    if not all(re.fullmatch(r"[A-Za-z0-9-]{1,16}:(?:[0-9a-f]{2}){16,}", part) for part in parts):
        refuse(name, "id:hex, with at least 32 hex digits, separated by commas", "not shown")
        return {}
    return {part.split(":")[0]: bytes.fromhex(part.split(":")[1]) for part in parts}


def provider_roles(name: str) -> tuple[str, Mapping[str, list[str]]]:
    """``claim:value=role,…``: the claim to read, and what its values make of somebody."""
    claim, colon, rest = env(name).partition(":")
    pairs = [part.strip().rpartition("=") for part in rest.split(",") if part.strip()]
    if not (claim and colon and pairs and all(value and role in ROLES for value, _, role in pairs)):
        refuse(name, f"claim:value=role,value=role with the roles {', '.join(ROLES)}")
        return "", {}
    found: dict[str, list[str]] = {}
    for value, _, role in pairs:
        found.setdefault(value, []).append(role)
    return claim, found


def provider() -> dict[str, Any]:
    """The company's own sign-in (OpenID Connect); empty when none is set up."""
    names = [f"LANEWAY_OIDC_{part}" for part in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET", "ROLES")]
    if not any(map(env, names)):
        return {}
    for name in names:
        if not env(name):
            refuse(name, "a value, as other LANEWAY_OIDC_… are set", "not set")
    issuer = envurl(names[0], ("https", "http"), host=True)
    at = urlsplit(issuer[0] if issuer else "")
    if at.scheme == "http" and at.hostname not in ("localhost", "127.0.0.1", "::1"):
        refuse(names[0], "https://, for what it says decides who is an admin")
    claim, roles = provider_roles(names[3]) if env(names[3]) else ("", {})
    return {
        "issuer": issuer[0].rstrip("/") if issuer else "",
        "host": at.hostname or "",
        "claim": claim,
        "roles": roles,
        # Part of how its people are known here: another issuer's number 1 is somebody else.
        "id": "oidc-" + hashlib.sha256(env(names[0]).rstrip("/").encode()).hexdigest()[:12],
    }
