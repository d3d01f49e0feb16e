"""The panel below each picture of a video: the step, the return so far, and the action scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LEAST_WIDTH, MOST_WIDTH = 480, 1280
"""Pixels. Smaller pictures are enlarged by a whole number, larger ones are reduced."""
MOST_BARS = 8
_MARGIN, _TEXT, _LINE = 12, 16, 24
_GROUND, _INK, _DIM = (20, 23, 27), (229, 232, 236), (152, 161, 173)
_BAR, _CHOSEN, _TRACK = (80, 110, 160), (255, 153, 102), (38, 43, 50)

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Bar:
    """One action score.

    Attributes:
        value: NaN where the action is not allowed; there is no bar then.
        start, end: ends of the bar, on a track from 0 to 1.
        chosen: whether it is the score of the chosen action.
    """

    name: str
    value: float
    start: float
    end: float
    chosen: bool


@dataclass(frozen=True)
class Panel:
    """Content of the panel below one picture.

    Attributes:
        label: name of the scores; empty without bars.
        more: number of further values without a bar.
    """

    step: int
    returned: float
    label: str = ""
    bars: Sequence[Bar] = ()
    more: int = 0


class FrameCanvas:
    """Draws pictures of one size with their panels.

    Args:
        shape: shape of a picture, `[height, width, 3]`.
        bars: largest number of bars in a panel.
    """

    def __init__(self, shape: tuple[int, ...], bars: int) -> None:
        height, width = shape[:2]
        scale: float = max(1, -(-LEAST_WIDTH // width))
        if width > MOST_WIDTH:
            scale = MOST_WIDTH / width
        self._bars = min(bars, MOST_BARS)
        # Encoders need even numbers of pixels.
        self._picture = _even(width * scale), _even(height * scale)
        rows = 1 + (1 + self._bars if self._bars else 0)
        self.size = self._picture[0], _even(self._picture[1] + 2 * _MARGIN + rows * _LINE)
        self._font = ImageFont.load_default(_TEXT)

    def draw(self, picture: np.ndarray, panel: Panel) -> np.ndarray:
        """The picture with its panel: uint8 `[height, width, 3]`, width and height as in `size`."""
        image = Image.new("RGB", self.size, _GROUND)
        image.paste(Image.fromarray(picture).resize(self._picture), (0, 0))
        draw = ImageDraw.Draw(image)
        top = self._picture[1] + _MARGIN
        right = self.size[0] - _MARGIN
        self._write(draw, _MARGIN, top, f"step {panel.step:,}", _INK)
        self._write(draw, right, top, f"return {panel.returned:,.1f}", _INK, right=True)
        if panel.bars:
            more = f" (+{panel.more} more)" if panel.more else ""
            self._write(draw, _MARGIN, top + _LINE, f"{panel.label}{more}", _DIM)
        for row, bar in enumerate(panel.bars[: self._bars]):
            self._bar(draw, top + (2 + row) * _LINE, bar)
        return np.asarray(image)

    def _bar(self, draw: ImageDraw.ImageDraw, top: int, bar: Bar) -> None:
        right = self.size[0] - _MARGIN
        left, end = _MARGIN + 40, right - 90
        ink = _CHOSEN if bar.chosen else _DIM
        self._write(draw, _MARGIN, top, bar.name, ink)
        allowed = not math.isnan(bar.value)
        self._write(draw, right, top, f"{bar.value:.3f}" if allowed else "masked", ink, right=True)
        draw.rounded_rectangle((left, top + 3, end, top + 15), 3, fill=_TRACK)
        if not allowed:
            return
        first, last = sorted((left + bar.start * (end - left), left + bar.end * (end - left)))
        fill = _CHOSEN if bar.chosen else _BAR
        draw.rectangle((first, top + 3, max(last, first + 1), top + 15), fill=fill)

    def _write(
        self,
        draw: ImageDraw.ImageDraw,
        x: int,
        y: int,
        text: str,
        colour: Colour,
        right: bool = False,
    ) -> None:
        draw.text((x, y), text, colour, self._font, anchor="ra" if right else "la")


def bars(
    values: np.ndarray, chosen: Sequence[int], low: float, high: float
) -> tuple[list[Bar], int]:
    """Bars of the first values, and the number of values without a bar.

    Args:
        values: `[K]`, NaN where an action is not allowed.
        chosen: indices of the chosen action among the values; may be empty.
        low, high: ends of the track. Bars begin at 0 if it lies between them.
    """
    span = high - low or 1.0
    zero = min(1.0, max(0.0, -low / span))
    found = []
    for index, value in enumerate(values[:MOST_BARS].tolist()):
        end = zero if math.isnan(value) else min(1.0, max(0.0, (value - low) / span))
        found.append(Bar(str(index), value, zero, end, index in chosen))
    return found, max(0, len(values) - MOST_BARS)


def _even(pixels: float) -> int:
    return max(2, 2 * round(pixels / 2))
