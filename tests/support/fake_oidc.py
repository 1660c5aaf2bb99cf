"""A company's sign-in (OpenID Connect) over real sockets: it says of people what a test tells it to.

It holds its client to the standard: one use a code, the secret, the verifier of PKCE, the same
address to come back to.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt

CLIENT, SECRET = "laneway", "a secret between the two"


class FakeOidc:
    """``claims`` is whom it signs in next; ``userinfo`` what it says there beside them.

    ``signed_in_at`` is when its own session began, None before the first.  ``asks`` whether it asks
    for the password again when told to, ``tells_when`` whether its token says when it did.
    """

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {"sub": "7"}
        self.userinfo: dict[str, Any] = {}
        self.audience = CLIENT
        self.issuer = ""
        self.asked: list[dict[str, str]] = []
        self.out_of_order = False
        self.signed_in_at: float | None = None
        self.asks = self.tells_when = True
        self._codes: dict[str, dict[str, str]] = {}

    @property
    def configuration(self) -> dict[str, Any]:
        ends = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/jwks",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            **{f"{name}_endpoint": f"{self.issuer}/{path}" for name, path in ends.items()},
        }

    def authorize(self, asked: dict[str, str]) -> str:
        self.asked.append(asked)
        assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
        assert asked["code_challenge_method"] == "S256"
        again = self.asks and (asked.get("prompt") == "login" or asked.get("max_age") == "0")
        if self.signed_in_at is None or again:
            self.signed_in_at = time.time()
        code = secrets.token_urlsafe()
        self._codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, said: dict[str, str]) -> dict[str, Any] | None:
        asked = self._codes.pop(said.get("code", ""), None)
        digest = hashlib.sha256(said.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        fits = (
            asked
            and (said["client_id"], said["client_secret"]) == (CLIENT, SECRET)
            and said["redirect_uri"] == asked["redirect_uri"]
            and challenge == asked["code_challenge"]
        )
        if not fits:
            return None
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": self.audience, "iat": now, "exp": now + 60}
        if self.tells_when and self.signed_in_at is not None:
            claims["auth_time"] = int(self.signed_in_at)
        return {
            "access_token": "opens the userinfo",
            "token_type": "Bearer",
            "id_token": jwt.encode({**claims, **self.claims}, "x" * 32, "HS256"),
        }


@contextmanager
def running() -> Iterator[FakeOidc]:
    oidc = FakeOidc()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if oidc.out_of_order:
                self._answer(503, {})
            elif parts.path == "/.well-known/openid-configuration":
                self._answer(200, oidc.configuration)
            elif parts.path == "/userinfo":
                known = self.headers["Authorization"] == "Bearer opens the userinfo"
                self._answer(200 if known else 401, {**oidc.claims, **oidc.userinfo})
            elif parts.path == "/authorize":
                self.send_response(302)
                self.send_header("Location", oidc.authorize(_flat(parts.query)))
                self.end_headers()
            else:
                self._answer(404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            answer = oidc.token(_flat(body))
            self._answer(200 if answer else 400, answer or {"error": "invalid_grant"})

        def _answer(self, status: int, document: object) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    oidc.issuer = f"http://127.0.0.1:{server.server_port}"
    try:
        yield oidc
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _flat(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}
