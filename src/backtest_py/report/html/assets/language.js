"use strict";
// Numbers and times as a page writes them (language.py).
window.backtest.language = function (page) {
  const [point, comma] = page.lang === "pt-BR" ? [",", "."] : [".", ","];

  // As Python rounds: by the exact value of the double, and half to even. toFixed takes the larger of
  // two that are equally near, which they are only for odd multiples of a power of two.
  function fixed(value, decimals) {
    const halves = value * 2 ** (decimals + 1);
    if (!Number.isInteger(halves) || halves % 2 === 0) return value.toFixed(decimals);
    const below = Math.floor(value * 10 ** decimals);
    return ((below % 2 === 0 ? below : below + 1) / 10 ** decimals).toFixed(decimals);
  }

  function number(value, decimals) {
    if (Number.isNaN(value)) return page.texts.nan;
    const sign = value < 0 ? "-" : "";
    if (!Number.isFinite(value)) return `${sign}∞`;
    const [whole, part] = fixed(Math.abs(value), decimals).split(".");
    const text = whole.replace(/\B(?=(\d{3})+$)/g, comma) + (part ? point + part : "");
    return /[1-9]/.test(text) ? sign + text : text;
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

  return { number, price, money, timeText, momentText };
};
