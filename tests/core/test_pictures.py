"""Picture files: each kind ends as the right bytes, and what is skipped is said.

The files are tiny, written by Pillow, or byte by byte where Pillow cannot write them. What they
must become is worked out by hand.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from acgan_lib import pictures
from acgan_lib.data import image_folder


def save(path: Path, content: bytes | Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.save(path, **options)  # type: ignore[arg-type]
    return path


def plain(mode: str, colour: object, size: tuple[int, int] = (40, 40)) -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]


def grey(file: Path, size: int = 2) -> list[list[int]]:
    """The rows of a picture read as grey. Two pixels wide and high, it comes as it is."""
    return pictures.read(file, size, 1)[0].tolist()


def colours(file: Path, size: int = 2) -> list[list[list[int]]]:
    return pictures.read(file, size, 3).permute(1, 2, 0).tolist()


# Files, byte by byte. Each picture is two pixels wide and high.


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content)) + kind + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )  # fmt: skip


def png(depth: int, kind: int, rows: list[bytes], *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", 2, 2, depth, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    every = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in every)


def ifd(order: str, fields: list[tuple[int, int, int, bytes]]) -> bytes:
    """A TIFF header and directory of (tag, type, count, value of up to four bytes)."""
    entries = b"".join(
        struct.pack(f"{order}HHI", *field[:3]) + field[3].ljust(4, b"\0") for field in fields
    )
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    return head + struct.pack(f"{order}H", len(fields)) + entries + b"\0\0\0\0"


def tiff(photometric: int, bits: int, pixels: bytes, *extra: tuple[int, int, int, bytes]) -> bytes:
    def number(value: int) -> bytes:
        return struct.pack("<I", value)

    def fields(offset: int) -> bytes:
        numbers = {256: 2, 257: 2, 258: bits, 259: 1, 262: photometric, 277: 1, 278: 2}
        numbers |= {273: offset, 279: len(pixels)}
        every = [(tag, 4 if tag in (273, 279) else 3, 1, number(v)) for tag, v in numbers.items()]
        return ifd("<", sorted([*every, *extra]))

    return fields(len(fields(0))) + pixels


def bmp(pixels: bytes, masks: tuple[int, ...] = (), height: int = 2) -> bytes:
    """32 bits a pixel; with a version-4 header, and so with masks, if there are any."""
    size = 108 if masks else 40
    about = (size, 2, height, 1, 32, 3 if masks else 0, len(pixels), 0, 0, 0, 0)
    header = struct.pack("<IiiHHIIiiII", *about) + struct.pack(f"<{len(masks)}I", *masks)
    start = 14 + size
    return (
        b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
        + header.ljust(size, b"\0") + pixels
    )  # fmt: skip


# What every kind of picture becomes


@pytest.mark.parametrize(
    ("image", "value", "colour"),
    [
        (plain("L", 100), 100, (100, 100, 100)),
        (plain("1", 1), 255, (255, 255, 255)),
        (plain("RGB", (255, 0, 0)), 76, (255, 0, 0)),
        (plain("RGBA", (255, 0, 0, 0)), 255, (255, 255, 255)),  # transparent: white, not red
        (plain("RGBA", (0, 0, 0, 255)), 0, (0, 0, 0)),
        (plain("RGBA", (0, 0, 0, 51)), 204, (204, 204, 204)),  # a fifth of black on white
        (plain("LA", (0, 0)), 255, (255, 255, 255)),
        (plain("LA", (90, 255)), 90, (90, 90, 90)),
        (plain("RGB", (0, 0, 255)).convert("P"), 29, (0, 0, 255)),
        (plain("I;16", 0x8000), 128, (128, 128, 128)),  # 16 bits are scaled, not cut off
    ],
    ids=["grey", "bits", "rgb", "clear", "opaque", "fifth", "grey-alpha", "la", "palette", "16"],
)
def test_every_kind_of_png_ends_as_grey_or_colour(
    tmp_path: Path, image: Image.Image, value: int, colour: tuple[int, int, int]
) -> None:
    file = save(tmp_path / "1.png", image)
    assert pictures.read(file, 4, 1).unique().tolist() == [value]
    got = pictures.read(file, 4, 3)
    assert [got[c].unique().tolist() for c in range(3)] == [[one] for one in colour]


KEY = b"tRNS"


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        # Grey 1 and 0 / 0 and 1, of which 1 is transparent; and so on.
        (png(1, 0, [b"\x80", b"\x40"], (KEY, b"\0\1")), [[255, 0], [0, 255]]),
        (png(1, 0, [b"\x80", b"\x40"], (KEY, b"\0\0")), [[255, 255], [255, 255]]),
        (png(2, 0, [b"\x60", b"\x90"], (KEY, b"\0\1")), [[255, 170], [170, 255]]),
        (png(4, 0, [b"\x3b", b"\xb3"], (KEY, b"\0\x0b")), [[51, 255], [255, 51]]),
        (png(8, 0, [b"\x3b\x14", b"\0\x3b"], (KEY, b"\0\x3b")), [[255, 20], [0, 255]]),
        # Bits of the key above the depth do not count.
        (png(8, 0, [b"\x3b\x14", b"\0\x3b"], (KEY, b"\x70\x3b")), [[255, 20], [0, 255]]),
        # 16 bits: the upper 8 alone would make both transparent.
        (png(16, 0, [b"\x30\1\x30\2", b"\0\0\xff\xff"], (KEY, b"\x30\1")), [[255, 48], [0, 255]]),
    ],
    ids=["1", "1-black", "2", "4", "8", "8-masked", "16"],
)
def test_a_transparent_grey_is_white_at_every_depth(
    tmp_path: Path, content: bytes, rows: list[list[int]]
) -> None:
    file = save(tmp_path / "1.png", content)
    assert grey(file) == rows
    assert colours(file) == [[[value] * 3 for value in row] for row in rows]


def test_a_transparent_colour_is_white_at_every_depth(tmp_path: Path) -> None:
    white = [255, 255, 255]
    rows = [bytes([9, 8, 7, 9, 8, 6]), bytes([9, 8, 7, 0, 0, 0])]
    eight = png(8, 2, rows, (KEY, struct.pack(">3H", 9, 8, 7)))
    assert colours(save(tmp_path / "8.png", eight)) == [[white, [9, 8, 6]], [white, [0, 0, 0]]]
    a, b = struct.pack(">3H", 0x901, 0x802, 0x703), struct.pack(">3H", 0x901, 0x802, 0x704)
    sixteen = png(16, 2, [a + b, bytes(6) + a], (KEY, a))
    assert colours(save(tmp_path / "16.png", sixteen)) == [[white, [9, 8, 7]], [[0, 0, 0], white]]
    for depth, row in ((1, b"\x40"), (2, b"\x10"), (4, b"\x01"), (8, b"\0\1")):
        table = (b"PLTE", bytes([1, 2, 3, 100, 50, 0]))
        for alpha, second in ((b"\xff\0", white), (b"\xff\x33", [224, 214, 204])):
            content = png(depth, 3, [row, row], table, (KEY, alpha))
            file = save(tmp_path / f"p{depth}{alpha[1]}.png", content)
            assert colours(file) == [[[1, 2, 3], second]] * 2


def test_16_bits_are_scaled_in_every_format(tmp_path: Path) -> None:
    values = (30 << 8, 200 << 8, 0, 0xFFFF)
    expected = [[30, 200], [0, 255]]
    big, little = struct.pack(">4H", *values), struct.pack("<4H", *values)
    texts = {
        "png": png(16, 0, [big[:4], big[4:]]),
        "tif": tiff(1, 16, little),
        "pgm": b"P5 2 2 65535\n" + big,
        "2.pgm": b"P2 2 2 65535\n" + " ".join(map(str, values)).encode(),
        "12.pgm": b"P5 2 2 4095\n" + struct.pack(">4H", 30 << 4, 200 << 4, 0, 4095),
        # 12 bits: 1e0 c80, 000 fff
        "12.tif": tiff(1, 12, bytes.fromhex("1e0c80 000fff")),
    }
    for name, content in texts.items():
        file = save(tmp_path / f"a.{name}", content)
        assert grey(file) == expected, name
        assert colours(file) == [[[v] * 3 for v in row] for row in expected], name
    Image.fromarray(np.array(values, np.uint16).reshape(2, 2)).save(tmp_path / "b.tiff")
    assert grey(tmp_path / "b.tiff") == expected
    rgb = struct.pack(">12H", *(v << 8 for v in range(10, 22)))
    wanted = np.arange(10, 22).reshape(2, 2, 3).tolist()
    assert colours(save(tmp_path / "c.png", png(16, 2, [rgb[:12], rgb[12:]]))) == wanted
    assert colours(save(tmp_path / "c.ppm", b"P6 2 2 65535\n" + rgb)) == wanted
    grey_alpha = struct.pack(">8H", 7 << 8, 0xFFFF, 7 << 8, 0, 0, 0xFFFF, 0, 0)
    content = png(16, 4, [grey_alpha[:8], grey_alpha[8:]])
    assert grey(save(tmp_path / "d.png", content)) == [[7, 255], [0, 255]]


@pytest.mark.parametrize(
    ("bits", "pixels", "rows"),
    [
        (1, b"\x80\x40", [[0, 255], [255, 0]]),
        (2, b"\x60\x90", [[170, 85], [85, 170]]),
        (4, b"\x3b\xb3", [[204, 68], [68, 204]]),
        (8, bytes([30, 200, 0, 255]), [[225, 55], [255, 0]]),
        (16, struct.pack("<4H", 30 << 8, 200 << 8, 0, 0xFFFF), [[225, 55], [255, 0]]),
    ],
)
def test_min_is_white_at_every_depth(
    tmp_path: Path, bits: int, pixels: bytes, rows: list[list[int]]
) -> None:
    assert grey(save(tmp_path / "0.tif", tiff(0, bits, pixels))) == rows
    turned = [[255 - value for value in row] for row in rows]
    assert grey(save(tmp_path / "1.tif", tiff(1, bits, pixels))) == turned


@pytest.mark.parametrize("mode", ["1", "L", "I;16"])
def test_min_is_white_when_compressed(tmp_path: Path, mode: str) -> None:
    """Pillow does not turn the values when it writes, but says that they are."""
    value = {"1": 0, "L": 30, "I;16": 30 << 8}[mode]
    options = {"compression": "tiff_lzw", "tiffinfo": {262: 0}}
    file = save(tmp_path / "1.tif", plain(mode, value), **options)
    with Image.open(file) as image:
        assert image.tag_v2[262] == 0  # type: ignore[attr-defined]
    expected = 30 if mode == "L" else {"1": 0, "I;16": 225}[mode]
    assert grey(file) == [[expected] * 2] * 2


def test_32_bit_bmps_have_alpha_where_it_is_meant(tmp_path: Path) -> None:
    """Rows from the bottom up, pixels blue first. A fourth byte of 0 everywhere is padding."""
    white, first, second = [255, 255, 255], [30, 20, 10], [60, 50, 40]

    def pixels(*alpha: int) -> bytes:
        below, above = bytes([40, 50, 60]), bytes([10, 20, 30])
        return b"".join(
            p + bytes([a]) for p, a in zip((below, below, above, above), alpha, strict=True)
        )

    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for with_masks in ((), masks):
        for alpha in (0, 255):
            file = save(tmp_path / "1.bmp", bmp(pixels(*[alpha] * 4), with_masks))
            assert colours(file) == [[first] * 2, [second] * 2], (with_masks, alpha)
        file = save(tmp_path / "2.bmp", bmp(pixels(255, 0, 0, 255), with_masks))
        assert colours(file) == [[white, first], [second, white]]
    upside_down = save(tmp_path / "3.bmp", bmp(pixels(255, 0, 0, 255), height=-2))
    assert colours(upside_down) == [[second, white], [white, first]]
    half = plain("RGBA", (255, 0, 0, 0), (2, 2))
    half.putpixel((0, 0), (0, 0, 0, 255))
    assert colours(save(tmp_path / "4.bmp", half)) == [[[0, 0, 0], white], [white, white]]
    assert colours(save(tmp_path / "5.bmp", plain("RGB", (1, 2, 3), (2, 2))))[0][0] == [1, 2, 3]


def test_values_of_32_bits_are_refused(tmp_path: Path) -> None:
    for mode in ("F", "I"):
        file = save(tmp_path / f"{mode}.tiff", plain(mode, 1))
        with pytest.raises(ValueError, match=rf"{mode}\.tiff .* save it with 8 bits"):
            pictures.read(file, 4, 1)


def test_of_an_animation_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [plain("RGB", c, (8, 8)) for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    for name in ("a.gif", "a.png", "a.webp", "a.tiff"):
        lossless = {"lossless": True} if name == "a.webp" else {}
        file = save(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], **lossless)
        assert colours(file) == [[[255, 0, 0]] * 2] * 2, name
    file = save(tmp_path / "b.mpo", frames[0], save_all=True, append_images=frames[1:], quality=95)
    (red, *_), *_ = colours(file.rename(tmp_path / "b.jpg"))
    assert red[0] > 250
    assert max(red[1:]) < 5
    # A frame in palette colours, one of which is transparent.
    two = plain("P", 0, (2, 2))
    two.putpalette([10, 20, 30, 200, 100, 50])
    two.putpixel((1, 0), 1)
    file = save(tmp_path / "c.gif", two, transparency=1)
    assert colours(file) == [[[10, 20, 30], [255] * 3], [[10, 20, 30]] * 2]


def test_other_modes_and_shapes(tmp_path: Path) -> None:
    cmyk = save(tmp_path / "1.jpg", plain("CMYK", (0, 255, 255, 0)), quality=95)
    assert (torch.tensor(colours(cmyk)) - torch.tensor([255, 0, 0])).abs().max() <= 6
    interlaced = save(tmp_path / "2.gif", plain("L", 77), interlace=1)
    assert grey(interlaced) == [[77, 77], [77, 77]]
    for size, name in (((1, 1), "3.png"), ((3000, 2), "4.png"), ((2, 3000), "5.png")):
        assert pictures.read(save(tmp_path / name, plain("L", 9, size)), 32, 3).unique() == 9
    assert grey(save(tmp_path / "6.PGM", b"P1 2 2\n1 0 0 1\n")) == [[0, 255], [255, 0]]


@pytest.mark.parametrize("turned", [False, True])
def test_the_central_square_is_kept(tmp_path: Path, turned: bool) -> None:
    array = np.zeros((30, 90), dtype=np.uint8)
    array[:, 30:60] = 200
    file = save(tmp_path / "1.png", Image.fromarray(array.T.copy() if turned else array))
    assert pictures.read(file, 30, 1).unique().tolist() == [200]


def test_shrinking_averages_instead_of_picking_pixels(tmp_path: Path) -> None:
    """Stripes one pixel wide must become grey; every eighth pixel alone would give black."""
    array = np.zeros((64, 64), dtype=np.uint8)
    array[:, 1::2] = 255
    file = save(tmp_path / "1.png", Image.fromarray(array))
    inner = pictures.read(file, 8, 1)[0, :, 1:-1].float()
    assert bool(((inner > 118) & (inner < 138)).all())


def test_a_large_jpeg_is_read_like_any_other_image(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (12, 18, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((900, 600), Image.Resampling.BICUBIC)
    jpeg = pictures.read(save(tmp_path / "1.jpg", image, quality=95), 16, 3).long()
    png = pictures.read(save(tmp_path / "2.png", image), 16, 3).long()
    assert (jpeg - png).abs().max() <= 2
    assert png.float().std() > 30, "the picture must have something in it to get wrong"


# Orientation

# Where the stored rows 1 2 / 3 4 stand after a turn, by the EXIF standard: the first row is at the
# top, top, bottom, bottom, left, right, right, left; the first column at the other one named there.
TURNED = {
    1: [[1, 2], [3, 4]], 2: [[2, 1], [4, 3]], 3: [[4, 3], [2, 1]], 4: [[3, 4], [1, 2]],
    5: [[1, 3], [2, 4]], 6: [[3, 1], [4, 2]], 7: [[4, 2], [3, 1]], 8: [[2, 4], [1, 3]],
}  # fmt: skip
STORED = Image.fromarray(np.array([[1, 2], [3, 4]], dtype=np.uint8))
LARGE = STORED.resize((64, 64), Image.Resampling.NEAREST).point(lambda value: 50 * value)


def field(tag: int, kind: int, value: int | bytes, count: int = 1) -> tuple[int, int, int, bytes]:
    packed = value if isinstance(value, bytes) else struct.pack("<I", value)
    return tag, kind, count, packed


ORIENTATION = 0x0112
# Fields at which Pillow's exif_transpose stops, or that lead nowhere.
ODD = {
    "none": [],
    "resolution as byte": [field(0x011A, 1, 72)],
    "resolution as text": [field(0x011A, 2, b"72\0", 3)],
    "resolution nowhere": [field(0x011A, 5, 99_999)],
    "maker nowhere": [field(0x010F, 2, 99_999, 400)],
    "maker huge": [field(0x010F, 2, 8, 0xFFFFFFFF)],
    "unknown type": [field(0x010F, 77, 8)],
    "exif directory nowhere": [field(0x8769, 4, 99_999)],
    "exif directory as text": [field(0x8769, 2, b"abc\0", 4)],
    "gps as float": [field(0x8825, 11, struct.pack("<f", 1.5))],
    "date as number": [field(0x0132, 4, 7)],
    "rational as signed": [field(0x011B, 9, 0xFFFFFFFF)],
}


def exif(orientation: int, *more: tuple[int, int, int, bytes], kind: int = 3) -> bytes:
    return b"Exif\0\0" + ifd("<", sorted([field(ORIENTATION, kind, orientation), *more]))


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("name", ["1.png", "1.webp", "1.tiff"])
def test_pictures_stand_upright(tmp_path: Path, name: str, orientation: int) -> None:
    options = {"lossless": True} if name == "1.webp" else {}
    info = exif(orientation)[6:] if name == "1.tiff" else exif(orientation)
    file = save(tmp_path / name, STORED, exif=info, **options)
    assert grey(file) == TURNED[orientation]


@pytest.mark.parametrize("odd", ODD)
def test_odd_exif_fields_do_not_matter(tmp_path: Path, odd: str) -> None:
    content = exif(6, *ODD[odd])
    save(tmp_path / "a" / "1.png", STORED, exif=content)
    save(tmp_path / "a" / "2.jpg", LARGE, exif=content, quality=95)
    lossless, jpeg = image_folder(tmp_path, size=2, channels=1).images[:, 0].int()
    assert lossless.tolist() == TURNED[6]
    assert (jpeg - 50 * torch.tensor(TURNED[6])).abs().max() <= 20  # bicubic, from 64 to 2


@pytest.mark.parametrize(
    "content",
    [
        b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\xff" * 40,
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff", exif(6)[:-12], exif(0), exif(9), exif(6, kind=5),
        exif(6).replace(b"II*\0", b"XX*\0"),
    ],
)  # fmt: skip
def test_damaged_exif_leaves_the_picture_as_it_is(tmp_path: Path, content: bytes) -> None:
    save(tmp_path / "a" / "1.png", png(8, 0, [b"\1\2", b"\3\4"], (b"eXIf", content[6:])))
    save(tmp_path / "a" / "2.webp", STORED, exif=content, lossless=True)
    save(tmp_path / "a" / "3.jpg", LARGE, exif=content, quality=95)
    got = image_folder(tmp_path, size=2, channels=1).images[:, 0]
    assert got[0].tolist() == got[1].tolist() == TURNED[1]
    assert (got[2].int() - 50 * torch.tensor(TURNED[1])).abs().max() <= 20


def test_orientation_is_found_in_other_places(tmp_path: Path) -> None:
    for kind in (1, 3, 4):  # byte, short, long
        assert grey(save(tmp_path / "1.png", STORED, exif=exif(6, kind=kind))) == TURNED[6]
    big_endian = ifd(">", [(ORIENTATION, 3, 1, struct.pack(">H", 6))])
    assert grey(save(tmp_path / "2.png", STORED, exif=big_endian)) == TURNED[6]
    raw = exif(6)
    text = f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode()  # ImageMagick's way, before PNG had one
    profile = b"Raw profile type exif\0\0" + zlib.compress(text)
    old = png(8, 0, [b"\1\2", b"\3\4"], (b"zTXt", profile))
    assert grey(save(tmp_path / "3.png", old)) == TURNED[6]
    for xmp in (b'<rdf tiff:Orientation="6"/>', b"<tiff:Orientation>6</tiff:Orientation>"):
        chunks = (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
        content = png(8, 0, [b"\1\2", b"\3\4"], chunks)
        assert grey(save(tmp_path / "4.png", content)) == TURNED[6]
        assert grey(save(tmp_path / "5.webp", STORED, xmp=xmp, lossless=True)) == TURNED[6]
        # Where both speak, EXIF counts, and a TIFF's own field.
        fields = {274: 1, 700: xmp}
        assert grey(save(tmp_path / "6.tiff", STORED, tiffinfo=fields)) == TURNED[1]
        both = {"exif": exif(3), "xmp": xmp, "lossless": True}
        assert grey(save(tmp_path / "6.webp", STORED, **both)) == TURNED[3]


# Which files a folder has


def test_classes_are_folders_in_the_natural_order_of_their_names(tmp_path: Path) -> None:
    names = ["10", "2", "img12", "img9", "x01", "x1", "Cat", "ant", "zebra"]
    for name in names:
        save(tmp_path / name / "1.png", plain("L", 1, (2, 2)))
    expected = ["2", "10", "Cat", "ant", "img9", "img12", "x01", "x1", "zebra"]
    assert list(pictures.class_folders(tmp_path)) == expected
    assert image_folder(tmp_path, size=2).class_names == tuple(expected)
    assert list(pictures.class_folders(tmp_path, ("zebra", "2"))) == ["zebra", "2"]
    with pytest.raises(FileNotFoundError, match="no class folder dog, cow"):
        pictures.class_folders(tmp_path, ("2", "dog", "cow"))


def test_a_folder_of_classes_becomes_a_labelled_set(tmp_path: Path) -> None:
    for name, value in (("zebra", 30), ("ant", 10), ("Cat", 20)):
        save(tmp_path / name / "1.png", plain("L", value))
    save(tmp_path / "ant" / "more" / "0.PNG", plain("L", 11))
    save(tmp_path / "ant" / "a.png" / "0.Jpeg", plain("L", 12))  # a folder, whatever its name
    save(tmp_path / "ant" / ".hidden.png", plain("L", 99))
    save(tmp_path / "ant" / ".hidden" / "1.png", plain("L", 99))
    save(tmp_path / ".git" / "x.png", plain("L", 99))
    (tmp_path / "readme.txt").write_text("not a class")
    d = image_folder(tmp_path, size=8, channels=1)
    assert d.class_names == ("Cat", "ant", "zebra")
    assert d.labels.tolist() == [0, 1, 1, 1, 2]
    assert d.images[:, 0, 0, 0].tolist() == [20, 10, 12, 11, 30]
    assert d.images.shape == (5, 1, 8, 8)
    x, y = d.batch(0, 5, seed=0)  # the same call that trains on FashionMNIST
    assert sorted(y.tolist()) == [0, 1, 1, 1, 2]
    assert x.min() >= -1
    for size in (1, 28, 33, 64, 128):
        assert image_folder(tmp_path, size=size).images.shape == (5, 3, size, size)


def test_the_readers_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save(tmp_path / "mine" / "a" / "1.png", plain("L", 1))
    assert len(image_folder("~/mine")) == len(image_folder(Path("~/mine"))) == 1
    assert image_folder("~/mine").source == "folder mine"


def test_what_is_skipped_is_counted_and_said_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name / "1.png", plain("L", 1))
        save(tmp_path / name / "2.heic", b"x")
    save(tmp_path / "a" / "notes", b"x")
    save(tmp_path / "loose.png", plain("L", 1))
    save(tmp_path / "loose.JPG", plain("L", 1))
    os.symlink(tmp_path / "gone.png", tmp_path / "b" / "3.png")
    os.symlink(tmp_path / "gone", tmp_path / "c")
    with pytest.warns(UserWarning, match="skipped in") as caught:
        assert len(image_folder(tmp_path)) == 2
    (warning,) = caught
    assert str(warning.message) == (
        f"skipped in {tmp_path}: .heic files (2), broken links (2), other files (1), "
        "pictures beside the class folders (2)"
    )
    assert warning.filename == __file__


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    save(root / "a" / "1.png", plain("L", 1))
    save(elsewhere / "x" / "2.png", plain("L", 2))
    save(elsewhere / "y" / "3.png", plain("L", 3))
    os.symlink(elsewhere / "x", root / "a" / "more")
    os.symlink(elsewhere / "y" / "3.png", root / "a" / "one.png")
    os.symlink(elsewhere / "y", root / "b")
    d = image_folder(root, size=2, channels=1)
    assert d.class_names == ("a", "b")
    assert (d.images[:, 0, 0, 0].tolist(), d.labels.tolist()) == ([1, 2, 3, 3], [0, 0, 0, 1])
    os.symlink(root, root / "a" / "top")
    os.symlink(tmp_path, elsewhere / "x" / "far")
    os.symlink(elsewhere, elsewhere / "y" / "up")  # above the class b, though not above the root
    os.symlink(elsewhere / "x", root / "a" / "again")  # first in order, so it is read here
    os.symlink("loop", root / "a" / "loop")
    os.symlink(root, root / "self")
    with pytest.warns(UserWarning, match="skipped in") as caught:
        d = image_folder(root, size=2, channels=1)
    assert d.images[:, 0, 0, 0].tolist() == [1, 2, 3, 3], "each picture once in its class"
    assert [str(warning.message) for warning in caught] == [
        f"skipped in {root}: broken links (1), links to folders that are read already, or hold "
        "the link (5)"
    ]


def test_a_root_one_level_too_high_is_noticed(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("cats", "dogs"):
            save(tmp_path / part / name / "1.png", plain("L", 1))
    text = r"folders of folders: no class .* such as test.cats, whose class is test\. If it"
    with pytest.warns(UserWarning, match=text):
        assert image_folder(tmp_path).class_names == ("test", "train")
    assert image_folder(tmp_path / "train").class_names == ("cats", "dogs")
    save(tmp_path / "train" / "0.png", plain("L", 1))
    assert len(image_folder(tmp_path)) == 5  # a class with a picture of its own is one


def test_empty_classes_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no subfolders"):
        image_folder(tmp_path)
    save(tmp_path / "a" / "1.png", plain("L", 1))
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match=r"class folder .*b has no picture, nothing"):
        image_folder(tmp_path)
    save(tmp_path / "b" / "1.heic", b"x")
    with pytest.raises(ValueError, match=r"has no picture, \.heic files \(1\)"):
        image_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="is none"):
        image_folder(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="is none"):
        image_folder(tmp_path / "a" / "1.png")
    for wrong in ({"channels": 4}, {"size": 0}):
        with pytest.raises(ValueError, match="channels must be 1 or 3 and size positive"):
            image_folder(tmp_path, **wrong)  # type: ignore[arg-type]


# What cannot be read


def truncated(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, kind)
    return buffer.getvalue()[:-200]


@pytest.mark.parametrize(
    "content", [b"", b"not an image", b"<html>404</html>", *map(truncated, ("JPEG", "PNG", "WEBP"))]
)
def test_an_unreadable_picture_is_named(tmp_path: Path, content: bytes) -> None:
    save(tmp_path / "a" / "1.png", plain("L", 1))
    save(tmp_path / "a" / "2.jpg", content)
    with pytest.raises(ValueError, match=r"2\.jpg cannot be read as a picture"):
        image_folder(tmp_path)


def test_whatever_pillow_raises_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(tmp_path / "1.png", plain("L", 1))
    for error in (KeyError(3), struct.error("unpack"), TypeError(), AttributeError("x")):

        def stop(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(pictures, "_decoded", stop)
        with pytest.raises(ValueError, match=rf"1\.png cannot .*{type(error).__name__}|unpack"):
            pictures.read(file, 2, 1)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    file = save(tmp_path / "a" / "1.png", plain("L", 1))
    file.chmod(0)
    with pytest.raises(ValueError, match=r"1\.png cannot be read .*Permission denied"):
        image_folder(tmp_path)
    file.parent.chmod(0)
    try:
        with pytest.raises(PermissionError, match="a"):
            image_folder(tmp_path)
    finally:
        file.parent.chmod(0o755)
