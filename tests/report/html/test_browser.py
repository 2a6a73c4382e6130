"""The report in a real browser: from disk, offline, with and without scripts, on paper."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
from tests.browsers import DESK, PHONE, opened
from tests.report.html.conftest import B3, KINDS, YEAR, b3_bars, crypto_bars, elephants, on_side

import backtest_py as bt
from backtest_py.report.html.page import SCRIPTS


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_opens_from_disk_with_one_request_and_no_complaint(kind, browser, reports):
    file = reports(kind)
    with opened(browser, file) as visit:
        assert visit.is_quiet(), (visit.requests, visit.console, visit.errors)
        assert visit.requests == [file.as_uri()]
        assert visit.page.locator("#page-canvas canvas").count() > 0
        assert visit.page.locator("#price svg.wide").is_hidden()
        for size in (DESK, PHONE):
            visit.page.set_viewport_size(size)
            assert visit.has_no_side_scroll()
            assert visit.page.evaluate(CROSSED) == []


# Labels of drawings that lie upon each other.
CROSSED = """() => {
  const found = [];
  for (const svg of document.querySelectorAll("svg.drawing")) {
    const texts = Array.from(svg.querySelectorAll("text"));
    const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()])
      .filter(([, box]) => box.width);
    boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
      const across = p.left < q.right - 1 && q.left < p.right - 1;
      if (across && p.top < q.bottom - 2 && q.top < p.bottom - 2) found.push([a, b]);
    }));
  }
  return found;
}"""


@pytest.mark.parametrize("kind", KINDS)
def test_without_scripts_numbers_and_drawings_are_there(kind, browser, reports, results):
    with opened(browser, reports(kind), java_script_enabled=False) as visit:
        assert visit.is_quiet()
        page = visit.page
        assert page.locator("#price svg.wide").is_visible()
        assert page.locator("#account svg.wide").is_visible()
        cells = page.locator("#metrics [data-metric=total_trades]")
        assert cells.inner_text() == f"{len(results(kind)):,}"
        assert page.locator("svg").first.get_attribute("role") == "img"


def test_bars_trades_and_account_in_the_page_are_those_of_python(browser, reports, results):
    for kind in ("crypto", "overnight", "sub_range"):
        result = results(kind)
        bars, first = result.job.bars, result.job.first
        with opened(browser, reports(kind)) as visit:
            found = visit.page.evaluate(
                """() => {
                  const {bars, trades, account} = window.backtestReport;
                  const plain = (columns) => Object.fromEntries(
                    Object.entries(columns).map(([k, v]) => [k, v.length ? Array.from(v) : v]));
                  return {bars: plain(bars), trades: plain(trades), account: plain(account)};
                }"""
            )
        end = first + len(found["bars"]["close"])
        for name in ("open", "high", "low", "close"):
            assert found["bars"][name] == getattr(bars, name)[first:end].tolist()
        wall = bars.wall_at(np.arange(first, end)) // 1_000_000
        assert found["bars"]["wall"] == wall.tolist()
        for name in ("entry_price", "exit_price", "pnl", "stop_price", "target_price", "side"):
            shown = [float(value) for value in found["trades"][name]]
            assert shown == result.columns[name].tolist()
        entry = result.columns["entry_bar"] - first
        assert found["trades"]["entry_bar"] == entry.tolist()
        from backtest_py.report.html.account import Account

        account = Account.of(result)
        assert found["account"]["closed"] == account.closed.tolist()
        assert found["account"]["marked"] == account.marked.tolist()


def odd_bars(prices):
    """Return bars of given closes, a minute apart but for a day's pause."""
    close = np.asarray(prices, float)
    opened_at = np.append(close[0], close[:-1])
    time = np.datetime64("2024-03-01T10:00", "ns").astype(np.int64)
    time = time + 60_000_000_000 * np.arange(len(close))
    time[len(time) // 2 :] += 200 * 86_400_000_000_000
    high, low = np.maximum(opened_at, close), np.minimum(opened_at, close)
    return bt.Bars(time, opened_at, high, low, close)


@pytest.mark.parametrize(
    ("tick", "prices"),
    [
        (0.25, [4000.25, 4000.5, 3999.75, 4010.0] * 20),
        (0.01, [0.07, 0.29, 0.57, 1.13] * 20),
        (5.0, [118_255.0, 118_260.0, 118_240.0] * 20),
        (5.0, (118_255.0 * np.geomspace(1.0, 1.1, 80)).tolist()),  # ratio-adjusted
        (1e-8, [2.3e-7, 2.4e-7, 2.2e-7, 9.99e-6] * 20),
        (1.0, [1e300, 1.5, 1e-300, 3.7] * 20),
    ],
)
def test_prices_arrive_bit_for_bit(tick, prices, browser, tmp_path):
    bars = odd_bars(prices)
    contract = bt.Contract(tick_size=tick)
    with pytest.warns() if bars.off_grid_share(tick) > 0.001 else _nothing():
        result = bt.run_signals(bars, np.zeros(len(bars), np.int8), None, contract)
    result.report(tmp_path / "odd.html")
    with opened(browser, tmp_path / "odd.html") as visit:
        for name in ("open", "high", "low", "close"):
            script = f"() => Array.from(window.backtestReport.bars.{name})"
            assert visit.page.evaluate(script) == getattr(bars, name).tolist()


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


def test_the_readers_clock_and_language_move_nothing(browser, tmp_path):
    bars = b3_bars()
    text = {}
    elephants(bars).report(tmp_path / "run.html", lang="pt-BR", currency="BRL")
    for zone in ("America/Sao_Paulo", "Asia/Tokyo", "UTC"):
        with opened(browser, tmp_path / "run.html", timezone_id=zone, locale="ja-JP") as visit:
            text[zone] = visit.page.locator("body").inner_text()
    assert len(set(text.values())) == 1
    first = bars.time_text(len(bars) - 1)
    year, month, day = first[:10].split("-")
    assert f"{day}/{month}/{year} {first[11:16]}" in text["UTC"]


def test_clocks_that_go_back_do_not_stop_the_chart(browser, tmp_path):
    """An hour of the wall clock comes twice when summer time ends."""
    rng = np.random.default_rng(5)
    close = 100.0 + np.cumsum(rng.integers(-3, 4, 600))
    opened_at = np.append(close[0], close[:-1])
    time = np.datetime64("2023-11-04", "ns").astype(np.int64) + 900_000_000_000 * np.arange(600)
    bars = bt.Bars(
        time,
        opened_at,
        np.maximum(opened_at, close),
        np.minimum(opened_at, close),
        close,
        session_timezone="America/New_York",
    )
    assert (np.diff(bars.wall) < 0).any()
    result = on_side(
        bars, 20, bt.ExitRules(stop=0, target=0, max_bars=4), bt.Contract(), metrics=YEAR
    )
    result.report(tmp_path / "back.html")
    with opened(browser, tmp_path / "back.html") as visit:
        assert visit.is_quiet()
        assert visit.page.evaluate("() => window.backtestReport.bars.wall.length") == 600


HOSTILE = "</script><img src=x onerror=alert(1)>\"'{{7*7}}<svg onload=alert(2)>"


def test_hostile_names_run_nothing(browser, tmp_path):
    bars = b3_bars()
    report = replace(
        bars.report,
        source=HOSTILE,
        symbol=HOSTILE,
        interval=HOSTILE,
        certificate=HOSTILE,
        notes=(HOSTILE,),
        warnings=(HOSTILE,),
    )

    class Evil(bt.BarraElefante):
        name = HOSTILE

    result = elephants(bars.reported(report))
    object.__setattr__(result.job, "strategy", Evil(min_range_mult=1.4))
    result.report(tmp_path / "evil.html", title=HOSTILE, currency="<b>'\"</b>"[:10])
    with opened(browser, tmp_path / "evil.html") as visit:
        said = []
        visit.page.on("dialog", lambda dialog: said.append(dialog.message))
        visit.page.click("text=Next trade")
        visit.page.wait_for_timeout(200)
        assert visit.is_quiet(), (visit.requests, visit.console, visit.errors)
        assert said == []
        assert visit.page.locator("img").count() == 0
        assert visit.page.locator("svg[onload]").count() == 0
        assert visit.page.locator("script").count() == len(SCRIPTS) + 1
        assert visit.page.locator("h1").inner_text() == HOSTILE
        assert visit.page.title() == HOSTILE
        assert HOSTILE in visit.page.locator("#data").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desk", "phone"])
def test_sizes_and_schemes(size, scheme, browser, reports):
    how = {"viewport": PHONE} if size == "phone" else {}
    with opened(browser, reports("b3", lang="pt-BR"), color_scheme=scheme, **how) as visit:
        assert visit.has_no_side_scroll()
        page = visit.page
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        light = sum(map(int, re.findall(r"\d+", ground)[:3])) > 380
        assert light == (scheme == "light")
        account = page.locator(f"#account svg.{'narrow' if size == 'phone' else 'wide'}")
        assert account.is_visible()
        letters = account.evaluate(
            "svg => Math.min(...Array.from(svg.querySelectorAll('text'), "
            "t => t.getBoundingClientRect().height))"
        )
        assert letters >= 10  # pixels
        assert page.locator("#page-canvas").bounding_box()["width"] > 280


def test_paper_is_a4_shows_drawings_and_all_sections(browser, reports):
    with opened(browser, reports("b3"), color_scheme="dark") as visit:
        page = visit.page
        page.emulate_media(media="print")
        assert page.locator("#price svg.wide").is_visible()
        assert page.locator("#page-chart").is_hidden()
        assert page.locator("nav").is_hidden()
        assert page.locator("#times table").first.is_visible()
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(255, 255, 255)"
        data = page.pdf(format="A4", print_background=True)
    assert data.startswith(b"%PDF")
    sizes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", data)
    assert 3 <= len(sizes) <= 12
    for width, height in sizes:  # in points
        assert (float(width), float(height)) == pytest.approx((595.3, 841.9), abs=1.5)
    drawn = b"".join(_streams(data))
    assert len(drawn) > 50_000
    assert drawn.count(b" l\n") + drawn.count(b" l ") > 300  # lines, not pixels


def _streams(data):
    for part in re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL):
        try:
            yield zlib.decompress(part)
        except zlib.error:
            continue


def test_trades_are_walked_through_and_listed(browser, reports, results):
    result = results("b3")
    trades = result.trades
    with opened(browser, reports("b3", currency="BRL")) as visit:
        page = visit.page
        page.click("text=Next trade")
        page.click("text=Next trade")
        second = trades.iloc[1]
        money = f"-R${-second['pnl']:,.2f}" if second["pnl"] < 0 else f"R${second['pnl']:,.2f}"
        side = "Long" if second["side"] > 0 else "Short"
        told = f"Trade 2 of {len(trades):,} · {side} · {money} · "
        told += str(second["reason"]).replace("_", " ").capitalize()
        assert told in page.locator("#price").inner_text()
        range_ = page.evaluate(
            "() => window.backtestReport.chart.timeScale().getVisibleLogicalRange()"
        )
        assert range_["from"] < trades["entry_bar"].iloc[1] < range_["to"]
        rows = page.locator("table.trades tbody tr")
        assert rows.count() == min(25, len(trades))
        page.locator("table.trades thead button").last.click()
        first = rows.first.inner_text().split("\t")
        assert first[-1] == f"R${trades['pnl'].max():,.2f}"
        page.locator("#trades select").select_option(label="Without profit")
        lost = int((trades["pnl"] <= 0).sum())
        assert f"of {lost:,}" in page.locator("#trades .reading").inner_text()
        rows.first.press("Enter")
        assert page.locator("#price .bar-of-tools").inner_text().count("Trade ") >= 1


def test_the_keyboard_moves_the_chart(browser, reports):
    with opened(browser, reports("b3")) as visit:
        page = visit.page
        page.wait_for_timeout(300)
        shown = "() => window.backtestReport.chart.timeScale().getVisibleLogicalRange()"
        whole = page.evaluate(shown)
        page.locator("#page-canvas").focus()
        page.keyboard.press("+")
        page.wait_for_timeout(200)
        closer = page.evaluate(shown)
        assert closer["to"] - closer["from"] < 0.7 * (whole["to"] - whole["from"])
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(200)
        assert page.evaluate(shown)["from"] > closer["from"]


def test_the_wheel_scrolls_the_page_until_the_chart_is_clicked(browser, reports):
    with opened(browser, reports("b3")) as visit:
        page = visit.page
        page.wait_for_timeout(300)
        shown = "() => window.backtestReport.chart.timeScale().getVisibleLogicalRange()"
        page.locator("#page-canvas").scroll_into_view_if_needed()
        box = page.locator("#page-canvas").bounding_box()
        page.mouse.move(box["x"] + 300, box["y"] + 150)
        whole, top = page.evaluate(shown), page.evaluate("window.scrollY")
        page.mouse.wheel(0, -100)
        page.wait_for_timeout(300)
        assert page.evaluate(shown) == whole
        assert page.evaluate("window.scrollY") < top
        box = page.locator("#page-canvas").bounding_box()
        page.mouse.click(box["x"] + 300, box["y"] + 150)
        top = page.evaluate("window.scrollY")
        page.mouse.wheel(0, -300)
        page.wait_for_timeout(300)
        closer = page.evaluate(shown)
        assert closer["to"] - closer["from"] < whole["to"] - whole["from"]
        assert page.evaluate("window.scrollY") == top


def test_all_bars_move_fluently(browser, tmp_path):
    """Some 60 frames a second where nothing else runs; a chart that draws each bar makes two."""
    bars = bt.synthetic_bars(n_days=1285, timezone="America/Sao_Paulo")
    bt.run(bars, bt.BarraElefante(min_range_mult=1.5), bt.ExitRules(close_time="17:00"), B3).report(
        tmp_path / "large.html"
    )
    with opened(browser, tmp_path / "large.html") as visit:
        visit.page.wait_for_timeout(500)
        frames = [visit.page.evaluate(FRAMES) for _ in range(4)]
    assert min(frame["share"] for frame in frames) > 0.99
    assert min(frame["median"] for frame in frames) <= 80.0


FRAMES = """async () => {
  const {chart, bars} = window.backtestReport;
  const scale = chart.timeScale();
  const n = bars.wall.length;
  const frames = [];
  let last = performance.now();
  for (let k = 0; k < 30; k += 1) {
    const shift = (k % 2 ? 1 : -1) * k * 2;
    scale.setVisibleLogicalRange({from: shift, to: n - 1 + shift});
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
    const now = performance.now();
    frames.push(now - last);
    last = now;
  }
  frames.sort((a, b) => a - b);
  const {from, to} = scale.getVisibleLogicalRange();
  return {median: frames[15], share: (to - from) / n};
}"""


def test_without_an_unpacker_the_drawings_stay(browser, reports):
    """As in a browser that is too old."""
    context = browser.new_context(offline=True)
    context.add_init_script("delete window.DecompressionStream")
    page = context.new_page()
    page.goto(reports("b3").as_uri())
    page.wait_for_selector("body[data-ready=failed]", state="attached")
    assert page.locator("#price svg").first.is_visible()
    context.close()


def test_a_month_of_every_minute_of_crypto(browser, tmp_path):
    bars = crypto_bars(n_bars=40_000, minutes=1)
    result = on_side(
        bars,
        500,
        bt.ExitRules(stop=2, target=3),
        bt.Contract(tick_size=0.1),
        metrics=YEAR,
    )
    result.report(tmp_path / "minutes.html", currency="USDT")
    with opened(browser, tmp_path / "minutes.html") as visit:
        assert visit.is_quiet()
        assert visit.texts("#metrics [data-metric=total_trades]") == [f"{len(result):,}"]


def test_numbers_are_rounded_as_python_rounds_them(browser, reports):
    from backtest_py.report.html.language import language

    rng = np.random.default_rng(9)
    values = [0.5, 1.5, 2.5, 0.125, 0.375, 2.675, 1.005, 8.345, 1.45, 0.145, -0.125, -0.001, 0.0]
    values += [-0.0, 1234567.895, 999.995, 1e14 + 0.5, *(rng.normal(0, 1e4, 200)).tolist()]
    values += (np.round(rng.normal(0, 100, 200), 3)).tolist()
    for lang in ("en", "pt-BR"):
        say = language(lang)
        with opened(browser, reports("b3", lang=lang)) as visit:
            shown = visit.page.evaluate(
                """([values, lang]) => {
                  const say = window.backtest.language({lang, texts: {nan: "n/a"}});
                  return [0, 1, 2, 3].map((n) => values.map((value) => say.number(value, n)));
                }""",
                [values, lang],
            )
        for decimals, texts in enumerate(shown):
            assert texts == [say.number(value, decimals) for value in values]
