"""`python -m dashboards FOLDER`: write the JSON of every dashboard into a folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import data_path, fleet, job

DASHBOARDS: dict[str, Callable[[], Dashboard]] = {
    "fleet": fleet.dashboard,
    "job": job.dashboard,
    "data-path": data_path.dashboard,
}


def rendered() -> dict[str, str]:
    """File name to text of every dashboard."""
    return {
        f"{name}.json": json.dumps(
            make().build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False
        )
        + "\n"
        for name, make in DASHBOARDS.items()
    }


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in rendered().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
