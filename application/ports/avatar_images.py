"""Images that users upload of themselves."""

from typing import Protocol


class AvatarImages(Protocol):
    """Makes avatars of the images that users upload."""

    async def encode(self, content: bytes) -> bytes:
        """Return the image upright, as a square WebP of at most 512 pixels a side that has nothing but pixels.

        Only JPEG, PNG, WebP and GIF are read, also under another declared type; of an animation the first frame.
        Raise `NotAnImage`, also for one of more than 16 million pixels or 8,192 on a side; `Unavailable` if too many
        images wait.
        """
        ...
