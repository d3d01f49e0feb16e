"""The documentation site in a browser: on a phone and on a wide screen, without any other host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import Page, browser

SITE = Path(__file__).parents[2] / "build" / "site"
PAGES = (
    "index.html",
    "learn/first-run.html",
    "how-to/chart.html",
    "reference/spec.html",
    "reference/cli.html",
    "reference/python.html",
    "performance.html",
)
WIDTHS = (390, 1280)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of the built site."""
    assert (SITE / "index.html").exists(), "these tests need the site: make docs"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=SITE))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_the_window_and_asks_no_other_host(page: Page, site: str, name: str) -> None:
    for width in WIDTHS:
        page.complaints.clear()
        page.requests.clear()
        page.visit(site + name, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.querySelector('h1').textContent.length") > 0
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith((site, "data:", "blob:"))] == []


def test_the_search_finds_a_field(page: Page, site: str) -> None:
    page.visit(site + "index.html?q=maxPolicyLag", WIDTHS[1])
    page.wait_for("document.querySelectorAll('.md-search-result__item').length > 0")
