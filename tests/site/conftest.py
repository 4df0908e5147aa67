"""A browser on the built book, cut off from every other host, with a memory for what went wrong."""

import os
import shutil
import threading
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

HTML = Path(__file__).parents[2] / "_build/html"
PICTURES = HTML.parent / "site-test"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def server():
    """The address of a server for the built pages, on this machine only."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(HTML)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}/"
    httpd.shutdown()


def chromium() -> str | None:
    """The browser to use: $CHROMIUM, or one on the path; None leaves it to playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        # Chromium's sandbox refuses to run as root, as in most containers; the pages are our own.
        launched = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield launched
        launched.close()


@dataclass
class Visit:
    """One opened page, and everything that should not have happened on it."""

    page: Page
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser: Browser):
    """Open an address with all requests to other hosts refused and written down."""
    contexts = []

    def open_page(url: str, width: int = 1280) -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            reduced_motion="reduce",  # no colours on their way from light to dark
        )
        contexts.append(context)
        context.set_default_timeout(60_000)
        visited = Visit(context.new_page())

        def guard(route):
            address = route.request.url
            if address.startswith(("http://127.0.0.1:", "file://", "data:", "blob:")):
                route.continue_()
            else:
                visited.outside.append(address)
                route.abort()

        def hear(message):
            if message.type == "error":
                visited.errors.append(f"{message.text} ({message.location.get('url', '')})")

        context.route("**/*", guard)
        visited.page.on("console", hear)
        visited.page.on("pageerror", lambda error: visited.errors.append(str(error)))
        visited.page.goto(url, wait_until="load")
        if url.endswith("index.html"):  # the front door leads on to the first page
            visited.page.wait_for_load_state("networkidle")
        visited.page.evaluate("async () => { if (window.MathJax?.startup) await MathJax.startup.promise; }")
        return visited

    yield open_page
    for context in contexts:
        context.close()
