"use strict";
// The chart that can be moved, and the table of all trades. Without this script, or where it fails,
// the page keeps the drawings and tables that Python wrote.
(function () {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const texts = page.texts;
  const charts = window.LightweightCharts;

  // ---- unpacking: the inverse of payload.py -------------------------------------------------

  async function unpacked(text, Kind) {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const planes = new Uint8Array(await new Response(stream).arrayBuffer());
    const size = Kind.BYTES_PER_ELEMENT;
    const n = planes.length / size;
    const bytes = new Uint8Array(planes.length);
    for (let place = 0; place < size; place += 1) {
      for (let i = 0; i < n; i += 1) bytes[i * size + place] = planes[place * n + i];
    }
    return new Kind(bytes.buffer);
  }

  async function numbers(column) {
    if (column.kind === "f64") return unpacked(column.bytes, Float64Array);
    const steps = await unpacked(column.bytes, Int32Array);
    const values = new Float64Array(steps.length);
    let value = column.first;
    for (let i = 0; i < steps.length; i += 1) values[i] = value += steps[i];
    return values;
  }

  async function prices(bars) {
    const n = bars.n;
    const table = bars.table && (await unpacked(bars.table, Float64Array));
    const steps = await unpacked(bars.ticks, Int32Array);
    let price = (ticks) => ticks * bars.step;
    if (table) price = (place) => table[place];
    else if (bars.parts) price = (ticks) => ticks / bars.parts;
    const [open, high, low, close] = [0, 1, 2, 3].map(() => new Float64Array(n));
    let last = 0;
    for (let i = 0; i < n; i += 1) {
      const first = last + steps[i];
      last = first + steps[n + i];
      open[i] = price(first);
      close[i] = price(last);
      high[i] = price(Math.max(first, last) + steps[2 * n + i]);
      low[i] = price(Math.min(first, last) - steps[3 * n + i]);
    }
    return { open, high, low, close };
  }

  // ---- numbers and times in the page's language -----------------------------------------------

  const formats = new Map();

  function number(value, decimals) {
    if (Number.isNaN(value)) return texts.nan;
    if (!formats.has(decimals)) {
      const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
      formats.set(decimals, new Intl.NumberFormat(page.lang, digits));
    }
    const text = formats.get(decimals).format(value);
    return /[1-9∞]/.test(text) ? text : text.replace("-", "");
  }

  const price = (value) => number(value, page.decimals);

  function money(value, decimals = 2) {
    const text = page.money.replace("{}", number(Math.abs(value), decimals));
    return value < 0 && /[1-9∞]/.test(text) ? `-${text}` : text;
  }

  const two = (value) => String(value).padStart(2, "0");

  // Times are walls of the session's clock, so the reader's own time zone must not move them: only
  // the UTC methods of Date are used.
  function dateText(date) {
    const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()];
    if (page.lang === "pt-BR") return `${two(day)}/${two(month + 1)}/${year}`;
    return `${day} ${page.months[month]} ${year}`;
  }

  function timeText(date) {
    const seconds = date.getUTCSeconds();
    const text = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;
    return seconds ? `${text}:${two(seconds)}` : text;
  }

  const momentText = (date) => `${dateText(date)} ${timeText(date)}`;

  // ---- the account, as account.py works it out ----------------------------------------------------

  function accountOf(bars, trades) {
    const { capital, value, per_side: perSide, rate } = page.contract;
    const n = bars.close.length;
    const [closed, marked, fall] = [0, 1, 2].map(() => new Float64Array(n));
    let balance = capital;
    let peak = capital;
    let trade = 0;
    for (let i = 0; i < n; i += 1) {
      while (trade < trades.n && trades.exit_bar[trade] <= i) {
        balance += trades.pnl[trade];
        trade += 1;
      }
      closed[i] = marked[i] = balance;
      if (trade < trades.n && trades.entry_bar[trade] <= i) {
        const entry = trades.entry_price[trade];
        const points = trades.side[trade] * (bars.close[i] - entry);
        marked[i] = balance + (points * value - (perSide + rate * Math.abs(entry) * value));
      }
      peak = Math.max(peak, marked[i]);
      fall[i] = (-100 * (peak - marked[i])) / peak;
    }
    return { closed, marked, fall };
  }

  // ---- the chart ------------------------------------------------------------------------------------

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const HOUR = 3600000;

  // Bars are numbered, and the number is the chart's time: it always rises, whatever clocks do. What
  // is written under the bars comes from the table of session clocks.
  function sessionScale(wall) {
    const weightOf = (i) => {
      const [now, then] = [wall[i], i ? wall[i - 1] : wall[i]];
      const [a, b] = [new Date(now), new Date(then)];
      if (a.getUTCFullYear() !== b.getUTCFullYear()) return 70;
      if (a.getUTCMonth() !== b.getUTCMonth()) return 60;
      if (a.getUTCDate() !== b.getUTCDate()) return 50;
      const steps = [[12, 33], [6, 32], [3, 31], [1, 30], [0.5, 22], [1 / 12, 21], [1 / 60, 20]];
      const crossed = ([hours]) => Math.floor(now / (hours * HOUR)) !== Math.floor(then / (hours * HOUR));
      const found = steps.find(crossed);
      return found ? found[1] : 0;
    };
    return class extends charts.defaultHorzScaleBehavior() {
      fillWeightsForPoints(points, start) {
        for (let i = start; i < points.length; i += 1) points[i].timeWeight = weightOf(i);
      }
    };
  }

  function tickText(wall, i, kind) {
    const date = new Date(wall[i]);
    if (kind === 0) return String(date.getUTCFullYear());
    if (kind === 1) return page.months[date.getUTCMonth()];
    if (kind === 2) return String(date.getUTCDate());
    return timeText(date);
  }

  // Entries, exits, stops and targets of the trades in view.
  class Marks {
    constructor(trades) {
      this.trades = trades;
      this.chosen = -1;
      this.views = [{ zOrder: () => "top", renderer: () => ({ draw: (target) => this.draw(target) }) }];
    }

    attached({ chart, series, requestUpdate }) {
      Object.assign(this, { chart, series, requestUpdate });
    }

    paneViews() {
      return this.views;
    }

    inView() {
      const range = this.chart.timeScale().getVisibleLogicalRange();
      const { entry_bar: entry, exit_bar: exit, n } = this.trades;
      if (!range) return [0, 0];
      const first = (bars, value) => {
        let [low, high] = [0, n];
        while (low < high) {
          const middle = (low + high) >> 1;
          if (bars[middle] < value) low = middle + 1;
          else high = middle;
        }
        return low;
      };
      return [first(exit, range.from - 1), first(entry, range.to + 1)];
    }

    draw(target) {
      const [begin, end] = this.inView();
      const scale = this.chart.timeScale();
      const spacing = scale.options().barSpacing;
      const close = spacing >= 2.5;
      // where trades are closer to each other than their marks are wide, they hide the price, and
      // stand at the foot of it
      const dense = (end - begin) * 8 > scale.width();
      target.useBitmapCoordinateSpace(({ context, horizontalPixelRatio: rx, verticalPixelRatio: ry }) => {
        const x = (bar) => scale.logicalToCoordinate(bar) * rx;
        const y = (value) => this.series.priceToCoordinate(value) * ry;
        const t = this.trades;
        const joins = { win: new Path2D(), loss: new Path2D() };
        const shapes = { win: new Path2D(), loss: new Path2D() };
        const [stops, targets] = [new Path2D(), new Path2D()];
        const half = spacing * 0.5 * rx;
        const foot = context.canvas.height;
        for (let i = begin; i < end; i += 1) {
          const mood = t.pnl[i] > 0 ? "win" : "loss";
          if (dense) {
            const at = x(t.entry_bar[i]);
            joins[mood].moveTo(at, foot - (mood === "win" ? 14 : 0) * ry);
            joins[mood].lineTo(at, foot - (mood === "win" ? 22 : 8) * ry);
            continue;
          }
          const [x1, x2] = [x(t.entry_bar[i]), x(t.exit_bar[i])];
          const [y1, y2] = [y(t.entry_price[i]), y(t.exit_price[i])];
          joins[mood].moveTo(x1, y1);
          joins[mood].lineTo(x2, y2);
          const up = t.side[i] > 0 ? 1 : -1;
          const size = (close ? 6 : 3) * ry;
          shapes[mood].moveTo(x1, y1);
          shapes[mood].lineTo(x1 - size, y1 + up * 1.6 * size);
          shapes[mood].lineTo(x1 + size, y1 + up * 1.6 * size);
          shapes[mood].closePath();
          if (!close) continue;
          shapes[mood].moveTo(x2 + 4 * rx, y2);
          shapes[mood].arc(x2, y2, 4 * rx, 0, 7);
          for (const [path, level] of [[stops, t.stop_price[i]], [targets, t.target_price[i]]]) {
            if (Number.isFinite(level)) {
              path.moveTo(x1 - half, y(level));
              path.lineTo(x2 + half, y(level));
            }
          }
        }
        const stroke = (path, color, width, dash = []) => {
          context.strokeStyle = color;
          context.lineWidth = width * rx;
          context.setLineDash(dash.map((length) => length * rx));
          context.stroke(path);
        };
        const colors = { win: style("--win"), loss: style("--loss"), card: style("--card") };
        stroke(stops, colors.loss, 1.4, [2, 3]);
        stroke(targets, colors.win, 1.4, [6, 3]);
        for (const mood of ["win", "loss"]) {
          stroke(joins[mood], colors[mood], close ? 1.6 : 1);
          context.fillStyle = colors[mood];
          context.fill(shapes[mood]);
          if (close) stroke(shapes[mood], colors.card, 1);
        }
        context.setLineDash([]);
      });
    }
  }

  function chartOf(holder, bars, trades, account) {
    const wall = bars.wall;
    const Scale = sessionScale(wall);
    const chart = charts.createChartEx(holder, new Scale(), {
      autoSize: true,
      layout: { attributionLogo: true, panes: { enableResize: true } },
      rightPriceScale: { borderVisible: false, minimumWidth: 84 },
      timeScale: {
        enableConflation: true,
        minBarSpacing: 0.0005,
        rightOffset: 0,
        borderVisible: false,
        timeVisible: true,
        tickMarkFormatter: (i, kind) => tickText(wall, i, kind),
      },
      localization: { locale: page.lang, timeFormatter: (i) => momentText(new Date(wall[i])) },
    });
    const shared = { priceLineVisible: false, lastValueVisible: false };
    const format = (formatter) => ({ type: "custom", minMove: page.tick, formatter });
    const candles = chart.addSeries(charts.CandlestickSeries, {
      ...shared,
      priceFormat: format(price),
    });
    const rounded = { type: "custom", minMove: 0.01, formatter: (value) => number(value, 0) };
    const line = (title, pane, options) =>
      chart.addSeries(charts.LineSeries, { ...shared, lineWidth: 2, priceFormat: rounded, ...options }, pane);
    const marked = line(texts.marked, 1, { lineWidth: 1 });
    const closed = line(texts.closed, 1, { lineType: charts.LineType.WithSteps });
    const fall = chart.addSeries(
      charts.BaselineSeries,
      {
        ...shared,
        lineWidth: 1,
        baseValue: { type: "price", price: 0 },
        priceFormat: { type: "custom", minMove: 0.01, formatter: (value) => `${number(value, 1)}%` },
      },
      2,
    );
    const n = wall.length;
    const points = (column) => Array.from({ length: n }, (_, i) => ({ time: i, value: column[i] }));
    candles.setData(
      Array.from({ length: n }, (_, i) => ({
        time: i,
        open: bars.open[i],
        high: bars.high[i],
        low: bars.low[i],
        close: bars.close[i],
      })),
    );
    marked.setData(points(account.marked));
    closed.setData(points(account.closed));
    fall.setData(points(account.fall));
    const marks = new Marks(trades);
    candles.attachPrimitive(marks);
    chart.panes().forEach((pane, i) => pane.setStretchFactor([5, 2, 1.2][i]));

    const paint = () => {
      const [win, loss, line1, card] = ["--win", "--loss", "--grid", "--card"].map(style);
      chart.applyOptions({
        layout: {
          background: { type: "solid", color: card },
          textColor: style("--muted"),
          fontFamily: getComputedStyle(document.body).fontFamily,
          panes: { separatorColor: style("--line"), separatorHoverColor: line1 },
        },
        grid: { vertLines: { color: line1 }, horzLines: { color: line1 } },
      });
      candles.applyOptions({
        upColor: card,
        downColor: style("--muted"),
        borderUpColor: style("--muted"),
        borderDownColor: style("--muted"),
        wickUpColor: style("--muted"),
        wickDownColor: style("--muted"),
      });
      marked.applyOptions({ color: style("--marked") });
      closed.applyOptions({ color: style("--closed") });
      fall.applyOptions({
        topLineColor: win,
        bottomLineColor: loss,
        bottomFillColor1: `${loss}22`,
        bottomFillColor2: `${loss}66`,
      });
    };
    paint();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
    return { chart, marks };
  }

  // ---- tools above the chart, and what is under the pointer ---------------------------------------

  function element(tag, options = {}, ...children) {
    const made = Object.assign(document.createElement(tag), options);
    made.append(...children);
    return made;
  }

  function tools({ chart, marks }, bars, trades, account) {
    const scale = chart.timeScale();
    const where = element("span");
    const reading = element("span", { className: "reading" });
    const last = bars.wall.length - 1;
    const all = () => {
      marks.chosen = -1;
      where.textContent = "";
      scale.fitContent();
    };
    const show = (trade) => {
      marks.chosen = trade;
      const [from, to] = [trades.entry_bar[trade], trades.exit_bar[trade]];
      const room = Math.max(40, (to - from) * 0.6);
      scale.setVisibleLogicalRange({ from: from - room, to: to + room });
      where.textContent = texts.trade.replace("{n}", number(trade + 1, 0)).replace("{all}", number(trades.n, 0));
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
      reading.textContent = parts.join("   ");
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
    const trades = { n: page.trades.n };
    for (const name of Object.keys(page.trades)) {
      if (name !== "n") trades[name] = await numbers(page.trades[name]);
    }
    const bars = await prices(page.bars);
    const clock = await numbers(page.bars.clock.data);
    bars.wall = clock.map((value) => value * page.bars.clock.unit);
    const account = accountOf(bars, trades);
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
