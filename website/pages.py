"""The pages of the site that are not files in docs/, by their place on the site."""

from __future__ import annotations

from website import cli_page, spec_page

GENERATED = {"reference/spec.md": spec_page.page, "reference/cli.md": cli_page.page}
"""Pages that are made when the site is built."""
OUTSIDE = {
    "how-to/chart.md": "charts/rljob-operator/README.md",
    "how-to/images.md": "images/README.md",
    "how-to/roles.md": "runtime/README.md",
    "how-to/test-cluster.md": "tests/cluster/README.md",
    "changelog.md": "CHANGELOG.md",
}
"""Files of the repository that the site shows."""
