"""The environment is read once, and nonsense in it stops the start with a sentence."""

import runpy
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import settings as in_force

SETTINGS = Path(in_force.BASE_DIR) / "dashboard" / "settings.py"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Run the settings with these variables, and return what came of it."""

    def read(**variables: str):
        for name, value in {"LANEWAY_HOME": str(tmp_path / "home"), **variables}.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(SETTINGS))

    return read


def test_the_defaults_need_no_other_service(read, tmp_path):
    found = read()

    assert found["DATABASES"]["default"]["ENGINE"] == "django.db.backends.sqlite3"
    assert found["DATABASES"]["default"]["NAME"] == tmp_path / "home" / "laneway.sqlite3"
    assert "InMemory" in found["CHANNEL_LAYERS"]["default"]["BACKEND"]
    assert "locmem" in found["CACHES"]["default"]["BACKEND"]
    assert found["CELERY_BROKER_URL"].startswith("filesystem:")
    assert found["CELERY_BROKER_TRANSPORT_OPTIONS"]["polling_interval"] == 0.1
    assert (found["LANEWAY_HOST"], found["LANEWAY_PORT"]) == ("127.0.0.1", 8000)
    assert found["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert found["LANEWAY_BACKENDS"] == []
    assert found["DEBUG"] is False


def test_services_that_are_named_are_used(read):
    found = read(
        DATABASE_URL="postgresql://laneway:secret@db.internal/laneway",
        REDIS_URL="redis://cache.internal:6379/1",
        VLLM_URL="http://gpu-1:8000/, https://gpu-2/prefix",
        LANEWAY_HOST_NAMES="lane.example.org",
    )

    assert found["DATABASES"]["default"]["ENGINE"] == "django.db.backends.postgresql"
    assert found["CHANNEL_LAYERS"]["default"]["CONFIG"]["hosts"] == [
        "redis://cache.internal:6379/1"
    ]
    assert found["CACHES"]["default"]["LOCATION"] == "redis://cache.internal:6379/1"
    assert found["CELERY_BROKER_URL"] == "redis://cache.internal:6379/1"
    assert found["LANEWAY_BACKENDS"] == ["http://gpu-1:8000", "https://gpu-2/prefix"]
    assert "lane.example.org" in found["ALLOWED_HOSTS"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "eighty", "a whole number from 1 to 65535"),
        ("PORT", "70000", "a whole number from 1 to 65535"),
        ("LANEWAY_HTTPS", "maybe", "yes or no"),
        ("LANEWAY_LOG_LEVEL", "LOUD", "one of DEBUG, INFO, WARNING, ERROR"),
        ("LANEWAY_HOST_NAMES", "https://lane.example.org", "host names"),
        ("LANEWAY_METRICS_ALLOW", "10.0.0.0/99", "IP addresses or networks"),
        ("LANEWAY_TRUSTED_PROXIES", "nginx", "IP addresses or networks"),
        ("DATABASE_URL", "mysql://db/laneway", "postgres:// or postgresql:// or sqlite://"),
        ("REDIS_URL", "localhost:6379", "redis:// or rediss:// or unix://"),
        ("VLLM_URL", "gpu-1:8000", "http:// or https://"),
        ("VLLM_URL", "http://gpu-1:8000,http://", "http:// or https://"),
        ("VLLM_URL", "http://gpu-1:port", "http:// or https://"),
    ],
)
def test_nonsense_stops_the_start_and_says_what_was_expected(read, name, value, expected):
    with pytest.raises(SystemExit) as refused:
        read(**{name: value})

    sentence = str(refused.value)
    assert f"{name} is {value!r}: expected " in sentence
    assert expected in sentence


OIDC = {
    "LANEWAY_OIDC_ISSUER": "https://sso.example.org/realms/all/",
    "LANEWAY_OIDC_CLIENT_ID": "laneway",
    "LANEWAY_OIDC_CLIENT_SECRET": "a secret between the two",
    "LANEWAY_OIDC_ROLES": "groups:platform=admin,platform=security, a=b=on-call",
}


def test_the_company_s_sign_in_is_read_with_its_roles(read):
    found = read(**OIDC)

    assert found["LANEWAY_OIDC"]["issuer"] == "https://sso.example.org/realms/all"
    assert found["LANEWAY_OIDC"]["host"] == "sso.example.org"
    assert found["LANEWAY_OIDC"]["claim"] == "groups"
    assert found["LANEWAY_OIDC"]["roles"] == {"platform": ["admin", "security"], "a=b": ["on-call"]}
    app = found["SOCIALACCOUNT_PROVIDERS"]["openid_connect"]["APPS"][0]
    assert (app["client_id"], app["settings"]["server_url"]) == (
        "laneway",
        "https://sso.example.org/realms/all",
    )
    other = read(**{**OIDC, "LANEWAY_OIDC_ISSUER": "https://elsewhere.example.org"})
    assert other["LANEWAY_OIDC"]["id"] != found["LANEWAY_OIDC"]["id"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LANEWAY_OIDC_CLIENT_SECRET", "", "is not set: expected a value"),
        ("LANEWAY_OIDC_ROLES", "", "is not set: expected a value"),
        ("LANEWAY_OIDC_ROLES", "platform=admin", "claim:value=role"),
        ("LANEWAY_OIDC_ROLES", "groups:platform", "claim:value=role"),
        ("LANEWAY_OIDC_ROLES", "groups:platform=root", "viewer, on-call, admin, security"),
        ("LANEWAY_OIDC_ISSUER", "sso.example.org", "https:// or http://"),
        ("LANEWAY_OIDC_ISSUER", "http://sso.example.org", "https://, for what it says"),
        ("LANEWAY_REQUIRE_MFA", "maybe", "yes or no"),
    ],
)
def test_half_a_sign_in_stops_the_start(read, name, value, said):
    with pytest.raises(SystemExit) as refused:
        read(**{**OIDC, name: value})

    assert name in str(refused.value)
    assert said in str(refused.value)
    assert "a secret between" not in str(refused.value)


def test_all_mistakes_are_told_at_once(read):
    with pytest.raises(SystemExit) as refused:
        read(PORT="x", REDIS_URL="y", LANEWAY_HTTPS="z")

    assert [line.split()[0] for line in str(refused.value).splitlines()[1:]] == [
        "PORT",
        "LANEWAY_HTTPS",
        "REDIS_URL",
    ]


def test_a_refused_address_does_not_show_its_password(read):
    with pytest.raises(SystemExit) as refused:
        read(DATABASE_URL="mysql://laneway:hunter2@db/laneway")

    assert "hunter2" not in str(refused.value)


def test_a_data_folder_that_cannot_be_made_is_named(read, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(SystemExit, match=r"LANEWAY_HOME is '.*/file/home': expected a folder"):
        read(LANEWAY_HOME=str(tmp_path / "file" / "home"))


def test_secrets_are_made_once_and_only_for_their_owner(read, tmp_path):
    first = read()
    second = read()

    assert first["SECRET_KEY"] == second["SECRET_KEY"]
    assert first["LANEWAY_PEPPERS"] == second["LANEWAY_PEPPERS"]
    for name in ("secret_key", "pepper"):
        assert stat.S_IMODE((tmp_path / "home" / name).stat().st_mode) == 0o600


def test_processes_that_start_at_once_agree_on_the_secret(read, tmp_path):
    kept, numbers = read()["kept"], iter(range(1000))

    for round_ in range(20):
        path = tmp_path / f"secret-{round_}"
        with ThreadPoolExecutor(8) as threads:
            found = set(threads.map(lambda _, p=path: kept(p, lambda: str(next(numbers))), "x" * 8))
        assert len(found) == 1

    assert not list(tmp_path.glob("tmp*"))


def test_the_first_pepper_is_for_new_keys_and_the_others_stay_known(read):
    new, old = "ab" * 32, "cd" * 32

    found = read(LANEWAY_PEPPER=f"2026:{new},2025:{old}")

    assert list(found["LANEWAY_PEPPERS"].items()) == [
        ("2026", bytes.fromhex(new)),
        ("2025", bytes.fromhex(old)),
    ]


def test_a_pepper_that_is_too_short_is_refused_and_not_shown(read):
    with pytest.raises(SystemExit, match="LANEWAY_PEPPER") as refused:
        read(LANEWAY_PEPPER="2026:abcdef")

    assert "abcdef" not in str(refused.value)


def test_behind_https_cookies_are_secure_and_the_names_trusted(read):
    found = read(LANEWAY_HTTPS="yes", LANEWAY_HOST_NAMES="lane.example.org,.example.net")

    assert found["SESSION_COOKIE_SECURE"]
    assert found["CSRF_COOKIE_SECURE"]
    assert found["CSRF_TRUSTED_ORIGINS"] == ["https://lane.example.org", "https://*.example.net"]


def test_the_policy_for_pages_allows_nothing_inline_and_no_other_host(read):
    directives = read()["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]

    allowed = {source for sources in directives.values() for source in sources}
    assert allowed == {"'self'", "'none'", "data:", "blob:"}
    assert directives["script-src"] == directives["style-src"] == ["'self'"]
