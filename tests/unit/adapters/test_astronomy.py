"""The sun, against almanacs."""

from datetime import UTC, datetime

import pytest

from adapters.astronomy import sun
from domain.scheduling.firing import next_fire
from domain.scheduling.schedules import Solar, SolarEvent
from tests.support.clock import MINUTE

BERLIN, TROMSO, QUITO = (52.52, 13.405), (69.65, 18.96), (-0.18, -78.47)
MIDSUMMER = datetime(2026, 6, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("event", "place", "time"),
    [
        (SolarEvent.SUNRISE, BERLIN, (2, 43)),
        (SolarEvent.SOLAR_NOON, BERLIN, (11, 8)),
        (SolarEvent.SUNSET, BERLIN, (19, 33)),
        (SolarEvent.DAWN_CIVIL, BERLIN, (1, 53)),
        (SolarEvent.DUSK_NAUTICAL, BERLIN, (21, 47)),
        (SolarEvent.SUNRISE, QUITO, (11, 12)),
        (SolarEvent.SUNSET, QUITO, (23, 19)),
    ],
)
def test_the_sun_does_what_almanacs_say(
    event: SolarEvent, place: tuple[float, float], time: tuple[int, int]
) -> None:
    """By the solar calculator of NOAA, to the minute, in UTC."""
    found = sun(Solar(event, *place), MIDSUMMER)

    assert found is not None
    assert abs(found - MIDSUMMER.replace(hour=time[0], minute=time[1])) < MINUTE


def test_when_the_sun_does_not_set_for_weeks_the_next_sunset_is_after_them() -> None:
    """In Tromsø it stays up from 18 May to 25 July, give or take a day."""
    sunset = sun(Solar(SolarEvent.SUNSET, *TROMSO), MIDSUMMER)

    assert sunset is not None
    assert sunset.date().isoformat() in {"2026-07-24", "2026-07-25", "2026-07-26"}


@pytest.mark.parametrize("latitude", [90.0, -90.0])
def test_an_event_that_does_not_happen_within_a_year_is_none(latitude: float) -> None:
    assert sun(Solar(SolarEvent.SUNRISE, latitude, 0.0), MIDSUMMER) is None
    assert (
        next_fire(Solar(SolarEvent.SUNRISE, latitude, 0.0), MIDSUMMER, anchor=MIDSUMMER, sun=sun)
        is None
    )
