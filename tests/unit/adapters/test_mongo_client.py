"""How long an operation of MongoDB may take, without a server."""

from pymongo.common import MIN_HEARTBEAT_INTERVAL

from application.settings import MongoSettings


def test_a_client_waits_less_than_two_seconds_for_a_mongodb_that_is_not_there() -> None:
    """Until a server is there, the driver looks at its clock only after each of these intervals."""
    assert MongoSettings().timeout.total_seconds() + MIN_HEARTBEAT_INTERVAL < 2
