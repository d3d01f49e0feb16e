"""Files of the batches that the learner died of."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from rljob.run_folder.write_whole import replacing

MOST_FILES = 16
"""Batches that are kept; later ones are counted and dropped."""
_LOG = logging.getLogger("rljob")


class SetAside:
    """The batches that were set aside, those of earlier lives of the buffer included.

    Args:
        folder: of the files `N.npz`, for `numpy.load`; it is made with the first. None keeps no files.

    Attributes:
        batches: how many there are.
        last: when the newest was set aside, Unix time in seconds; 0 for none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        kept = sorted(folder.glob("*.npz")) if folder is not None else []
        self.batches = max((int(path.stem) for path in kept if path.stem.isdecimal()), default=0)
        self.last = max((path.stat().st_mtime for path in kept), default=0.0)

    def add(self, arrays: Mapping[str, np.ndarray], now: float) -> None:
        """Count a batch and keep it, if it can be kept.

        Args:
            now: Unix time in seconds.
        """
        self.batches += 1
        self.last = now
        where = self._keep(arrays)
        _LOG.warning("the learner died twice of a batch, which is set aside: %s", where)

    def _keep(self, arrays: Mapping[str, np.ndarray]) -> str:
        """Write the batch; returns its path, or why there is none."""
        if self._folder is None or self.batches > MOST_FILES:
            return f"not kept, as only {MOST_FILES} are"
        path = self._folder / f"{self.batches}.npz"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary, ZipFile(temporary, "w") as file:
                for name, array in arrays.items():
                    with file.open(f"{name}.npy", "w", force_zip64=True) as part:
                        np.lib.format.write_array(part, array, allow_pickle=False)
        except OSError as error:
            return f"not kept: {path}: {error.strerror}"
        return str(path)
