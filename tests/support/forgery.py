"""Forged tokens: everything that a token must not be. Made byte by byte, without the code under test."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import TypeAlias
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from adapters.security.keys import RsaKey

Forgeries: TypeAlias = Iterator[tuple[str, str]]
"""What is wrong with a token, and the token."""

Sign: TypeAlias = Callable[[RsaKey, bytes], bytes]

_HUGE = 10**400


@dataclass(frozen=True)
class Forger:
    """Knows a good token of one kind, which `token()` returns, and changes one thing about it."""

    header: dict[str, object]
    payload: dict[str, object]
    key: RsaKey
    other_key: RsaKey
    """The key of the other kind."""
    other_audience: str
    now: int
    lifetime: timedelta

    def token(
        self,
        *,
        header: dict[str, object] | bytes | None = None,
        payload: dict[str, object] | bytes | None = None,
        key: RsaKey | None = None,
        sign: Sign | None = None,
    ) -> str:
        """Return a token whose signature is good, unless `key` or `sign` say otherwise."""
        message = ".".join(
            base64url(part if isinstance(part, bytes) else json.dumps(part).encode())
            for part in (
                self.header if header is None else header,
                self.payload if payload is None else payload,
            )
        )
        signature = (sign or rs256)(key or self.key, message.encode())
        return f"{message}.{base64url(signature)}"

    def all(self) -> Forgeries:
        """Yield every forgery that makes sense for both kinds."""
        yield from self.algorithms()
        yield from self.headers()
        yield from self.keys()
        yield from self.signatures()
        yield from self.spellings()
        yield from self.documents()
        yield from self.claims()
        yield from self.times()

    def algorithms(self) -> Forgeries:
        """Yield tokens with another algorithm, in name, in fact, or in both."""

        def signed(alg: object, sign: Sign) -> str:
            return self.token(header=self.header | {"alg": alg}, sign=sign)

        for letters in product("nN", "oO", "nN", "eE"):
            none = "".join(letters)
            yield f"alg {none} without a signature", signed(none, lambda _, __: b"")
            yield f"alg {none} with a good signature", signed(none, rs256)
        for spelling, secret in _spellings_of_public_key(self.key).items():
            mac = _hmac(secret, "sha256")
            yield f"HS256 with the public key as {spelling}", signed("HS256", mac)
            yield f"alg RS256, an HMAC with the public key as {spelling}", self.token(sign=mac)
        pem = _spellings_of_public_key(self.key)["SPKI PEM"]
        yield "HS384 with the public key", signed("HS384", _hmac(pem, "sha384"))
        yield "HS512 with the public key", signed("HS512", _hmac(pem, "sha512"))
        yield "RS384", signed("RS384", _pkcs1(hashes.SHA384()))
        yield "RS512", signed("RS512", _pkcs1(hashes.SHA512()))
        yield "PS256", signed("PS256", _pss)
        yield "alg RS256, an RS384 signature", self.token(sign=_pkcs1(hashes.SHA384()))
        yield "alg RS256, a PS256 signature", self.token(sign=_pss)
        others: tuple[object, ...] = (
            "rs256",
            "RS256 ",
            "RS",
            "",
            "ES256",
            "EdDSA",
            ["RS256"],
            {},
            0,
        )
        for alg in others:
            yield f"alg {alg!r}", signed(alg, rs256)

    def headers(self) -> Forgeries:
        """Yield tokens whose header has a member too many, too few, twice, or of another kind."""
        for member, value in self.header.items():
            rest = {k: v for k, v in self.header.items() if k != member}
            yield f"no {member}", self.token(header=rest)
            yield f"{member} null", self.token(header=rest | {member: None})
            yield f"{member} twice", self.token(header=_twice(self.header, member, value))
        other_typ = "rt+jwt" if self.header["typ"] == "at+jwt" else "at+jwt"
        for typ in (other_typ, "JWT", "at+JWT", "application/at+jwt", "", 1, ["at+jwt"]):
            yield f"typ {typ!r}", self.token(header=self.header | {"typ": typ})
        extra = {
            "crit": ["exp"],
            "b64": False,
            "zip": "DEF",
            "jwk": {"kty": "oct", "k": ""},
            "jku": "https://evil.example/jwks.json",
            "x5u": "https://evil.example/cert.pem",
            "x5c": ["MII"],
            "enc": "A256GCM",
            "cty": "JWT",
            "": "",
        }
        for member, value in extra.items():
            yield f"a header with {member!r}", self.token(header=self.header | {member: value})
        own_key = self.other_key.public_jwk(use="sig", algorithm="RS256")
        yield (
            "a header that brings its own key",
            self.token(header=self.header | {"jwk": own_key}, key=self.other_key),
        )
        long_header = json.dumps(self.header).encode() + b" " * 400
        yield "a header of more than 512 characters", self.token(header=long_header)

    def keys(self) -> Forgeries:
        """Yield tokens that name a key we do not have, or were signed with one that is not for them."""
        others: tuple[object, ...] = (
            "unknown",
            "../../../../dev/null",
            "/etc/passwd",
            "https://evil.example/key",
            "' OR 1=1 --",
            "\x00",
            "",
            0,
            True,
            [],
            {},
        )
        for kid in others:
            yield f"kid {kid!r}", self.token(header=self.header | {"kid": kid})
        yield "the key of the other kind", self.token(key=self.other_key)
        yield (
            "the key of the other kind, named",
            self.token(header=self.header | {"kid": self.other_key.id}, key=self.other_key),
        )

    def signatures(self) -> Forgeries:
        """Yield tokens with a damaged signature, or with that of another token."""
        header, payload, signature = self.token().split(".")
        good = decoded(signature)
        modulus = self.key.private.public_key().public_numbers().n
        damaged = {
            "no signature": b"",
            "a signature cut short": good[:-1],
            "a signature and a zero": good + b"\0",
            "a zero and a signature": b"\0" + good,
            "a signature of zeros": bytes(len(good)),
            "a signature of ones": b"\xff" * len(good),
            "the signature plus the modulus": (int.from_bytes(good, "big") + modulus).to_bytes(
                len(good) + 1, "big"
            ),
        }
        for position in (0, 1, len(good) // 2, len(good) - 1):
            flipped = bytearray(good)
            flipped[position] ^= 1
            damaged[f"a signature with a bit of byte {position} flipped"] = bytes(flipped)
        for name, data in damaged.items():
            yield name, f"{header}.{payload}.{base64url(data)}"
        other = self.token(payload=self.payload | {"sub": self.payload["sid"]}).split(".")[1]
        yield "the signature of another token", f"{header}.{other}.{signature}"

    def spellings(self) -> Forgeries:
        """Yield texts that are no compact JWS, or are one in a second spelling."""
        token = self.token()
        header, payload, signature = token.split(".")
        for text in ("", ".", "..", "...", "a", "a.b", "a.b.c", "a.b.c.d", "Bearer a.b.c"):
            yield f"the text {text!r}", text
        yield "two segments", f"{header}.{payload}"
        yield "a fourth segment", f"{token}.YQ"
        yield "an empty fourth segment", f"{token}."
        yield "five segments, as JWE has", f"{token}.YQ.YQ"
        yield (
            "the JSON serialisation",
            json.dumps({"protected": header, "payload": payload, "signature": signature}),
        )
        for name, junk in {
            "a space": " ",
            "a line feed": "\n",
            "a NUL": "\0",
            "padding": "=",
            "double padding": "==",
            "an emoji": "\N{GRINNING FACE}",
            "a full-width digit": "\N{FULLWIDTH DIGIT ONE}",
            "a lone surrogate": "\ud800",
            "a plus": "+",
            "a slash": "/",
            "a percent sign": "%",
        }.items():
            yield f"{name} at the start", junk + token
            yield f"{name} in the header", f"{header[:4]}{junk}{header[4:]}.{payload}.{signature}"
            yield f"{name} after the header", f"{header}{junk}.{payload}.{signature}"
            yield f"{name} after the payload", f"{header}.{payload}{junk}.{signature}"
            yield f"{name} at the end", token + junk
        yield "unused bits set in the signature", f"{header}.{payload}.{_respelt(signature)}"
        uneven = json.dumps(self.header).encode()
        uneven += b" " * ((1 - len(uneven)) % 3)
        header, payload, signature = self.token(header=uneven).split(".")
        yield "unused bits set in the header", f"{_respelt(header)}.{payload}.{signature}"
        yield "4,097 characters", token + "A" * (4097 - len(token))
        yield (
            "more than 4,096 characters, signed",
            self.token(payload=self.payload | {"x": "x" * 3000}),
        )
        yield "a million characters", "A" * 1_000_000
        yield "a million dots", "." * 1_000_000

    def documents(self) -> Forgeries:
        """Yield tokens whose header or payload is no JSON object, or one that is hard to read."""
        documents = {
            "a list": b"[]",
            "a text": b'"x"',
            "a number": b"1",
            "null": b"null",
            "NaN": b"NaN",
            "white space": b" ",
            "half an object": b'{"a":',
            "an empty object": b"{}",
            "not UTF-8": b"\xff\xfe",
            "an object after a byte order mark": b"\xef\xbb\xbf{}",
            "two objects": b"{}{}",
            "380 brackets": b"[" * 380,
            "2,500 brackets": b"[" * 2500,
            "400 levels": b'{"a":' * 400 + b"1" + b"}" * 400,
            "5,000 brackets": b"[" * 5000,
        }
        for name, document in documents.items():
            yield f"the header: {name}", self.token(header=document)
            yield f"the payload: {name}", self.token(payload=document)

    def claims(self) -> Forgeries:
        """Yield well-signed tokens in which a claim is missing, doubled, or not ours."""

        def signed(claim: str, value: object) -> str:
            return self.token(payload=self.payload | {claim: value})

        for claim, value in self.payload.items():
            rest = {k: v for k, v in self.payload.items() if k != claim}
            yield f"no {claim}", self.token(payload=rest)
            yield f"{claim} twice", self.token(payload=_twice(self.payload, claim, value))
            for other in (None, True, [value], {"": value}):
                yield f"{claim} {other!r}", signed(claim, other)
        for claim in ("sub", "sid", "jti"):
            for text in (
                "ABCDEFAB-0000-7000-8000-ABCDEFABCDEF",
                "{abcdefab-0000-7000-8000-abcdefabcdef}",
                "urn:uuid:abcdefab-0000-7000-8000-abcdefabcdef",
                "abcdefab000070008000abcdefabcdef",
                "abcdefab-0000-7000-8000-abcdefabcdef ",
                "abcdefab-0000-7000-8000-abcdefabcde",
                "admin",
                "",
            ):
                yield f"{claim} {text!r}", signed(claim, text)
            yield f"{claim} a number", signed(claim, UUID(str(self.payload[claim])).int)
        issuer = str(self.payload["iss"])
        for iss in ("https://evil.example", f"{issuer}/", issuer.upper(), issuer[:-1], "", 1):
            yield f"issuer {iss!r}", signed("iss", iss)
        audience = str(self.payload["aud"])
        for aud in (
            "other",
            self.other_audience,
            audience.upper(),
            audience[:-1],
            f"{audience} ",
            "",
            1,
            ["other", audience],
            [],
        ):
            yield f"audience {aud!r}", signed("aud", aud)

    def times(self) -> Forgeries:
        """Yield well-signed tokens that are not valid now, or whose times are no whole seconds."""
        names = [name for name in ("iat", "nbf", "exp", "auth_time") if name in self.payload]
        for name in names:
            good = self.payload[name]
            for value in (
                f"{good}.0",
                f"{good}.5",
                f"{good}e0",
                f"-{good}",
                f'"{good}"',
                "-1",
                "Infinity",
                "-Infinity",
                "NaN",
                "1e999",
                "253402300800",
                "18446744073709551616",
                str(_HUGE),
                f"-{_HUGE}",
            ):
                text = json.dumps(self.payload | {name: "@"}).replace('"@"', value)
                yield f"{name} {value:.30}", self.token(payload=text.encode())

        def lasting(start: int, end: int) -> str:
            times = {"iat": start, "exp": end} | ({"nbf": start} if "nbf" in names else {})
            return self.token(payload=self.payload | {k: self.now + v for k, v in times.items()})

        longest = int(self.lifetime.total_seconds())
        nan = json.dumps(self.payload | {"more": float("nan")}).encode()
        yield "NaN in an unread claim", self.token(payload=nan)
        yield "expired", lasting(-60, -1)
        yield "expiring this second", lasting(-60, 0)
        yield "issued in the future", lasting(31, 60)
        yield "living a second longer than ours", lasting(0, longest + 1)
        yield "living for ten years", lasting(0, 315_360_000)
        yield "expiring as it is issued", lasting(10, 10)
        yield "expiring before it was issued", lasting(20, 10)


def rs256(key: RsaKey, message: bytes) -> bytes:
    """Sign as we do."""
    return _pkcs1(hashes.SHA256())(key, message)


def base64url(data: bytes) -> str:
    """Encode as RFC 7515 does."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(segment: str) -> bytes:
    """Undo `base64url`."""
    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def _pkcs1(algorithm: hashes.HashAlgorithm) -> Sign:
    return lambda key, message: key.private.sign(message, padding.PKCS1v15(), algorithm)


def _pss(key: RsaKey, message: bytes) -> bytes:
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return key.private.sign(message, scheme, hashes.SHA256())


def _hmac(secret: bytes, digest: str) -> Sign:
    return lambda _, message: hmac.digest(secret, message, digest)


def _spellings_of_public_key(key: RsaKey) -> dict[str, bytes]:
    """Return every text of a public key that somebody might take for an HMAC secret."""
    public = key.private.public_key()
    spki, pkcs1 = PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1
    return {
        "SPKI PEM": public.public_bytes(Encoding.PEM, spki),
        "SPKI PEM without its last line feed": public.public_bytes(Encoding.PEM, spki).strip(),
        "SPKI DER": public.public_bytes(Encoding.DER, spki),
        "PKCS #1 PEM": public.public_bytes(Encoding.PEM, pkcs1),
        "PKCS #1 DER": public.public_bytes(Encoding.DER, pkcs1),
        "OpenSSH": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "JWK": json.dumps(key.public_jwk(use="sig", algorithm="RS256")).encode(),
        "an empty text": b"",
    }


def _twice(document: dict[str, object], member: str, value: object) -> bytes:
    return f"{{{json.dumps(member)}:{json.dumps(value)},{json.dumps(document)[1:]}".encode()


def _respelt(segment: str) -> str:
    """Return another text that decodes to the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = segment[:-1] + alphabet[alphabet.index(segment[-1]) + 1]
    assert decoded(other) == decoded(segment)
    return other
