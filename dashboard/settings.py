"""Every setting of Laneway.  ``environment`` reads the variables.

The defaults need no other service: SQLite, an in-memory channel layer and cache, Celery on a folder.
A value that makes no sense stops the start with a sentence for each variable, all of them at once.
"""

import secrets
from pathlib import Path
from typing import Any

import dj_database_url
from csp.constants import NONE, SELF

from dashboard.environment import (
    env,
    envbool,
    envchoice,
    envint,
    envlist,
    envnetworks,
    envpath,
    envurl,
    kept,
    peppers,
    problems,
    provider,
    stop_if_refused,
)

BASE_DIR = Path(__file__).resolve().parent.parent

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
LANEWAY_TRUSTED_PROXIES = envnetworks("LANEWAY_TRUSTED_PROXIES", "")  # they say who calls
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
stop_if_refused()

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
            ],
            "libraries": {"units": "dashboard.units.tags"},
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
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # A server whose machine is gone is noticed in 15 s; TCP alone would wait for a quarter of an hour.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 5,
        "tcp_user_timeout": 15_000,
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        **DATABASES["default"].get("OPTIONS", {}),
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
CELERY_WORKER_TIMER_PRECISION = 0.1  # how long its thread sleeps before it sees the end
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
        # A line for each request. Named here, since this would undo uvicorn's --no-access-log.
        "uvicorn.access": {"handlers": [], "propagate": False},
    },
}
