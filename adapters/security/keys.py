"""The RSA keys of this process: read, checked, and named by their thumbprints."""

import hashlib
import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from adapters.key_files import read_key_dir
from adapters.security.key_directory import make_keys
from application.setting_problems import Problem, missing_key, missing_name_key
from application.settings import Environment, KeyRing, KeySettings

_LEAST_BITS = 2048  # NIST SP 800-131A
_LEAST_EXPONENT = 65537  # NIST SP 800-56B §6.2
_NOT_INTACT = "is no intact private key, or one of less than 1024 bits"


@dataclass(frozen=True, slots=True)
class RsaKey:
    """A private key that passed every check of `load_keys`."""

    id: str
    """The RFC 7638 thumbprint of its public half."""
    private: rsa.RSAPrivateKey = field(repr=False, compare=False)
    until: int | None = None
    """When a retired key stops being accepted, in unix seconds."""

    def accepted_at(self, now: datetime) -> bool:
        """Tell whether what it signed may still be believed."""
        return self.until is None or now.timestamp() < self.until

    def public_jwk(self, *, use: str, algorithm: str) -> dict[str, str]:
        """Return the public half as a JWK (RFC 7517)."""
        return {
            **_jwk(self.private.public_key().public_numbers()),
            "kid": self.id,
            "use": use,
            "alg": algorithm,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaKeyRing:
    """The keys of one purpose, no two of them equal."""

    active: RsaKey
    next: RsaKey | None = None
    retired: tuple[RsaKey, ...] = ()

    def __iter__(self) -> Iterator[RsaKey]:
        """Yield every key: the next one, the active one, the retired ones."""
        if self.next is not None:
            yield self.next
        yield self.active
        yield from self.retired


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """One ring per purpose; no key is in two of them."""

    access: RsaKeyRing
    refresh: RsaKeyRing
    transport: RsaKeyRing
    name_key: bytes = field(repr=False)
    """The secret that hashes account names and devices, so that no store of attempts tells who has an account.

    A secret of its own: a rotation of the keys of tokens forgets no lock.
    """


def load_keys(
    settings: KeySettings, environment: Environment
) -> tuple[Keys | None, tuple[Problem, ...]]:
    """Return the keys and no problem, or None and everything that is wrong. No problem shows a key.

    Keys that are missing come from `settings.generate_in`, where they are made if need be; never when deployed.
    """
    problems: list[Problem] = []
    if settings.generate_in is not None and environment.debug:
        try:
            settings = _completed(settings, settings.generate_in)
        except OSError as error:
            problem = f"must be a directory in which keys can be made and read: {error.strerror}"
            return None, (Problem("PORTICO_DATA_DIR", problem),)
    rings = {
        variable: _load_ring(variable, ring, environment, problems)
        for variable, ring in (
            ("PORTICO_ACCESS_KEY", settings.access),
            ("PORTICO_REFRESH_KEY", settings.refresh),
            ("PORTICO_TRANSPORT_KEY", settings.transport),
        )
    }
    problems += _keys_of_two_purposes(rings)
    if not settings.names:
        problems.append(missing_name_key(environment))
    access, refresh, transport = rings.values()
    if problems or access is None or refresh is None or transport is None or not settings.names:
        return None, tuple(problems)
    name_key = settings.names.encode()
    return Keys(access=access, refresh=refresh, transport=transport, name_key=name_key), ()


def thumbprint(public: rsa.RSAPublicNumbers) -> str:
    """Return what everybody calls this key who follows RFC 7638."""
    # §3: the required members alone, sorted, without white space.
    canonical = json.dumps(_jwk(public), sort_keys=True, separators=(",", ":"))
    return _base64url(hashlib.sha256(canonical.encode()).digest())


class _Unfit(Exception):
    """The problem of a key, in words that follow the name of its variable."""


def _completed(settings: KeySettings, directory: Path) -> KeySettings:
    rings = {
        "access": settings.access,
        "refresh": settings.refresh,
        "transport": settings.transport,
    }
    missing = [purpose for purpose, ring in rings.items() if not ring.active]
    if not missing and settings.names:
        return settings
    make_keys(directory, missing, with_next=False)
    made = read_key_dir(directory)
    return KeySettings(
        access=settings.access if settings.access.active else made.access,
        refresh=settings.refresh if settings.refresh.active else made.refresh,
        transport=settings.transport if settings.transport.active else made.transport,
        names=settings.names or made.names,
    )


def _load_ring(
    variable: str, ring: KeyRing, environment: Environment, problems: list[Problem]
) -> RsaKeyRing | None:
    """Return the ring, or None without an active key. Add what is wrong to `problems`."""

    def load(suffix: str, pem: str, until: int | None = None) -> RsaKey | None:
        try:
            return _load(pem, until)
        except _Unfit as unfit:
            problems.append(Problem(variable + suffix, str(unfit)))
            return None

    if not ring.active:
        problems.append(missing_key(variable, environment))
    active = load("", ring.active) if ring.active else None
    following = load("_NEXT", ring.next) if ring.next else None
    retired = [load("_RETIRED", key.pem, key.until_unix) for key in ring.retired]
    if active is None:
        return None
    # A directory that is rotated while it is read may show one key in two roles.
    if following is not None and following.id == active.id:
        following = None
    in_use = {active.id, following.id if following else ""}
    latest = {key.id: key for key in retired if key is not None and key.id not in in_use}
    return RsaKeyRing(active=active, next=following, retired=tuple(latest.values()))


def _load(pem: str, until: int | None) -> RsaKey:
    if "-----BEGIN " not in pem:
        raise _Unfit("is no PEM text; was a placeholder left in?")
    try:
        private = load_pem_private_key(
            pem.encode(), password=None, unsafe_skip_rsa_key_validation=True
        )
    except TypeError:
        raise _Unfit("is encrypted; give the key without a pass phrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _Unfit(_NOT_INTACT) from None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise _Unfit("must be an RSA key")
    if private.key_size < _LEAST_BITS:
        raise _Unfit(f"has {private.key_size} bits; at least {_LEAST_BITS} are needed")
    public = private.public_key().public_numbers()
    if public.e < _LEAST_EXPONENT:
        raise _Unfit(f"has the public exponent {public.e}; make one with {_LEAST_EXPONENT}")
    if not _is_intact(private):
        raise _Unfit(_NOT_INTACT)
    return RsaKey(thumbprint(public), private, until)


def _is_intact(key: rsa.RSAPrivateKey) -> bool:
    """Return whether the numbers of a key belong together (RFC 8017 §3.2), and it verifies what it signs.

    OpenSSL also proves that the factors are prime. That takes 60 ms for each key, a tenth of a start, and finds only
    what was made to deceive: with any other factor that is no prime, what is signed does not verify.
    """
    numbers = key.private_numbers()
    p, q, d = numbers.p, numbers.q, numbers.d
    public = numbers.public_numbers
    if not (
        min(p, q) > 1
        and p * q == public.n
        and public.e * d % (p - 1) == public.e * d % (q - 1) == 1
        and (numbers.dmp1, numbers.dmq1) == (d % (p - 1), d % (q - 1))
        and numbers.iqmp * q % p == 1
    ):
        return False
    message = os.urandom(32)
    try:
        signature = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        key.public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


def _keys_of_two_purposes(rings: Mapping[str, RsaKeyRing | None]) -> Iterator[Problem]:
    owners: dict[int, str] = {}
    for variable, ring in rings.items():
        for key in ring or ():
            owner = owners.setdefault(key.private.public_key().public_numbers().n, variable)
            if owner != variable:
                yield Problem(
                    variable, f"has a key in common with {owner}; each purpose needs its own"
                )


def _jwk(public: rsa.RSAPublicNumbers) -> dict[str, str]:
    return {
        "kty": "RSA",
        "n": _base64url(_big_endian(public.n)),
        "e": _base64url(_big_endian(public.e)),
    }


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
