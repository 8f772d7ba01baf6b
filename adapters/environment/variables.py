"""Every variable: each is declared by a field of `application.settings`, or of the keys below."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias, get_type_hints

from pydantic import AfterValidator, BeforeValidator

from adapters.environment.values import kind_of, reader_of
from adapters.key_files import read_key_dir
from application.setting_types import Kind
from application.settings import KeyRing, KeySettings, RetiredKey, Settings

PREFIX = "PORTICO_"

_NO_KEYS = KeySettings()


def _pem(value: str) -> str:
    r"""Return the PEM text: given as it is, with `\n` for its line ends, or as the path of a file."""
    if "-----BEGIN" in value:
        return value.replace("\\n", "\n")
    try:
        text = Path(value).expanduser().read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError from error
    if "-----BEGIN" not in text:
        raise ValueError
    return text


def _key_dir(value: object) -> object:
    """Read the keys in a directory."""
    try:
        return read_key_dir(Path(value).expanduser()) if isinstance(value, str | Path) else value
    except OSError as error:
        raise ValueError from error


KeyDir: TypeAlias = Annotated[
    KeySettings,
    BeforeValidator(_key_dir),
    Kind("a readable directory of keys; `portico make-keys` makes one"),
]
Pem: TypeAlias = Annotated[
    str,
    AfterValidator(_pem),
    Kind("an RSA private key (PEM), or the path of a file with one", secret=True),
]
Pems: TypeAlias = Annotated[
    str,
    AfterValidator(_pem),
    Kind(
        "RSA private keys (PEM), one after the other, or the path of a file with them",
        secret=True,
    ),
]
NameKey: TypeAlias = Annotated[
    str,
    Kind(
        "a random secret of at least 32 ASCII characters without spaces",
        pattern="[!-~]{32,1000}",
        secret=True,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class KeyVariables:
    """The variables of the keys, which become the rings of `KeySettings`."""

    PREFIX: ClassVar = ""

    keys_dir: KeyDir = _NO_KEYS
    """Directory of all keys. Each of the variables below replaces one of its keys."""
    access_key: Pem | None = None
    """Key that signs access tokens."""
    access_key_next: Pem | None = None
    """Access key that becomes active at the next rotation. It is already published."""
    access_key_retired: Pems | None = None
    """Access keys that no longer sign, but whose tokens are still accepted."""
    refresh_key: Pem | None = None
    """Key that signs refresh tokens."""
    refresh_key_next: Pem | None = None
    """Refresh key that becomes active at the next rotation."""
    refresh_key_retired: Pems | None = None
    """Refresh keys that no longer sign, but whose tokens are still accepted."""
    transport_key: Pem | None = None
    """Key with which clients encrypt passwords."""
    transport_key_next: Pem | None = None
    """Transport key that becomes active at the next rotation."""
    transport_key_retired: Pems | None = None
    """Transport keys that are no longer published, but still decrypt."""
    name_key: NameKey | None = None
    """Secret that hashes names and devices of log-in attempts. A new one forgets locks and known devices."""

    def settings(self, *, generate_in: Path | None) -> KeySettings:
        """Return the rings: the keys of the directory, replaced by those of the variables."""
        return KeySettings(
            **{purpose: self._ring(purpose) for purpose in ("access", "refresh", "transport")},
            names=self.name_key or self.keys_dir.names,
            generate_in=generate_in,
        )

    def _ring(self, purpose: str) -> KeyRing:
        stored: KeyRing = getattr(self.keys_dir, purpose)
        active, following, retired = (
            getattr(self, f"{purpose}_key{suffix}") for suffix in ("", "_next", "_retired")
        )
        blocks = re.findall(
            r"-----BEGIN [^-]+-----.*?-----END [^-]+-----", retired or "", re.DOTALL
        )
        return KeyRing(
            active=active or stored.active,
            next=following or stored.next,
            retired=(*stored.retired, *(RetiredKey(pem=block) for block in blocks)),
            made_at=None if active else stored.made_at,
        )


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable, as its field declares it."""

    name: str
    section: type
    field: str
    hint: Any
    default: Any

    @property
    def kind(self) -> Kind:
        """The rule for its value."""
        return kind_of(self.hint)

    def read(self, value: object) -> Any:  # noqa: ANN401 - as many types as settings
        """Return the value of the setting; raise `pydantic.ValidationError` if it is not of its kind."""
        if value is None and self.default is None:
            return None
        return reader_of(self.hint).validate_python(value)


def variable_of(key: str) -> str:
    """Return the variable that a keyword of `load_settings` is for: `http_port` is `PORTICO_HTTP_PORT`."""
    return "ENVIRONMENT" if key == "environment" else PREFIX + key.upper()


def is_section(type_: object) -> bool:
    """Return whether a class is a section: its fields are variables or sections."""
    return hasattr(type_, "PREFIX")


def _declared(section: Any) -> Iterator[Variable]:  # noqa: ANN401 - a dataclass with a PREFIX
    hints = get_type_hints(section, include_extras=True)
    for field in fields(section):
        hint = hints[field.name]
        if is_section(hint):
            yield from _declared(hint)
        elif hint is not KeySettings:
            # The underscore of `global_` is there because `global` is a keyword.
            name = variable_of(f"{section.PREFIX}{field.name}".rstrip("_"))
            yield Variable(name, section, field.name, hint, field.default)


VARIABLES = {
    variable.name: variable for root in (Settings, KeyVariables) for variable in _declared(root)
}
SECRET_FILES = {
    f"{name}_FILE": name for name, variable in VARIABLES.items() if variable.kind.secret
}
FALLBACKS = {
    "DATABASE_URL": ("PORTICO_POSTGRES_URL", "postgres"),
    "REDIS_URL": ("PORTICO_REDIS_URL", "redis"),
}
"""Common names of addresses, the variable that each stands for, and how its value must begin."""
