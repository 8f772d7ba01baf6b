"""An authority of a test's own, and what it certifies."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Certified:
    """Files (PEM): a server's certificate, its key, and the authority that clients must know."""

    certificate: Path
    key: Path
    authority: Path


def certify(host: str, directory: Path) -> Certified:
    """Write a new authority and a certificate for a host name."""
    ours, theirs = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    files = Certified(*(directory / name for name in ("server.pem", "server.key", "authority.pem")))
    authority = _named("authority", ours.public_key(), "authority")
    authority = authority.add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    server = _named(host, theirs.public_key(), "authority")
    server = server.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    pem = Encoding.PEM
    files.authority.write_bytes(authority.sign(ours, hashes.SHA256()).public_bytes(pem))
    files.certificate.write_bytes(server.sign(ours, hashes.SHA256()).public_bytes(pem))
    files.key.write_bytes(theirs.private_bytes(pem, PrivateFormat.PKCS8, NoEncryption()))
    return files


def _named(name: str, key: rsa.RSAPublicKey, issuer: str) -> x509.CertificateBuilder:
    subject, signer = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer)
    )
    now = datetime.now(UTC)  # noqa: TID251 - what clients compare it with
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
