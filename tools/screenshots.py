"""Pictures of pages for the documentation: ``python tools/screenshots.py docs/img``.

Needs Chromium of the distribution's packages, which playwright drives; nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

import backtest_py as bt

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SIZE = (1200, 1340)


def make_report(folder: Path) -> Path:
    """Write the report that is shown, of made-up bars."""
    bars = bt.synthetic_bars(n_days=500, seed=7, timezone="America/Sao_Paulo")
    contract = bt.Contract(tick_size=5, point_value=0.20, fee_per_side=0.25, slippage_ticks=1)
    rules = bt.ExitRules(stop=4.0, target=8.0, close_time="17:30")
    result = bt.run(bars, bt.OpeningRangeBreakout(), rules, contract)
    title = "Opening range breakout · generated bars"
    return result.report(folder / "report.html", currency="BRL", title=title)


def opened(browser: Browser, file: Path, scheme: str) -> Page:
    """Open a page offline, and wait until its script is done."""
    width, height = SIZE
    page = browser.new_page(
        offline=True,
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-ready=true]", state="attached")
    page.wait_for_timeout(500)  # the chart draws in the next frames
    return page


def shoot_report(browser: Browser, file: Path, out: Path) -> None:
    """Take the top of the report in both schemes, and one trade in its chart."""
    for scheme in ("light", "dark"):
        page = opened(browser, file, scheme)
        page.screenshot(path=out / f"report-{scheme}.png")
        if scheme == "light":
            for _ in range(3):
                page.click("text=Next trade")
            page.mouse.move(0, 0)
            page.wait_for_timeout(300)
            page.locator("#page-live").screenshot(path=out / "report-trade.png")
        page.close()


def main() -> None:
    """Write all pictures into the folder that is named."""
    out = Path(sys.argv[1])
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise SystemExit("Chromium is not installed; run: make services")
    flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=flags)
        shoot_report(browser, make_report(Path(folder)), out)
        browser.close()


if __name__ == "__main__":
    main()
