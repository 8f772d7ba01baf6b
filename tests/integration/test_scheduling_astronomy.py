"""The sun through all of its events, at places where they are ordinary and at places where they are not."""

from datetime import UTC, datetime, timedelta

import pytest

from adapters.astronomy import sun
from domain.scheduling.firing import next_fire
from domain.scheduling.schedules import Solar, SolarEvent

MIDSUMMER = datetime(2026, 6, 21, tzinfo=UTC)


@pytest.mark.parametrize("event", SolarEvent)
@pytest.mark.parametrize(
    "place", [(52.52, 13.405), (69.65, 18.96), (-0.18, -78.47), (-89.0, 179.9), (66.0, -180.0)]
)
def test_events_follow_each_other_and_never_come_twice(
    event: SolarEvent, place: tuple[float, float]
) -> None:
    moment, solar = MIDSUMMER, Solar(event, *place)
    for _ in range(40):
        following = next_fire(solar, moment, anchor=MIDSUMMER, sun=sun)
        if following is None:
            break
        # Where days without the event end or begin, it comes at odd times.
        assert following - moment > timedelta(hours=12) or moment == MIDSUMMER
        moment = following
