//! Every instruction level gives the same bits, and so does every split of the bars.
#![allow(missing_docs, clippy::unwrap_used)]

mod random_bars;

use _engine_rust::backtest_engine::backtest;
use _engine_rust::contract::Contract;
use _engine_rust::error::EngineError;
use _engine_rust::indicators::{atr_sma, atr_wilder, prior_sum, window_sums};
use _engine_rust::schema::Setting;
use _engine_rust::simd::Level;
use _engine_rust::strategies::{REGISTRY, build};
use _engine_rust::strategy::detect;
use _engine_rust::types::{AtrMethod, Intrabar, MetricSettings, Range, Rules, SignalColumns, Unit};
use random_bars::{Columns, Random, bits};

fn cases() -> Vec<(&'static str, Vec<f64>)> {
    vec![
        ("barra_elefante", vec![1.5, 1.0, 0.6, 7.0, 0.0, 1439.0, 0.0]),
        ("barra_elefante", vec![1.2, 0.4, 1.0, 20.0, 560.0, 900.0, 1.0]),
        ("barra_elefante", vec![0.0, 0.0, 1.0, 700.0, 0.0, 1439.0, 0.0]),
        ("moving_average_cross", vec![3.0, 11.0, 0.0, 1439.0]),
        ("moving_average_cross", vec![1.0, 600.0, 600.0, 900.0]),
        ("opening_range_breakout", vec![30.0, 1439.0]),
        ("opening_range_breakout", vec![7.0, 800.0]),
    ]
}

#[test]
fn every_strategy_has_a_case() {
    for entry in REGISTRY {
        assert!(cases().iter().any(|(name, _)| *name == entry.name), "{} lacks a case", entry.name);
    }
}

#[test]
fn the_baseline_is_always_available() {
    assert!(Level::Baseline.available());
    assert!(Level::widest().available());
    assert_eq!(Level::named(None).unwrap(), Level::widest());
    assert!(matches!(Level::named(Some("mmx")), Err(EngineError::Level { .. })));
}

#[test]
fn levels_detect_the_same_signals() {
    for n in [1, 5, 700, 701, 3000, 40_000] {
        let columns = Columns::random(n, n as u64);
        let bars = columns.view();
        for (name, values) in cases() {
            let strategy = build(name, &values).unwrap();
            let expected = detect(&bars, strategy.as_ref(), Level::Baseline);
            for level in Level::ALL.into_iter().filter(|level| level.available()) {
                let found = detect(&bars, strategy.as_ref(), level);
                assert_eq!(found.side, expected.side, "{name} {level:?} {n}");
                assert_eq!(bits(&found.risk), bits(&expected.risk), "{name} {level:?} {n}");
            }
            assert!(
                n < 3000 || expected.side.iter().any(|side| *side != 0),
                "{name} never signals"
            );
        }
    }
}

#[test]
fn any_split_of_the_bars_gives_the_same_signals() {
    let n = 1500;
    let columns = Columns::random(n, 3);
    let bars = columns.view();
    for (name, values) in cases() {
        let strategy = build(name, &values).unwrap();
        let expected = detect(&bars, strategy.as_ref(), Level::widest());
        for size in [1, 7, 64, 1000] {
            let mut side = vec![9_i8; n];
            let mut risk = vec![9.0; expected.risk.len()];
            for start in (0..n).step_by(size) {
                let stop = (start + size).min(n);
                let risk = if risk.is_empty() { &mut [] } else { &mut risk[start..stop] };
                strategy.detect(&bars, Level::widest(), start, &mut side[start..stop], risk);
            }
            assert_eq!(side, expected.side, "{name} in chunks of {size}");
            assert_eq!(bits(&risk), bits(&expected.risk), "{name} in chunks of {size}");
        }
    }
}

#[test]
fn levels_give_the_same_average_true_range() {
    for n in [1, 2, 13, 14, 15, 600, 5000] {
        let columns = Columns::random(n, 11);
        let (high, low, close) = (&columns.high, &columns.low, &columns.close);
        for period in [1, 2, 14, 500] {
            let wilder = atr_wilder(high, low, close, period, Level::Baseline);
            let sma = atr_sma(high, low, close, period, Level::Baseline);
            for level in Level::ALL.into_iter().filter(|level| level.available()) {
                assert_eq!(bits(&atr_wilder(high, low, close, period, level)), bits(&wilder));
                assert_eq!(bits(&atr_sma(high, low, close, period, level)), bits(&sma));
            }
        }
    }
}

#[test]
fn window_sums_equal_the_plain_chain() {
    let mut random = Random(5);
    let x: Vec<f64> = (0..2000).map(|_| random.below(1_000_000) as f64 * 0.001).collect();
    for length in [1, 2, 3, 4, 5, 8, 20, 777] {
        let mut sums = vec![0.0; x.len() - length];
        window_sums(&x, length, 0, &mut sums);
        for (i, sum) in sums.iter().enumerate() {
            assert_eq!(sum.to_bits(), prior_sum(&x, length, i + length).to_bits());
        }
    }
}

#[test]
fn wrong_calls_are_errors() {
    let columns = Columns::random(10, 1);
    let mut bars = columns.view();
    assert_eq!(bars.check(), Ok(()));
    bars.close = &columns.close[..9];
    assert_eq!(bars.check(), Err(EngineError::Length { name: "close", expected: 10, found: 9 }));
    assert!(matches!(build("nothing", &[]), Err(EngineError::UnknownStrategy { .. })));
    assert!(matches!(
        build("opening_range_breakout", &[1.0]),
        Err(EngineError::Values { expected: 2, found: 1, .. })
    ));
    for (first, last) in [(3, 3), (4, 2), (0, 11)] {
        assert!(matches!(Range { first, last }.check(10), Err(EngineError::Range { .. })));
    }
    assert!(matches!(Unit::from_number("unit", 4.0), Err(EngineError::Code { .. })));
}

#[test]
fn values_that_mean_nothing_are_errors() {
    for lookback in [0.0, -1.0, 2.5, 1e30, f64::NAN, f64::INFINITY] {
        let values = [1.0, 1.0, 0.4, lookback, 0.0, 1439.0, 0.0];
        let built = build("barra_elefante", &values).err();
        assert!(matches!(built, Some(EngineError::Value { name: "lookback", .. })), "{lookback}");
        let built = build("opening_range_breakout", &[lookback, 1439.0]).err();
        assert!(matches!(built, Some(EngineError::Value { name: "range_minutes", .. })));
    }
    for (fast, slow) in [(0.0, 2.0), (3.0, 3.0), (4.0, 3.0), (1.0, 1e30), (1.5, 3.0)] {
        let built = build("moving_average_cross", &[fast, slow, 0.0, 1439.0]).err();
        assert!(matches!(built, Some(EngineError::Value { .. })), "{fast} {slow}");
    }
    assert_eq!(SignalColumns { side: &[0, 1, -1], risk: &[] }.check(), Ok(()));
    for side in [2, -2, i8::MIN, i8::MAX] {
        let found = SignalColumns { side: &[0, side, 1], risk: &[] }.check();
        let (value, allowed) = (f64::from(side), "-1, 0 or 1");
        assert_eq!(found, Err(EngineError::Value { name: "side", value, allowed }));
    }
}

#[test]
fn a_gap_through_the_stop_is_paid() {
    let columns = Columns {
        open: vec![100.0, 100.0, 90.0],
        high: vec![100.0, 101.0, 91.0],
        low: vec![100.0, 99.0, 89.0],
        close: vec![100.0, 100.0, 90.0],
        volume: vec![1.0; 3],
        minute: vec![540, 545, 550],
        day: vec![0; 3],
    };
    let rules = Rules {
        stop: 5.0,
        target: 0.0,
        target_r: 0.0,
        trail: 0.0,
        unit: Unit::Points,
        round_to_tick: false,
        target_through_ticks: 0.0,
        close_time: -1,
        max_bars: 0,
        intrabar: Intrabar::StopFirst,
        atr_period: 14,
        atr_method: AtrMethod::Wilder,
    };
    let contract = Contract {
        tick_size: 1.0,
        point_value: 1.0,
        quantity: 1.0,
        fee_per_side: 0.5,
        fee_rate: 0.0,
        slippage_ticks: 1.0,
        initial_capital: 1000.0,
    };
    let settings = MetricSettings { risk_free_rate: 0.0, periods_per_year: 252.0 };
    let strategy = build("moving_average_cross", &[1.0, 2.0, 0.0, 1439.0]).unwrap();
    let mut signals = detect(&columns.view(), strategy.as_ref(), Level::Baseline);
    signals.side = vec![1, 0, 0];
    let range = Range { first: 0, last: 3 };
    let result =
        backtest(&columns.view(), &[], signals.columns(), &rules, &contract, &settings, range);
    assert_eq!(result.trades.entry_price, [101.0]);
    assert_eq!(result.trades.stop_price, [96.0]);
    assert_eq!(result.trades.exit_price, [89.0]);
    assert_eq!(result.trades.pnl, [-13.0]);
}
