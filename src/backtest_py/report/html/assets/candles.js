"use strict";
// The chart that can be moved: candles with trades, account and drawdown under it.
window.backtest.candles = function (page, say) {
  const charts = window.LightweightCharts;
  const texts = page.texts;
  const { number, price, timeText, momentText } = say;
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

  return function chartOf(holder, bars, trades, account) {
    const wall = bars.wall;
    const Scale = sessionScale(wall);
    const chart = charts.createChartEx(holder, new Scale(), {
      autoSize: true,
      // a page is scrolled over its charts; the wheel belongs to one only while that has the focus
      handleScroll: { mouseWheel: false, vertTouchDrag: false },
      handleScale: { mouseWheel: false },
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
    const rounded = { type: "custom", minMove: 1, formatter: (value) => number(value, 0) };
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
        priceFormat: { type: "custom", minMove: 0.1, formatter: (value) => `${number(value, 1)}%` },
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
  };
};
