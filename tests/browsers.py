"""The browser of the tests: Chromium of the distribution's packages, driven by playwright.

Nothing is downloaded by playwright itself. A page is opened offline, and what it asked for, wrote
to its console and threw is kept.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

from tests.services import needed

QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@contextmanager
def chromium():
    """Give a browser; where there is none the test is skipped, or fails if services are required.

    One at a time: playwright keeps an event loop in this thread until the end of the block.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        needed("Chromium")
    from playwright.sync_api import sync_playwright

    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=[*QUIET, *root])
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page that is open, and what it did.

    Attributes
    ----------
    page : Page
        The page.
    requests, console, errors : list of str
        Addresses that it asked for; what it wrote to its console; what it threw.
    """

    def __init__(self, context, address):
        self.requests, self.console, self.errors = [], [], []
        self.page = context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)

    def texts(self, selector):
        """Return the texts of all elements of a selector."""
        return self.page.locator(selector).all_inner_texts()

    def has_no_side_scroll(self):
        """Return whether nothing of the page lies to the right of the window."""
        return self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    def is_quiet(self):
        """Return whether it asked for nothing but itself, and had nothing to complain about."""
        return len(self.requests) == 1 and not self.console and not self.errors


@contextmanager
def opened(browser, file, **context):
    """Open a file from disk, offline, and wait for its script where scripts may run."""
    made = browser.new_context(offline=True, **{"viewport": DESK, **context})
    try:
        visit = Visit(made, file.as_uri())
        if context.get("java_script_enabled", True):
            # wait_for_function would evaluate a text, which the page's policy forbids
            visit.page.wait_for_selector("body[data-ready]", state="attached")
            assert visit.page.get_attribute("body", "data-ready") == "true", visit.errors
        yield visit
    finally:
        made.close()
