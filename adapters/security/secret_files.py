"""Makes the secrets of a deployment with `compose.yaml`, for `portico make-secrets`: one file each.

Containers have users of their own, so the files can be read by everybody who can enter the directory, which on the
host is its owner alone. Passwords consist of letters and digits, because addresses contain them.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path

from adapters.security.key_directory import make_keys

_READABLE = 0o444
_BYTES = 24


def make_secrets(directory: Path) -> tuple[Path, ...]:
    """Make all secrets, and the keys in `keys`; return the files.

    The directory is made too, for its owner alone. Raise `FileExistsError` if there is something in it, because the
    data of the servers would be lost with the passwords, and `OSError` if it cannot be written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise FileExistsError(directory)
    directory.chmod(0o700)
    keys = directory / "keys"
    made = [*make_keys(keys)]
    keys.chmod(0o755)
    for name, text in _contents().items():
        made.append(directory / name)
        made[-1].write_text(text)
    for file in made:
        file.chmod(_READABLE)
    return tuple(made)


def _contents() -> Mapping[str, str]:
    postgres, redis, mongo, s3 = (secrets.token_hex(_BYTES) for _ in range(4))
    hashed = hashlib.sha256(redis.encode()).hexdigest()
    identity = {
        "name": "portico",
        "credentials": [{"accessKey": "portico", "secretKey": s3}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return {
        "postgres_password": postgres,
        "postgres_url": f"postgresql://portico:{postgres}@postgres:5432/portico",
        # Health checks have no password, and may do nothing else.
        "valkey_users": f"user default reset on nopass +ping\nuser portico reset on #{hashed} ~* &* +@all\n",
        "redis_url": f"redis://portico:{redis}@valkey:6379/0",
        "mongo_root_password": secrets.token_hex(_BYTES),
        "mongo_password": mongo,
        "mongo_key": secrets.token_hex(_BYTES),
        "mongo_url": f"mongodb://portico:{mongo}@mongo:27017/?replicaSet=rs0&authSource=admin",
        "s3_secret_key": s3,
        "seaweedfs_identities": json.dumps({"identities": [identity]}),
        "seaweedfs_security": _seaweedfs_security(),
        "administrator_password": secrets.token_hex(12),
        "metrics_token": secrets.token_hex(_BYTES),
        "grafana_password": secrets.token_hex(12),
    }


def _seaweedfs_security() -> str:
    """Return the configuration with which its parts take only requests of each other."""
    key = secrets.token_hex(_BYTES)
    sections = ("signing", "signing.read", "filer_signing", "filer_signing.read")
    return "".join(f'[jwt.{section}]\nkey = "{key}"\n' for section in sections)
