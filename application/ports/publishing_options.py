"""Which publishing options the message system takes."""

from collections.abc import Mapping
from typing import Protocol

from domain.scheduling.json_values import Json


class PublishingOptionsPolicy(Protocol):
    """The options of a message that the broker and its client accept."""

    def problems(self, given: Mapping[str, Json]) -> Mapping[str, str]:
        """Return what is wrong, by the name of the option: "must be text". Values may be anything that a user sent."""
        ...
