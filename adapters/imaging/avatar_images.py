"""`AvatarImages` with Pillow."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

from application.ports.avatar_images import AvatarImages
from domain.errors import Unavailable
from domain.files.errors import NotAnImage

_SIDE = 512
_MOST_PIXELS = 16 * 1024 * 1024
_LONGEST_SIDE = 8_192
_MOST_WAITING = 16
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
"""Pillow knows many more, and most of its vulnerabilities were in those."""


class PillowAvatarImages(AvatarImages):
    """One image at a time, in a thread: a large one takes 130 MB for a moment."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="images")
        self._waiting = 0

    async def encode(self, content: bytes) -> bytes:
        if self._waiting >= _MOST_WAITING:
            raise Unavailable("The conversion of images")
        self._waiting += 1
        loop = asyncio.get_running_loop()
        work = self._pool.submit(_encode, content)
        # When the work ends, not when its caller gives up.
        work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._end))
        return await asyncio.wrap_future(work)

    def _end(self) -> None:
        self._waiting -= 1


def _encode(content: bytes) -> bytes:
    from PIL import Image, ImageOps  # noqa: PLC0415 - takes 0.1 s, which a process without avatars does not pay

    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > _MOST_PIXELS or max(width, height) > _LONGEST_SIDE:
                raise NotAnImage
            image.draft("RGB", (2 * _SIDE, 2 * _SIDE))  # decodes a JPEG at a fraction of its size
            ImageOps.exif_transpose(image, in_place=True)
            mode = "RGBA" if image.has_transparency_data else "RGB"
            pixels = image if image.mode == mode else image.convert(mode)
    except (*bombs, OSError, ValueError, SyntaxError, EOFError, OverflowError) as error:
        raise NotAnImage from error
    side = min(_SIDE, *pixels.size)
    # A new image has no metadata; a converted one keeps EXIF, XMP and profiles, and they would be saved.
    square = Image.new(mode, (side, side))
    square.paste(ImageOps.fit(pixels, (side, side)))
    encoded = BytesIO()
    square.save(encoded, "WEBP", quality=85)
    return encoded.getvalue()
