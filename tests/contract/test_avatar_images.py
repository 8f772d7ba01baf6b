"""What `AvatarImages` promises, kept by memory as far as it can be, and by Pillow."""

import asyncio
import io
import zlib
from typing import Any

import pytest
from PIL import Image

from adapters.imaging.avatar_images import PillowAvatarImages
from adapters.memory.avatar_images import MemoryAvatarImages
from application.ports.avatar_images import AvatarImages
from domain.errors import Unavailable
from domain.files.errors import NotAnImage


@pytest.fixture(params=[MemoryAvatarImages, PillowAvatarImages])
def images(request: pytest.FixtureRequest) -> AvatarImages:
    images: AvatarImages = request.param()
    return images


@pytest.fixture
def pillow() -> PillowAvatarImages:
    return PillowAvatarImages()


def an_image(kind: str, size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, "red").save(content, kind, **options)
    return content.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
async def test_an_image_becomes_a_webp(images: AvatarImages, kind: str) -> None:
    encoded = await images.encode(an_image(kind))

    assert encoded.startswith(b"RIFF")
    assert encoded[8:12] == b"WEBP"


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", an_image("TIFF")],
    ids=["nothing", "text", "SVG", "PDF", "TIFF"],
)
async def test_content_that_is_no_image_is_refused(images: AvatarImages, content: bytes) -> None:
    with pytest.raises(NotAnImage):
        await images.encode(content)


async def test_half_an_image_is_refused(pillow: PillowAvatarImages) -> None:
    whole = an_image("PNG", (100, 100))

    with pytest.raises(NotAnImage):
        await pillow.encode(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("given", "side"), [((1000, 600), 512), ((300, 900), 300), ((8, 6), 6), ((1, 1), 1)]
)
async def test_an_avatar_is_a_square(
    pillow: PillowAvatarImages, given: tuple[int, int], side: int
) -> None:
    assert opened(await pillow.encode(an_image("PNG", given))).size == (side, side)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_metadata_is_gone(pillow: PillowAvatarImages, kind: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    content = an_image(kind, exif=exif, icc_profile=b"a profile")
    assert b"taken at home" in content

    encoded = await pillow.encode(content + b"<script>alert(1)</script>")

    assert b"taken at home" not in encoded
    assert b"profile" not in encoded
    assert b"script" not in encoded
    assert not opened(encoded).getexif()


async def test_an_image_is_turned_as_its_camera_was(pillow: PillowAvatarImages) -> None:
    image = Image.new("RGB", (64, 64), "red")
    image.paste("blue", (0, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    content = io.BytesIO()
    image.save(content, "PNG", exif=exif)

    encoded = opened(await pillow.encode(content.getvalue())).convert("RGB")

    red, _, blue = encoded.getpixel((32, 5))  # type: ignore[misc]
    assert red > blue


async def test_an_image_that_comes_when_many_wait_is_refused(pillow: PillowAvatarImages) -> None:
    image = an_image("PNG", (64, 64))

    results = await asyncio.gather(
        *(pillow.encode(image) for _ in range(20)), return_exceptions=True
    )

    assert [type(result) for result in results].count(Unavailable) == 4
    assert await pillow.encode(image)


def a_png(width: int, height: int) -> bytes:
    """Return a PNG that claims to be of this size, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + crc

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(60_000, 60_000), (11_000, 11_000), (5_000, 5_000), (9_000, 1)])
async def test_a_decompression_bomb_is_refused_unopened(
    pillow: PillowAvatarImages, size: tuple[int, int]
) -> None:
    with pytest.raises(NotAnImage):
        await pillow.encode(a_png(*size))


async def test_a_large_image_is_in_memory_once(pillow: PillowAvatarImages) -> None:
    """What Pillow gives back stays with the process: two more copies of a photo left it with 190 MB."""
    photo = an_image("PNG", (4096, 2048))
    Image.core.reset_stats()  # type: ignore[attr-defined]  # Pillow's documentation, "Block Allocator"

    await pillow.encode(photo)

    blocks = Image.core.get_stats()["allocated_blocks"]  # type: ignore[attr-defined]
    assert blocks <= 3 + 3  # of 16 MiB for the photo, and one for each of three small images
