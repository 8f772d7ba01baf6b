"""The limits on guessing: what an account and a network are, and how long locks last."""

from datetime import timedelta
from ipaddress import IPv6Address, ip_address

from domain.errors import RateLimited
from domain.identity import UserId, login_name
from domain.text import casefold_key

FAILURES_FORGOTTEN_AFTER = timedelta(days=1)
"""Failures in a row are forgotten this long after the last one, or after its lock."""

MAX_KNOWN_DEVICES = 20
"""Known devices per account; the one with the oldest log-in makes room."""


def lock_ladder(*, first: timedelta, longest: timedelta) -> tuple[timedelta, ...]:
    """Return the durations of consecutive locks: `first`, then doubled up to `longest`, which repeats."""
    ladder = [min(first, longest)]
    while timedelta(0) < ladder[-1] < longest:
        ladder.append(min(2 * ladder[-1], longest))
    return tuple(ladder)


def account_of_user(user_id: UserId) -> str:
    """Return the account of a user; it is the same for all names of the user."""
    return f"user {user_id}"


def account_of(name: str) -> str:
    """Return the common form of all spellings of a name, known or unknown."""
    named = login_name(name)
    return named.key if named is not None else casefold_key(name.strip())


SITE_FACTOR = 10
"""The limit of a site is this many times the limit of one network."""


def networks_of(address: str) -> tuple[str, ...]:
    """Return the network that one attacker is likely to control and, with IPv6, its site.

    The network is an IPv4 address or the /64 of an IPv6 address. The site is the /48, of which a customer may have
    all 65,536 networks (RFC 6177). An IPv4 address mapped into IPv6 is that IPv4 address (RFC 4291 §2.5.5.2). All
    texts that are no address share one bucket, so made-up texts give no fresh one.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return ("unknown",)
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if isinstance(parsed, IPv6Address):
        return tuple(
            f"{IPv6Address(int(parsed) >> 128 - bits << 128 - bits)}/{bits}" for bits in (64, 48)
        )
    return (str(parsed),)


class Throttled(RateLimited):
    """Too many attempts: from this address, on this account, or in total. The error does not say which."""

    code = "sessions.throttled"

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__("Too many attempts; wait before the next one", retry_after=retry_after)
