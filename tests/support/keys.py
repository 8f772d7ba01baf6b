"""RSA keys that tests share: making and checking one takes longer than most tests."""

from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from adapters.security.keys import Keys, load_keys
from application.settings import Environment, KeyRing, KeySettings


@cache
def a_private_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return the key that is called `name` in this test run."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def pem_of(key: rsa.RSAPrivateKey) -> str:
    """Return `key` as an operator would configure it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode("ascii")


@cache
def a_pem(name: str) -> str:
    """Return the PEM of the key that is called `name`."""
    return pem_of(a_private_key(name))


def key_settings(**rings: KeyRing) -> KeySettings:
    """Return settings with a good key for each purpose that is not given."""
    names = ("access", "refresh", "transport")
    access, refresh, transport = (rings.get(name, KeyRing(active=a_pem(name))) for name in names)
    return KeySettings(access=access, refresh=refresh, transport=transport, names="n" * 32)


@cache
def load(settings: KeySettings) -> Keys:
    """Return the keys of settings that are in order."""
    keys, problems = load_keys(settings, Environment.TESTING)
    assert keys is not None, problems
    return keys


def keys_with(**rings: KeyRing) -> Keys:
    """Return a good key for each purpose that is not given."""
    return load(key_settings(**rings))
