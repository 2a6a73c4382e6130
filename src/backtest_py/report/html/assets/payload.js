"use strict";
// Bars and trades out of few bytes, and the account bar by bar: pure functions, which give the bits
// that Python has (payload.py, account.py).
window.backtest = (function () {
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

  const unfolded = (value) => (value >>> 1) ^ -(value & 1);

  async function numbers(column) {
    if (column.kind === "f64") return unpacked(column.bytes, Float64Array);
    const steps = await unpacked(column.bytes, Uint32Array);
    const values = new Float64Array(steps.length);
    let value = column.first;
    for (let i = 0; i < steps.length; i += 1) values[i] = value += unfolded(steps[i]);
    return values;
  }

  async function prices(bars) {
    const n = bars.n;
    const table = bars.table && (await unpacked(bars.table, Float64Array));
    const steps = Int32Array.from(await unpacked(bars.ticks, Uint32Array), unfolded);
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

  async function everyBar(bars) {
    const clock = await numbers(bars.clock.data);
    return { ...(await prices(bars)), wall: clock.map((value) => value * bars.clock.unit) };
  }

  async function everyTrade(columns) {
    const trades = { n: columns.n };
    for (const name of Object.keys(columns)) {
      if (name !== "n") trades[name] = await numbers(columns[name]);
    }
    return trades;
  }

  // Closed trades, marked to market at each close, and the fall from the highest, in percent.
  function accountOf(bars, trades, contract) {
    const { capital, value, per_side: perSide, rate } = contract;
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

  return { everyBar, everyTrade, accountOf };
})();
