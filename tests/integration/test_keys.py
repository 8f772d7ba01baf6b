"""Keys: what is refused at the start, where missing ones come from, and how they are rotated."""

import asyncio
import os
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from math import gcd, lcm
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

import bootstrap
from adapters.key_files import read_key_dir
from adapters.memory.metrics import MemoryMetrics
from adapters.security.key_directory import make_keys, rotate_keys
from adapters.security.keys import RsaKeyRing, load_keys, thumbprint
from application.metrics import KEY_CREATED
from application.setting_problems import Problem, UnsafeSettings, problems_of
from application.settings import (
    Environment,
    HttpSettings,
    KeyRing,
    KeySettings,
    RetiredKey,
    SessionSettings,
    Settings,
    Stores,
)
from entrypoints.sampling import set_key_times
from tests.support.builders import A_MOMENT
from tests.support.forgery import base64url, decoded
from tests.support.keys import a_pem, a_private_key, key_settings, keys_with, load, pem_of

NOW = int(A_MOMENT.timestamp())
PURPOSES = ("access", "refresh", "transport")


def problems_with(settings: KeySettings) -> tuple[Problem, ...]:
    keys, problems = load_keys(settings, Environment.PRODUCTION)
    assert keys is None
    return problems


def ids_of(ring: RsaKeyRing) -> list[str]:
    return [key.id for key in ring]


# --- what is refused ----------------------------------------------------------------------------


def keys_of_wrong_numbers(
    good: rsa.RSAPrivateNumbers,
) -> Iterator[tuple[str, rsa.RSAPrivateKey]]:
    p, q = a_composite(1024), good.q
    d = pow(65537, -1, lcm(p - 1, q - 1))
    numbers = {"p": p, "q": q, "d": d, "dmp1": d % (p - 1), "dmq1": d % (q - 1)}
    composite = rsa.RSAPrivateNumbers(
        **numbers, iqmp=pow(q, -1, p), public_numbers=rsa.RSAPublicNumbers(65537, p * q)
    )
    yield "a factor that is no prime", composite.private_key(unsafe_skip_rsa_key_validation=True)
    for name in ("d", "dmp1", "dmq1", "iqmp"):
        parts = {each: getattr(good, each) for each in ("p", "q", "d", "dmp1", "dmq1", "iqmp")}
        parts[name] += 2
        altered = rsa.RSAPrivateNumbers(**parts, public_numbers=good.public_numbers)
        yield f"another {name}", altered.private_key(unsafe_skip_rsa_key_validation=True)


def a_composite(bits: int) -> int:
    """Return a number without small factors that is no prime, and has an exponent to decrypt what 65537 encrypts."""
    number = (3 << (bits - 2)) + 1
    while (
        gcd(number, 2 * 3 * 5 * 7) > 1
        or gcd(number - 1, 65537) > 1
        or pow(2, number - 1, number) == 1
    ):
        number += 2
    return number


def unfit_keys() -> Iterator[tuple[str, str]]:
    good = a_private_key("access")
    pem = pem_of(good)
    pkcs8, no_encryption = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    encrypted = good.private_bytes(
        serialization.Encoding.PEM, pkcs8, serialization.BestAvailableEncryption(b"pass phrase")
    )
    public = good.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for placeholder in ("changeme", "<your access key>", "your_access_token", "/run/secrets/key"):
        yield f"the placeholder {placeholder}", placeholder
    yield "text that is not ASCII", "-----BEGIN PRIVATE KEY-----\n\N{SNOWMAN}\ud800"
    yield "a frame around nothing", "-----BEGIN PRIVATE KEY-----\n\n-----END PRIVATE KEY-----"
    yield "a frame around a placeholder", pem.replace(pem.splitlines()[1], "paste your key here")
    yield "a key cut short", pem[: len(pem) // 2]
    yield "a key with a line missing", pem.replace(pem.splitlines()[5] + "\n", "")
    yield "an encrypted key", encrypted.decode()
    yield "a public key", public.decode()
    yield "a key of 1024 bits", pem_of(a_private_key("short", bits=1024))
    yield "a key of 2047 bits", pem_of(a_private_key("almost", bits=2047))
    yield (
        "a key with the public exponent 3",
        pem_of(rsa.generate_private_key(public_exponent=3, key_size=2048)),
    )
    for name, key in keys_of_wrong_numbers(good.private_numbers()):
        yield name, pem_of(key)
    for other in (ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()):
        text = other.private_bytes(serialization.Encoding.PEM, pkcs8, no_encryption).decode()
        yield type(other).__name__, text


def test_an_unfit_key_is_refused_and_never_shown(subtests: pytest.Subtests) -> None:
    for name, pem in unfit_keys():
        with subtests.test(name):
            problem, *_ = problems_with(KeySettings(access=KeyRing(active=pem)))

            assert problem.variable == "PORTICO_ACCESS_KEY"
            for line in pem.split():
                assert len(line) < 8 or line not in str(problem)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_each_key_is_refused_under_the_name_of_its_variable(purpose: str) -> None:
    ring = KeyRing(
        active="changeme", next="changeme", retired=(RetiredKey(pem="changeme", until_unix=NOW),)
    )
    variable = f"PORTICO_{purpose.upper()}_KEY"

    problems = problems_with(key_settings(**{purpose: ring}))

    assert [problem.variable for problem in problems] == [
        variable,
        f"{variable}_NEXT",
        f"{variable}_RETIRED",
    ]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    settings = KeySettings(
        access=KeyRing(active="changeme"),
        refresh=KeyRing(active="changeme", next="changeme"),
        transport=KeyRing(),
    )

    assert [problem.variable for problem in problems_with(settings)] == [
        "PORTICO_ACCESS_KEY",
        "PORTICO_REFRESH_KEY",
        "PORTICO_REFRESH_KEY_NEXT",
        "PORTICO_TRANSPORT_KEY",
        "PORTICO_NAME_KEY",
    ]


@pytest.mark.parametrize("role", ["active", "next", "retired"])
def test_one_key_for_two_purposes_is_refused(role: str) -> None:
    """Compared by its numbers, for one key can be written in two ways."""
    shared = a_private_key("access")
    otherwise = shared.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()
    refresh = {
        "active": KeyRing(active=otherwise),
        "next": KeyRing(active=a_pem("refresh"), next=otherwise),
        "retired": KeyRing(active=a_pem("refresh"), retired=(RetiredKey(pem=otherwise),)),
    }[role]

    (problem,) = problems_with(key_settings(refresh=refresh))

    assert problem.variable == "PORTICO_REFRESH_KEY"
    assert "PORTICO_ACCESS_KEY" in problem.message


def test_a_missing_key_is_one_problem_of_the_settings_as_a_whole() -> None:
    """`Settings` knows it too, and says it in the same words."""
    settings = Settings(environment=Environment.PRODUCTION)

    assert set(problems_with(settings.keys)) < set(problems_of(settings))


# --- what is loaded -----------------------------------------------------------------------------


RFC_7638_EXAMPLE = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJEC"
    "PebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2Qvzq"
    "Y368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0"
    "fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
)


def test_a_key_is_called_by_its_thumbprint() -> None:
    """With the example of RFC 7638 §3.1."""
    modulus = int.from_bytes(decoded(RFC_7638_EXAMPLE), "big")

    name = thumbprint(rsa.RSAPublicNumbers(e=65537, n=modulus))

    assert name == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_a_published_key_is_the_public_half_and_no_more() -> None:
    key = keys_with().access.active
    numbers = key.private.public_key().public_numbers()

    jwk = key.public_jwk(use="sig", algorithm="RS256")

    assert jwk == {
        "kty": "RSA",
        "n": base64url(numbers.n.to_bytes(256, "big")),
        "e": "AQAB",
        "kid": thumbprint(numbers),
        "use": "sig",
        "alg": "RS256",
    }


def test_keys_show_nothing_secret_when_they_are_printed() -> None:
    keys = keys_with()

    assert repr(keys.name_key) not in repr(keys)
    assert "PrivateKey" not in repr(keys)


def test_account_names_are_hashed_under_a_secret_of_their_own(tmp_path: Path) -> None:
    """So that no rotation forgets a lock or a known device."""
    make_keys(tmp_path)
    before = load(read_key_dir(tmp_path))
    for _ in range(2):
        rotate_keys(tmp_path, SETTINGS, A_MOMENT)

    after = load(read_key_dir(tmp_path))

    assert len(before.name_key) >= 32
    assert after.name_key == before.name_key
    assert after.refresh.active != before.refresh.active


def test_a_directory_from_before_is_given_the_secret_for_names(tmp_path: Path) -> None:
    make_keys(tmp_path)
    (tmp_path / "names.key").unlink()
    keys, (problem,) = load_keys(read_key_dir(tmp_path), Environment.PRODUCTION)
    assert keys is None
    assert problem.variable == "PORTICO_NAME_KEY"

    assert [path.name for path in make_keys(tmp_path)] == ["names.key"]
    assert load(read_key_dir(tmp_path)).name_key


def test_the_age_of_an_active_key_is_that_of_its_file(tmp_path: Path) -> None:
    """So operators see which ones were never rotated."""
    make_keys(tmp_path, ("access",))
    os.utime(tmp_path / "access.active.pem", (NOW, NOW))
    metrics = MemoryMetrics()

    set_key_times(metrics, read_key_dir(tmp_path))

    assert {**metrics.values} == {(KEY_CREATED, ("access",)): NOW}
    rotate_keys(tmp_path, SETTINGS, A_MOMENT)
    made_at = read_key_dir(tmp_path).access.made_at
    assert made_at is not None
    assert made_at > A_MOMENT


def test_a_key_shown_in_two_roles_counts_once_and_until_the_later_time() -> None:
    """A process may read a directory in the middle of a rotation."""
    retired = [
        RetiredKey(pem=a_pem(name), until_unix=until)
        for name, until in (("active", 1), ("next", 2), ("old", 3), ("old", 4))
    ]

    ring = keys_with(
        access=KeyRing(active=a_pem("active"), next=a_pem("next"), retired=tuple(retired))
    ).access

    assert len(set(ids_of(ring))) == len(ids_of(ring)) == 3
    assert [key.until for key in ring.retired] == [4]


def test_a_next_key_that_is_in_use_already_is_no_second_one() -> None:
    ring = keys_with(access=KeyRing(active=a_pem("access"), next=a_pem("access"))).access

    assert ring.next is None


def test_a_process_that_signs_nothing_reads_no_keys_until_it_needs_one() -> None:
    keys = key_settings(refresh=KeyRing(active="changeme"))
    unfit = Settings(environment=Environment.LOCAL, stores=Stores.MEMORY, keys=keys)

    with pytest.raises(UnsafeSettings, match="PORTICO_REFRESH_KEY"):
        bootstrap.build(unfit)
    container = bootstrap.build_without_keys(unfit)

    assert container.uow()
    with pytest.raises(UnsafeSettings, match="PORTICO_REFRESH_KEY"):
        container.issue_tokens()


def test_a_process_without_keys_refuses_all_other_unsafe_settings() -> None:
    with pytest.raises(UnsafeSettings, match="PORTICO_HTTP_WORKERS"):
        bootstrap.build_without_keys(
            Settings(
                environment=Environment.LOCAL, stores=Stores.MEMORY, http=HttpSettings(workers=2)
            )
        )


# --- where missing ones come from ---------------------------------------------------------------


def test_missing_keys_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    settings = KeySettings(generate_in=tmp_path / "data" / "keys")

    first, _ = load_keys(settings, Environment.LOCAL)
    second, _ = load_keys(settings, Environment.LOCAL)

    assert first is not None
    assert second is not None
    assert ids_of(first.access) == ids_of(second.access)
    assert first.name_key == second.name_key
    directory = tmp_path / "data" / "keys"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_passwords_travel_under_a_longer_key_than_tokens_are_signed_with(tmp_path: Path) -> None:
    keys, _ = load_keys(KeySettings(generate_in=tmp_path), Environment.LOCAL)

    assert keys is not None
    assert keys.access.active.private.key_size == 2048
    assert keys.refresh.active.private.key_size == 2048
    assert keys.transport.active.private.key_size == 3072


def test_a_configured_key_is_used_beside_those_that_are_made(tmp_path: Path) -> None:
    settings = KeySettings(access=KeyRing(active=a_pem("access")), generate_in=tmp_path)

    keys, _ = load_keys(settings, Environment.LOCAL)

    assert keys is not None
    assert keys.access == keys_with().access
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "names.key",
        "refresh.active.pem",
        "transport.active.pem",
    ]


def test_nothing_is_made_when_nothing_is_missing(tmp_path: Path) -> None:
    settings = replace(key_settings(), generate_in=tmp_path / "keys")

    assert load_keys(settings, Environment.LOCAL) == (keys_with(), ())
    assert not (tmp_path / "keys").exists()


def test_no_key_is_made_where_people_rely_on_it(tmp_path: Path) -> None:
    for environment in (Environment.STAGING, Environment.PRODUCTION):
        keys, problems = load_keys(KeySettings(generate_in=tmp_path / "keys"), environment)

        assert keys is None
        assert len(problems) == 4
    assert not (tmp_path / "keys").exists()


def test_a_place_where_no_key_can_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    keys, (problem,) = load_keys(
        KeySettings(generate_in=tmp_path / "file" / "keys"), Environment.LOCAL
    )

    assert keys is None
    assert problem.variable == "PORTICO_DATA_DIR"


async def test_processes_that_start_at_once_end_with_the_same_keys(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from adapters.security.keys import load_keys
from application.settings import Environment, KeySettings
import sys
print("ready", flush=True)
sys.stdin.readline()
keys, problems = load_keys(KeySettings(generate_in=Path({str(tmp_path / "keys")!r})), Environment.LOCAL)
print(*(key.id for ring in (keys.access, keys.refresh, keys.transport) for key in ring))
"""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"

    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))

    (line,) = {out for out, _ in answers}
    assert len(line.split()) == 3


def test_leftovers_of_a_dead_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".access.active.pem.new").write_text("half a k")

    keys, problems = load_keys(KeySettings(generate_in=tmp_path), Environment.LOCAL)

    assert keys is not None, problems
    assert not list(tmp_path.glob(".*"))


# --- how they are rotated -----------------------------------------------------------------------

SETTINGS = SessionSettings()


def test_a_directory_of_keys_has_what_a_deployment_needs(tmp_path: Path) -> None:
    made = make_keys(tmp_path)

    assert sorted(path.name for path in made) == sorted(path.name for path in tmp_path.iterdir())
    keys, problems = load_keys(read_key_dir(tmp_path), Environment.PRODUCTION)
    assert keys is not None, problems
    for ring in (keys.access, keys.refresh, keys.transport):
        assert ring.next is not None
        assert ring.retired == ()


def test_making_keys_again_changes_nothing(tmp_path: Path) -> None:
    make_keys(tmp_path)
    before = read_key_dir(tmp_path)

    assert make_keys(tmp_path) == ()
    assert read_key_dir(tmp_path) == before


def test_a_rotation_retires_the_active_key_and_puts_the_next_one_in_use(tmp_path: Path) -> None:
    make_keys(tmp_path)
    before = load(read_key_dir(tmp_path))

    rotate_keys(tmp_path, SETTINGS, A_MOMENT)

    after = load(read_key_dir(tmp_path))
    for old, new in (
        (before.access, after.access),
        (before.refresh, after.refresh),
        (before.transport, after.transport),
    ):
        assert new.active == old.next
        assert [key.id for key in new.retired] == [old.active.id]
        assert new.next is not None
        assert new.next.id not in ids_of(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_retired_key_is_kept_until_its_last_token_has_expired_and_then_deleted(
    tmp_path: Path,
) -> None:
    """A day longer, for processes that were not restarted at once."""
    make_keys(tmp_path)
    rotate_keys(tmp_path, SETTINGS, A_MOMENT)
    day = timedelta(days=1)

    def retired(purpose: str) -> list[str]:
        return sorted(path.name for path in tmp_path.glob(f"{purpose}.retired-*.pem"))

    access = f"access.retired-{int((A_MOMENT + timedelta(minutes=10) + day).timestamp())}.pem"
    refresh = f"refresh.retired-{int((A_MOMENT + timedelta(days=7) + day).timestamp())}.pem"
    assert (retired("access"), retired("refresh")) == ([access], [refresh])

    rotate_keys(tmp_path, SETTINGS, A_MOMENT + timedelta(days=2))

    assert len(retired("access")) == 1
    assert access not in retired("access")
    assert refresh in retired("refresh")


def test_two_rotations_in_one_second_lose_no_key(tmp_path: Path) -> None:
    """Neither is a key lost for others than the owner who could read the directory, such as containers."""
    make_keys(tmp_path)
    for file in tmp_path.iterdir():
        file.chmod(0o444)
    before = load(read_key_dir(tmp_path))
    rotate_keys(tmp_path, SETTINGS, A_MOMENT)
    rotate_keys(tmp_path, SETTINGS, A_MOMENT)

    after = load(read_key_dir(tmp_path))

    assert set(ids_of(before.access)) <= set(ids_of(after.access))
    assert len(after.access.retired) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o444}


def pems(ring: KeyRing) -> set[str]:
    return {key for key in (ring.active, ring.next, *(key.pem for key in ring.retired)) if key}


def test_a_reader_during_a_rotation_finds_both_the_old_and_the_new_key(tmp_path: Path) -> None:
    make_keys(tmp_path)
    before = pems(read_key_dir(tmp_path).access)

    with ThreadPoolExecutor(1) as threads:
        rotation = threads.submit(rotate_keys, tmp_path, SETTINGS, A_MOMENT)
        while not rotation.done():
            assert before <= pems(read_key_dir(tmp_path).access)


def test_a_purpose_without_a_next_key_is_given_one_before_it_is_rotated(tmp_path: Path) -> None:
    """Other processes do not know a key that was made this moment: tokens signed with it would be refused elsewhere."""
    make_keys(tmp_path, with_next=False)
    before = load(read_key_dir(tmp_path))

    rotate_keys(tmp_path, SETTINGS, A_MOMENT)

    after = load(read_key_dir(tmp_path))
    assert after.access.active == before.access.active
    assert after.access.next is not None
    assert after.access.retired == ()


def test_a_rotation_needs_a_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rotate_keys(tmp_path / "missing", SETTINGS, A_MOMENT)
    with pytest.raises(FileNotFoundError):
        read_key_dir(tmp_path / "missing")


def test_files_of_other_names_are_left_alone(tmp_path: Path) -> None:
    make_keys(tmp_path)
    before = read_key_dir(tmp_path)
    for name in ("access.retired-soon.pem", "access.retired-1.pem.bak", "notes.txt"):
        (tmp_path / name).write_text("not a key")

    assert read_key_dir(tmp_path) == before
    rotate_keys(tmp_path, SETTINGS, A_MOMENT)
    assert (tmp_path / "access.retired-1.pem.bak").exists()
