"""Writes videos as MP4 or GIF files. A file appears only when it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from PIL import Image

from rljob.run_folder.write_whole import replacing

GIF_LEAST_DELAY = 0.02
"""Seconds. Many programs show a GIF with a shorter frame time ten times slower."""
GIF_MOST_PICTURES = 600
_QUALITY = {"crf": "23", "preset": "veryfast"}


class Film(Protocol):
    def add(self, picture: np.ndarray) -> None:
        """Add the next picture: uint8 `[height, width, 3]`, all of the same size."""
        ...


@contextmanager
def writing(path: Path, size: tuple[int, int], rate: float) -> Iterator[Film]:
    """A film that is written to `path` when the `with` block ends without an error.

    Args:
        path: ends in `.mp4` or `.gif`.
        size: width and height in pixels, even.
        rate: pictures per second.
    """
    kind = _gif if path.suffix == ".gif" else _mp4
    with replacing(path) as temporary, kind(temporary, size, rate) as film:
        yield film


@contextmanager
def _mp4(path: Path, size: tuple[int, int], rate: float) -> Iterator[Film]:
    # The index comes first, so that players can start before the whole file is loaded.
    options = {"movflags": "+faststart"}
    with av.open(path, "w", format="mp4", options=options) as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(rate).limit_denominator(1000), options=_QUALITY
        )
        stream.width, stream.height = size
        # Every browser and phone can show this format.
        stream.pix_fmt = "yuv420p"
        # Limits the CPU that encoding takes from other processes.
        stream.codec_context.thread_count = 1
        yield _Mp4(container, stream)
        container.mux(stream.encode())


class _Mp4:
    def __init__(self, container: av.container.OutputContainer, stream: av.VideoStream) -> None:
        self._container, self._stream = container, stream

    def add(self, picture: np.ndarray) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        self._container.mux(self._stream.encode(frame))


@contextmanager
def _gif(path: Path, size: tuple[int, int], rate: float) -> Iterator[Film]:
    film = _Gif(rate)
    yield film
    film.save(path)


class _Gif:
    """Keeps every k-th picture. k grows, so that the file of a long film stays small."""

    def __init__(self, rate: float) -> None:
        self._pictures: list[Image.Image] = []
        self._each = max(1, round(GIF_LEAST_DELAY * rate))
        self._rate, self._seen = rate, 0

    def add(self, picture: np.ndarray) -> None:
        if self._seen % self._each == 0:
            self._pictures.append(Image.fromarray(picture).quantize(64, Image.Quantize.FASTOCTREE))
        self._seen += 1
        if len(self._pictures) > GIF_MOST_PICTURES:
            self._pictures, self._each = self._pictures[::2], 2 * self._each

    def save(self, path: Path) -> None:
        first, *rest = self._pictures
        # The format's unit is 1/100 s.
        delay = 10 * max(2, round(100 * self._each / self._rate))
        first.save(path, "GIF", save_all=True, append_images=rest, duration=delay, loop=0)
