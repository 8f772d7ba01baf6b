"""What every `PasswordTransport` promises."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from adapters.memory.password_transport import MemoryPasswordTransport
from adapters.security.password_transport import RsaPasswordTransport
from adapters.security.pool import HashingPool
from application.ports.password_transport import PasswordTransport, TransportKey
from application.settings import PasswordSettings
from domain.password_transport import SealedPassword
from tests.support.keys import keys_with


@dataclass(frozen=True)
class Case:
    """A transport, and what its clients do."""

    transport: PasswordTransport
    seal: Callable[[bytes], SealedPassword]


@pytest.fixture(params=["memory", "rsa"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    if request.param == "memory":
        memory = MemoryPasswordTransport()
        yield Case(memory, memory.seal)
        return
    pool = HashingPool(PasswordSettings())
    transport = RsaPasswordTransport(keys_with().transport, pool)
    yield Case(transport, lambda plaintext: encrypt(transport.public_key(), plaintext))
    pool.close()


def encrypt(key: TransportKey, plaintext: bytes) -> SealedPassword:
    public = load_pem_public_key(key.pem.encode())
    assert isinstance(public, rsa.RSAPublicKey)
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return SealedPassword(b64encode(public.encrypt(plaintext, scheme)).decode(), key.key_id)


async def test_a_password_encrypted_with_the_public_key_is_decrypted(case: Case) -> None:
    opened = await case.transport.open(case.seal(b"correct horse"))

    assert opened is not None
    assert opened.plaintext == b"correct horse"


async def test_as_many_bytes_as_it_says_can_be_sealed(case: Case) -> None:
    plaintext = b"x" * case.transport.capacity()

    opened = await case.transport.open(case.seal(plaintext))

    assert opened is not None
    assert opened.plaintext == plaintext


async def test_the_active_key_need_not_be_named(case: Case) -> None:
    sealed = case.seal(b"correct horse")
    assert sealed.key_id == case.transport.public_key().key_id

    opened = await case.transport.open(replace(sealed, key_id=None))

    assert opened == await case.transport.open(sealed)


async def test_the_digest_tells_a_copy_from_the_same_password_sealed_again(case: Case) -> None:
    sealed, again = case.seal(b"correct horse"), case.seal(b"correct horse")

    first, copy, second = [await case.transport.open(s) for s in (sealed, sealed, again)]

    assert first is not None
    assert copy is not None
    assert second is not None
    assert first.digest == copy.digest != second.digest


@pytest.mark.parametrize("ciphertext", ["", "AAAA", "correct horse", "\N{SNOWMAN}", "A" * 10_000])
async def test_a_text_that_was_not_encrypted_is_not_decrypted(case: Case, ciphertext: str) -> None:
    assert await case.transport.open(SealedPassword(ciphertext)) is None


async def test_an_unknown_key_opens_nothing(case: Case) -> None:
    sealed = case.seal(b"correct horse")

    assert await case.transport.open(replace(sealed, key_id="unknown")) is None
    assert await case.transport.open(replace(sealed, key_id="")) is None
