"use strict";
// The chart that can be moved, and the table of all trades. Without scripts, or where they fail, the
// page keeps the drawings and tables that Python wrote.
(function () {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const texts = page.texts;
  const { everyBar, everyTrade, accountOf } = window.backtest;
  const say = window.backtest.language(page);
  const { number, price, money, momentText } = say;
  const chartOf = window.backtest.candles(page, say);

  // ---- tools above the chart, and what is under the pointer ---------------------------------------

  function element(tag, options = {}, ...children) {
    const made = Object.assign(document.createElement(tag), options);
    made.append(...children);
    return made;
  }

  function tools({ chart, marks }, bars, trades, account) {
    const scale = chart.timeScale();
    const where = element("span");
    const reading = element("span", { className: "reading under" });
    const last = bars.wall.length - 1;
    const all = () => {
      marks.chosen = -1;
      where.textContent = "";
      scale.fitContent();
    };
    const show = (trade) => {
      marks.chosen = trade;
      const [from, to] = [trades.entry_bar[trade], trades.exit_bar[trade]];
      const held = to - from;
      const room = Math.max((scale.width() / 7 - held) / 2, held * 0.3, 10);
      scale.setVisibleLogicalRange({ from: from - room, to: to + room });
      const place = texts.trade.replace("{n}", number(trade + 1, 0)).replace("{all}", number(trades.n, 0));
      const side = trades.side[trade] > 0 ? texts.long : texts.short;
      const facts = [place, side, money(trades.pnl[trade]), page.reasons[trades.reason[trade]]];
      if (trades.ambiguous[trade]) facts.push(texts.ambiguous_trade);
      where.textContent = facts.join(" · ");
    };
    const go = (step) => {
      if (!trades.n) return;
      const next = marks.chosen < 0 ? (step > 0 ? 0 : trades.n - 1) : marks.chosen + step;
      show(Math.min(Math.max(next, 0), trades.n - 1));
    };
    const button = (text, onclick) => element("button", { type: "button", textContent: text, onclick });
    const previous = button(`◀ ${texts.previous}`, () => go(-1));
    const next = button(`${texts.next} ▶`, () => go(1));
    previous.disabled = next.disabled = !trades.n;
    const read = (i) => {
      const parts = [
        momentText(new Date(bars.wall[i])),
        ...["open", "high", "low", "close"].map((name) => `${texts[name]} ${price(bars[name][i])}`),
        `${texts.account} ${money(account.marked[i])}`,
      ];
      reading.textContent = parts.join(" · ");
    };
    chart.subscribeCrosshairMove((event) => {
      const i = event.logical === undefined || event.logical === null ? last : Math.round(event.logical);
      if (i >= 0 && i <= last) read(i);
    });
    read(last);
    return { bar: element("div", { className: "bar-of-tools" }, button(texts.all, all), previous, next, where, reading), show, all };
  }

  // What the colours and lines of the chart mean, and how it is moved.
  function legend() {
    const items = {
      "key-win": texts.with,
      "key-loss": texts.without,
      "key-stop": texts.stop_line,
      "key-target": texts.target_line,
      "key-closed": texts.closed,
      "key-marked": texts.marked,
      "key-fall": texts.drawdown,
    };
    const rows = Object.entries(items).map(([className, text]) => element("li", {}, element("i", { className }), text));
    return [
      element("ul", { className: "legend" }, ...rows),
      element("p", { className: "note", textContent: texts.how }),
    ];
  }

  function keys(holder, chart) {
    holder.tabIndex = 0;
    holder.setAttribute("role", "application");
    holder.setAttribute("aria-label", texts.chart);
    const wheel = (mouseWheel) => () =>
      chart.applyOptions({ handleScroll: { mouseWheel }, handleScale: { mouseWheel } });
    holder.addEventListener("pointerdown", () => holder.focus({ preventScroll: true }));
    holder.addEventListener("focus", wheel(true));
    holder.addEventListener("blur", wheel(false));
    holder.addEventListener("keydown", (event) => {
      const scale = chart.timeScale();
      const range = scale.getVisibleLogicalRange();
      const width = range.to - range.from;
      const moves = {
        ArrowLeft: [-0.1, -0.1],
        ArrowRight: [0.1, 0.1],
        "+": [0.2, -0.2],
        "=": [0.2, -0.2],
        "-": [-0.33, 0.33],
      };
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      scale.setVisibleLogicalRange({ from: range.from + move[0] * width, to: range.to + move[1] * width });
    });
  }

  // ---- the table of all trades ------------------------------------------------------------------------

  const ROWS = 25;

  function tradeTable(bars, trades, show) {
    const time = (bar) => momentText(new Date(bars.wall[bar]));
    const level = (value) => (Number.isFinite(value) ? price(value) : "");
    const columns = [
      ["#", (i) => i, (i) => number(i + 1, 0)],
      [texts.entry, (i) => trades.entry_bar[i], (i) => time(trades.entry_bar[i])],
      [texts.side, (i) => trades.side[i], (i) => (trades.side[i] > 0 ? texts.long : texts.short)],
      [texts.price, (i) => trades.entry_price[i], (i) => price(trades.entry_price[i])],
      [texts.stop, (i) => trades.stop_price[i], (i) => level(trades.stop_price[i])],
      [texts.target, (i) => trades.target_price[i], (i) => level(trades.target_price[i])],
      [texts.exit, (i) => trades.exit_bar[i], (i) => time(trades.exit_bar[i])],
      [texts.price, (i) => trades.exit_price[i], (i) => price(trades.exit_price[i])],
      [texts.reason, (i) => trades.reason[i], (i) => page.reasons[trades.reason[i]]],
      [texts.fees, (i) => trades.fees[i], (i) => money(trades.fees[i])],
      [texts.net, (i) => trades.pnl[i], (i) => money(trades.pnl[i])],
    ];
    const filters = [
      [texts.every, () => true],
      [texts.wins, (i) => trades.pnl[i] > 0],
      [texts.losses, (i) => trades.pnl[i] <= 0],
      [texts.long, (i) => trades.side[i] > 0],
      [texts.short, (i) => trades.side[i] < 0],
      [texts.ambiguous, (i) => trades.ambiguous[i] > 0],
    ];
    let [sorted, down, first, chosen] = [0, false, 0, 0];
    const body = element("tbody");
    const count = element("span", { className: "reading" });
    const heads = columns.map(([name], place) => {
      const press = element("button", { type: "button", textContent: name });
      press.onclick = () => {
        down = sorted === place ? !down : place === columns.length - 1;
        [sorted, first] = [place, 0];
        fill();
      };
      return element("th", { scope: "col" }, press);
    });
    const select = element("select", { ariaLabel: texts.show }, ...filters.map(([name], value) => element("option", { value, textContent: name })));
    select.onchange = () => {
      [chosen, first] = [Number(select.value), 0];
      fill();
    };
    const move = (text, step) =>
      element("button", {
        type: "button",
        textContent: text,
        ariaLabel: texts.more,
        onclick: () => {
          first += step;
          fill();
        },
      });
    const [back, on] = [move("◀", -ROWS), move("▶", ROWS)];

    function fill() {
      const kept = Array.from({ length: trades.n }, (_, i) => i).filter(filters[chosen][1]);
      const key = columns[sorted][1];
      kept.sort((a, b) => (down ? key(b) - key(a) : key(a) - key(b)) || a - b);
      const shown = kept.slice(first, first + ROWS);
      body.replaceChildren(
        ...shown.map((i) => {
          const cells = columns.map(([, , text], place) => element(place ? "td" : "th", { textContent: text(i) }));
          cells[cells.length - 1].className = trades.pnl[i] > 0 ? "win" : trades.pnl[i] < 0 ? "loss" : "";
          const row = element("tr", { tabIndex: 0, onclick: () => show(i) }, ...cells);
          row.onkeydown = (event) => {
            if (event.key === "Enter") show(i);
          };
          return row;
        }),
      );
      heads.forEach((head, place) => {
        if (place === sorted) head.setAttribute("aria-sort", down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      back.disabled = first === 0;
      on.disabled = first + ROWS >= kept.length;
      count.textContent = texts.page
        .replace("{from}", number(Math.min(first + 1, kept.length), 0))
        .replace("{to}", number(Math.min(first + ROWS, kept.length), 0))
        .replace("{all}", number(kept.length, 0));
    }

    fill();
    const table = element("table", { className: "trades" }, element("thead", {}, element("tr", {}, ...heads)), body);
    return element(
      "div",
      { className: "block wide only-screen" },
      element("div", { className: "bar-of-tools" }, select, back, on, count),
      element("div", { className: "scroll" }, table),
    );
  }

  // ---- all together -----------------------------------------------------------------------------------

  async function start() {
    const figure = document.getElementById("page-live");
    const [bars, trades] = await Promise.all([everyBar(page.bars), everyTrade(page.trades)]);
    const account = accountOf(bars, trades, page.contract);
    const canvas = element("div", { id: "page-canvas" });
    const holder = element("div", { id: "page-chart" }, canvas);
    figure.append(holder);
    figure.classList.add("moving");
    const made = chartOf(canvas, bars, trades, account);
    const { bar, show, all } = tools(made, bars, trades, account);
    holder.prepend(bar);
    holder.append(...legend());
    keys(canvas, made.chart);
    all();
    const showing = (trade) => {
      show(trade);
      figure.scrollIntoView({ block: "start" });
    };
    if (trades.n) document.querySelector("#trades .blocks").append(tradeTable(bars, trades, showing));
    window.backtestReport = { chart: made.chart, bars, trades, account };
    document.body.dataset.ready = "true";
  }

  start().catch((error) => {
    document.getElementById("page-live").classList.remove("moving");
    document.body.dataset.ready = "failed";
    throw error;
  });
})();
