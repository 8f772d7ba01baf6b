"""When the sun rises, culminates and sets: ephem's algorithms behind the domain's `Sun`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import ephem

from domain.scheduling.schedules import Solar, SolarEvent

_A_YEAR = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class _How:
    """Which passage of the sun through which altitude (degrees and minutes) an event is, as in Celery."""

    passage: Callable[..., ephem.Date]
    altitude: str = "0"
    of_its_centre: bool = True
    """Rather than of its upper edge."""


_RISING, _SETTING = ephem.Observer.next_rising, ephem.Observer.next_setting
# At the horizon, refraction lifts the sun by 34 minutes of arc (US Naval Observatory).
_AT_THE_HORIZON = "-0:34"
_HOW: Mapping[SolarEvent, _How] = {
    SolarEvent.DAWN_ASTRONOMICAL: _How(_RISING, "-18"),
    SolarEvent.DAWN_NAUTICAL: _How(_RISING, "-12"),
    SolarEvent.DAWN_CIVIL: _How(_RISING, "-6"),
    SolarEvent.SUNRISE: _How(_RISING, _AT_THE_HORIZON, of_its_centre=False),
    SolarEvent.SOLAR_NOON: _How(ephem.Observer.next_transit),
    SolarEvent.SUNSET: _How(_SETTING, _AT_THE_HORIZON, of_its_centre=False),
    SolarEvent.DUSK_CIVIL: _How(_SETTING, "-6"),
    SolarEvent.DUSK_NAUTICAL: _How(_SETTING, "-12"),
    SolarEvent.DUSK_ASTRONOMICAL: _How(_SETTING, "-18"),
}


def sun(solar: Solar, after: datetime) -> datetime | None:
    """Return the first such event strictly after an instant (aware), or None if there is none within a year.

    Near the poles the sun may neither rise nor set for months: the next event is then the one that ends them.
    """
    how = _HOW[solar.event]
    observer = ephem.Observer()
    observer.lat, observer.lon = str(solar.latitude), str(solar.longitude)
    observer.horizon = how.altitude
    observer.pressure = 0  # the altitude accounts for refraction
    body = ephem.Sun()
    options = {"use_center": True} if how.of_its_centre and how.altitude != "0" else {}
    start = ephem.Date(after.astimezone(UTC).replace(tzinfo=None))
    end = after + _A_YEAR
    while (begun := _instant(start)) <= end:
        try:
            event = _instant(how.passage(observer, body, start=start, **options))
        except ephem.CircumpolarError:
            start = observer.next_antitransit(body, start=start)
            continue
        if event > after:
            return event if event <= end else None
        start = ephem.Date(max(begun, event).replace(tzinfo=None) + timedelta(minutes=1))
    return None


def _instant(date: ephem.Date) -> datetime:
    moment: datetime = date.datetime()
    return moment.replace(tzinfo=UTC)
