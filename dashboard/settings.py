"""Every setting of Laneway, and the only reader of the environment.

The defaults need no other service: SQLite, an in-memory channel layer and cache, Celery on a folder.
A value that makes no sense stops the start with a sentence for each variable, all of them at once.
"""

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from csp.constants import NONE, SELF

from dashboard.accounts.roles import ROLES

BASE_DIR = Path(__file__).resolve().parent.parent
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
problems: list[str] = []


def env(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def refuse(name: str, expected: str, shown: str | None = None) -> None:
    problems.append(f"{name} is {shown or repr(env(name))}: expected {expected}.")


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


# What the environment says

LANEWAY_HOME = envpath("LANEWAY_HOME", BASE_DIR / "var")
LANEWAY_HOST = env("HOST", "127.0.0.1")
LANEWAY_PORT = envint("PORT", 8000, 1, 65535)
LANEWAY_HTTPS = envbool("LANEWAY_HTTPS", False)  # a proxy in front speaks TLS
LANEWAY_REQUIRE_MFA = envbool("LANEWAY_REQUIRE_MFA", True)  # of admin and security
LANEWAY_OIDC = provider()
LANEWAY_BACKENDS = envurl("VLLM_URL", ("http", "https"), host=True, many=True)
LANEWAY_BACKEND_KEY = env("VLLM_API_KEY")  # sent to every backend
LANEWAY_ALLOW_PRIVATE_TARGETS = envbool("LANEWAY_ALLOW_PRIVATE_TARGETS", False)  # for messages
LANEWAY_HEARTBEAT_URL = "".join(envurl("LANEWAY_HEARTBEAT_URL", ("http", "https"), host=True))
LANEWAY_URL = "".join(envurl("LANEWAY_URL", ("http", "https"), host=True))  # in links
LANEWAY_OTLP = "".join(envurl("OTEL_EXPORTER_OTLP_ENDPOINT", ("http", "https"), host=True))
LANEWAY_METRICS_ALLOW = envnetworks("LANEWAY_METRICS_ALLOW", "127.0.0.0/8,::1")
_names = envlist(
    "LANEWAY_HOST_NAMES", r"\*|\.?[A-Za-z0-9\[\]:._-]+", "host names, separated by commas"
)
_log_level = envchoice("LANEWAY_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
_database = envurl("DATABASE_URL", ("postgres", "postgresql", "sqlite"), host=False)
_redis = envurl("REDIS_URL", ("redis", "rediss", "unix"), host=False)
LANEWAY_PEPPERS = peppers(
    "unused:" + "0" * 32
    if problems
    else env("LANEWAY_PEPPER")
    or kept(LANEWAY_HOME / "pepper", lambda: f"{secrets.token_hex(2)}:{secrets.token_hex(32)}\n"),
    "LANEWAY_PEPPER" if env("LANEWAY_PEPPER") else str(LANEWAY_HOME / "pepper"),
)
if not LANEWAY_URL:
    _host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(LANEWAY_HOST, LANEWAY_HOST)
    LANEWAY_URL = f"http://{_host}:{LANEWAY_PORT}"
if problems:
    raise SystemExit("Laneway cannot start.\n" + "\n".join(problems))

# Django

SECRET_KEY = env("LANEWAY_SECRET_KEY") or kept(
    LANEWAY_HOME / "secret_key", lambda: secrets.token_urlsafe(50)
)
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *_names]
if LANEWAY_HOST not in ("0.0.0.0", "::", *ALLOWED_HOSTS):
    ALLOWED_HOSTS.append(f"[{LANEWAY_HOST}]" if ":" in LANEWAY_HOST else LANEWAY_HOST)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "channels",
    "csp",
    "django_htmx",
    "gateway",
    "dashboard.accounts",
    "dashboard.audit",
    "dashboard.tenants",
    "dashboard.policies",
    "dashboard.live",
    "dashboard.delivery",
    "dashboard.api",
    "dashboard.alerts",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "dashboard.urls"
ASGI_APPLICATION = "dashboard.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = LOGIN_URL
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
ACCOUNT_ADAPTER = "dashboard.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # whoever invites knows whom
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 15 * 60
ACCOUNT_RATE_LIMITS = {"login": "30/m/ip", "login_failed": "20/m/ip,5/5m/key"}
MFA_ADAPTER = "dashboard.accounts.factors.FactorAdapter"
MFA_FORMS = {
    "add_webauthn": "dashboard.accounts.passkeys.Add",
    "authenticate_webauthn": "dashboard.accounts.passkeys.Authenticate",
    "login_webauthn": "dashboard.accounts.passkeys.Login",
    "reauthenticate_webauthn": "dashboard.accounts.passkeys.Reauthenticate",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_TOTP_ISSUER = "Laneway"
MFA_TOTP_TOLERANCE = 1  # clocks that are half a minute apart
SOCIALACCOUNT_ADAPTER = "dashboard.accounts.provider.ProviderAdapter"
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": LANEWAY_OIDC["id"],
                "name": LANEWAY_OIDC["host"],
                "client_id": env("LANEWAY_OIDC_CLIENT_ID"),
                "secret": env("LANEWAY_OIDC_CLIENT_SECRET"),
                "settings": {"server_url": LANEWAY_OIDC["issuer"]},
            }
        ]
        if LANEWAY_OIDC
        else [],
    }
}
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# Where data lives

DATABASES: dict[str, Any] = {}
if _database:
    DATABASES["default"] = dj_database_url.parse(
        _database[0], conn_max_age=60, conn_health_checks=True
    )
else:
    DATABASES["default"] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": LANEWAY_HOME / "laneway.sqlite3",
        "TEST": {"NAME": LANEWAY_HOME / "test.sqlite3"},  # a file: threads see one another's rows
    }
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",  # a write waits for the lock instead of failing half-way
        "timeout": 5,
        "init_command": "PRAGMA journal_mode=WAL;"  # readers never wait for the writer
        "PRAGMA synchronous=NORMAL;"  # safe with WAL; a power cut may lose the last second
        "PRAGMA cache_size=-20000;"
        "PRAGMA temp_store=MEMORY;"
        "PRAGMA journal_size_limit=67108864;",
    }
CACHES: dict[str, Any] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "laneway"}
}
CHANNEL_LAYERS: dict[str, Any] = {
    "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
}
CELERY_BROKER_URL = "filesystem://localhost"
_queue = LANEWAY_HOME / "celery"
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
    "data_folder_in": str(_queue / "tasks"),
    "data_folder_out": str(_queue / "tasks"),
    "control_folder": str(_queue / "control"),
    "polling_interval": 0.1,  # a task starts after 49 ms median; at the default second 643 ms
}
if _redis:
    CACHES["default"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": _redis[0],
        "KEY_PREFIX": "laneway",
    }
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": _redis, "prefix": "laneway"},
    }
    CELERY_BROKER_URL = _redis[0].replace("unix://", "redis+socket://", 1)
    CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": "laneway."}
else:
    for _folder in ("tasks", "control"):
        (_queue / _folder).mkdir(parents=True, exist_ok=True)
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULE_FILENAME = str(LANEWAY_HOME / "celery" / "schedule")

# What a browser may do, and files that never change under their name

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "connect-src": [SELF],
        "form-action": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if LANEWAY_HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    CSRF_TRUSTED_ORIGINS = [
        f"https://{name.replace('.', '*.', name.startswith('.'))}" for name in _names
    ]

STATIC_URL = "/static/"
STATIC_ROOT = LANEWAY_HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "dashboard.storage.HashedStorage"},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["stderr"], "level": _log_level},
    "loggers": {
        "daphne": {"level": "WARNING"},  # INFO is a line for each request
        "httpx": {"level": "WARNING"},
        # Three lines for each task, and one is due every five seconds.
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        # Apprise tells what it was given, nearly whole; ``delivery.sending`` listens and tells why.
        "apprise": {"handlers": ["nowhere"], "level": "WARNING", "propagate": False},
        # At DEBUG these tell whole addresses, secrets included.
        "httpcore": {"level": "WARNING"},
        "urllib3": {"level": "WARNING"},
        "uvicorn": {"handlers": ["stderr"], "level": _log_level, "propagate": False},
    },
}
