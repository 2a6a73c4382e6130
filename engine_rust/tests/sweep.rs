//! A sweep gives the bits of the single run, on every instruction level.
#![allow(missing_docs, clippy::unwrap_used)]

mod random_bars;

use std::collections::BTreeMap;

use _engine_rust::backtest_engine::backtest;
use _engine_rust::error::EngineError;
use _engine_rust::indicators::atr_wilder;
use _engine_rust::pool::Pool;
use _engine_rust::simd::Level;
use _engine_rust::strategy::{Bound, build, detect, registration};
use _engine_rust::sweep::outcomes::{Exit, MAX_BARS, MAX_DAYS};
use _engine_rust::sweep::plan::{Numbers, SweepPlan};
use _engine_rust::types::{Bars, Contract, N_METRICS, Range, Rules, Settings, Trades, Unit};
use random_bars::{Columns, Random, bits};
use rayon::prelude::*;

/// Choices of every parameter of a strategy.
type Choices = Vec<Vec<f64>>;

fn strategies() -> Vec<(&'static str, Choices)> {
    vec![
        (
            "barra_elefante",
            vec![
                vec![0.0, 1.0, 1.6],
                vec![0.0, 0.7, 1.3],
                vec![0.3, 0.8, 1.0],
                vec![3.0, 11.0],
                vec![0.0, 600.0],
                vec![700.0, 1439.0],
                vec![0.0, 1.0],
            ],
        ),
        (
            "moving_average_cross",
            vec![vec![2.0, 3.0], vec![5.0, 9.0], vec![0.0, 580.0], vec![800.0, 1439.0]],
        ),
        ("opening_range_breakout", vec![vec![10.0, 45.0], vec![600.0, 1439.0]]),
    ]
}

fn random_rules(random: &mut Random, gives_risk: bool, same_day: bool) -> Rules {
    let mut pick = |values: &[f64]| values[random.below(values.len() as u64) as usize];
    let stop = pick(&[0.0, 0.3, 1.0, 2.5]);
    let target_r = if stop > 0.0 { pick(&[0.0, 0.0, 1.5]) } else { 0.0 };
    Rules {
        stop,
        target: if target_r > 0.0 { 0.0 } else { pick(&[0.0, 0.5, 2.0]) },
        target_r,
        trail: pick(&[0.0, 0.0, 0.7]),
        unit: match pick(&[0.0, 1.0, 2.0, 3.0]) as i64 {
            3 if !gives_risk => Unit::Points,
            code => Unit::from_code(code).unwrap(),
        },
        round_to_tick: pick(&[0.0, 1.0]) > 0.0,
        target_through_ticks: pick(&[0.0, 1.0]),
        close_minute: pick(if same_day { &[700.0, 900.0] } else { &[-1.0, -1.0, 700.0, 900.0] })
            as i32,
        max_bars: pick(&[0.0, 0.0, 1.0, 6.0]) as usize,
        target_first: pick(&[0.0, 1.0]) > 0.0,
    }
}

fn random_contract(random: &mut Random) -> Contract {
    let mut pick = |values: &[f64]| values[random.below(values.len() as u64) as usize];
    Contract {
        tick_size: pick(&[0.1, 0.25]),
        point_value: pick(&[0.2, 1.0]),
        quantity: pick(&[1.0, 3.0]),
        fee_per_side: pick(&[0.0, 0.25]),
        fee_rate: pick(&[0.0, 0.0004]),
        slippage_ticks: pick(&[0.0, 1.0]),
        initial_capital: pick(&[30.0, 1000.0, 10_000.0]),
    }
}

fn product(choices: &Choices) -> Vec<Vec<f64>> {
    let mut sets = vec![vec![]];
    for values in choices {
        sets = sets
            .iter()
            .flat_map(|set| values.iter().map(|value| [set.clone(), vec![*value]].concat()))
            .collect();
    }
    sets
}

/// Ranges that overlap, the whole one among them; the shortest has three days.
const RANGES: [Range; 4] = [
    Range { first: 301, last: 555 },
    Range { first: 0, last: 1200 },
    Range { first: 388, last: 1164 },
    Range { first: 555, last: 801 },
];
const N_BLOCKS: usize = 3;

/// `S1`, `S2` and days of every block, from the trades of a single run alone.
fn blocks_by_hand(bars: &Bars<'_>, trades: &Trades, capital: f64, range: Range) -> Vec<f64> {
    let (first_day, last_day) = (bars.day[range.first], bars.day[range.last - 1]);
    let n_days = (last_day - first_day) as usize + 1;
    let block_of = |day: i32| {
        let begins = |block: usize| first_day + (n_days * block / N_BLOCKS) as i32;
        (0..N_BLOCKS).rfind(|block| begins(*block) <= day).unwrap()
    };
    let mut closed: BTreeMap<i32, Vec<f64>> = BTreeMap::new();
    for (bar, pnl) in trades.exit_bar.iter().zip(&trades.pnl) {
        closed.entry(bars.day[*bar as usize]).or_default().push(*pnl);
    }
    let mut blocks = [[0.0; 3]; N_BLOCKS];
    let (mut equity, mut last_exit) = (capital, i32::MIN);
    for (day, pnls) in closed {
        let r = pnls.iter().fold(0.0, |sum, pnl| sum + pnl) / equity;
        equity = pnls.iter().fold(equity, |sum, pnl| sum + pnl);
        let block = &mut blocks[block_of(day)];
        block[0] += r;
        block[1] += r * r;
        last_exit = day;
    }
    let ends_early = equity <= 0.0 && last_exit <= last_day;
    let last = if ends_early { last_exit } else { last_day };
    let later = (last_exit > last_day).then_some(last_exit);
    for day in (first_day..=last).chain(later) {
        blocks[block_of(day)][2] += 1.0;
    }
    blocks.concat()
}

#[test]
fn a_sweep_gives_the_bits_of_the_single_run() {
    let columns = Columns::random(1200, 17);
    let bars = columns.view();
    let atr = atr_wilder(bars.high, bars.low, bars.close, 5, Level::Baseline);
    let mut random = Random(99);
    let settings = Settings { risk_free_rate: 0.03, periods_per_year: 252.0 };
    for (name, choices, same_day) in strategies()
        .into_iter()
        .flat_map(|(name, choices)| [(name, choices.clone(), false), (name, choices, true)])
    {
        let entry = registration(name).unwrap();
        let cut: Vec<usize> =
            entry.thresholds.iter().map(|threshold| threshold.parameter).collect();
        let bounds: Vec<Bound> = entry.thresholds.iter().map(|threshold| threshold.bound).collect();
        let loosest: Vec<f64> = entry
            .thresholds
            .iter()
            .map(|threshold| {
                let values = choices[threshold.parameter].iter().copied();
                if threshold.bound == Bound::AtMost {
                    values.fold(f64::NEG_INFINITY, f64::max)
                } else {
                    values.fold(f64::INFINITY, f64::min)
                }
            })
            .collect();
        let sets = product(&choices);
        let structure = |set: &[f64]| -> Vec<u64> {
            let kept = (0..set.len()).filter(|place| !cut.contains(place));
            kept.map(|place| set[place].to_bits()).collect()
        };
        let mut sources: Vec<Vec<f64>> = Vec::new();
        let mut chosen = Vec::new();
        for set in &sets {
            let known = sources.iter().position(|source| structure(source) == structure(set));
            chosen.push(known.unwrap_or_else(|| {
                sources.push(set.clone());
                sources.len() - 1
            }) as u32);
        }
        let gives_risk = build(name, &sets[0]).unwrap().gives_risk();
        let exits: Vec<Exit<'_>> = (0..11)
            .map(|_| Exit {
                rules: random_rules(&mut random, gives_risk, same_day),
                contract: random_contract(&mut random),
                atr: &atr,
            })
            .collect();
        let thresholds: Vec<f64> =
            sets.iter().flat_map(|set| cut.iter().map(|place| set[*place])).collect();
        let mut expected = Vec::new();
        for values in &sets {
            let strategy = build(name, values).unwrap();
            let signals = detect(&bars, strategy.as_ref(), Level::Baseline);
            for Exit { rules, contract, atr } in &exits {
                expected.push(RANGES.map(|range| {
                    let signals = signals.columns();
                    let run = backtest(&bars, atr, signals, rules, contract, &settings, range);
                    let capital = contract.initial_capital;
                    let blocks = blocks_by_hand(&bars, &run.trades, capital, range);
                    [run.metrics.to_vec(), blocks].concat()
                }));
            }
        }
        for level in Level::ALL.into_iter().filter(|level| level.available()) {
            let scores =
                sources.par_iter().map(|source| build(name, source).unwrap().scores(&bars, level));
            let pool = Pool::new(2).unwrap();
            let plan = SweepPlan::new(&bounds, &loosest, bars.day, scores, pool, level).unwrap();
            plan.load(&bars, &exits).unwrap();
            let joined =
                plan.evaluate(&bars, &chosen, &thresholds, settings, &RANGES, N_BLOCKS).unwrap();
            let n_rows = sets.len() * exits.len();
            assert_eq!(joined.shape, [RANGES.len(), N_METRICS + 3 * N_BLOCKS, n_rows]);
            assert_eq!(plan.done(), n_rows as u64);
            let row_of = |numbers: &Numbers, place: usize, row: usize| -> Vec<f64> {
                let [_, n_columns, n_rows] = numbers.shape;
                let value = |k| numbers.values[(place * n_columns + k) * n_rows + row];
                (0..n_columns).map(value).collect()
            };
            for (row, expected) in expected.iter().enumerate() {
                for (place, expected) in expected.iter().enumerate() {
                    let found = row_of(&joined, place, row);
                    let Exit { rules, contract, .. } = &exits[row % exits.len()];
                    let values = &sets[row / exits.len()];
                    let (found, expected) = (bits(&found), bits(expected));
                    assert_eq!(
                        found, expected,
                        "{name} {values:?} {rules:?} {contract:?} {place} {level:?}"
                    );
                }
            }
            let each: Vec<Exit<'_>> = (0..sets.len()).map(|set| exits[set % 11]).collect();
            let walked = plan
                .evaluate_each(&bars, &each, &chosen, &thresholds, settings, &RANGES, N_BLOCKS)
                .unwrap();
            for set in 0..sets.len() {
                for place in 0..RANGES.len() {
                    let joined = row_of(&joined, place, set * exits.len() + set % 11);
                    let walked = row_of(&walked, place, set);
                    assert_eq!(bits(&joined), bits(&walked), "{name} {set} {place}");
                }
            }
        }
    }
}

/// A plan of one source that signals on these bars.
fn small_plan(bars: &Bars<'_>) -> SweepPlan {
    let strategy = build("moving_average_cross", &[2.0, 5.0, 0.0, 1439.0]).unwrap();
    let scores = rayon::iter::once(strategy.scores(bars, Level::Baseline));
    let bounds = [Bound::AtLeast, Bound::AtMost];
    let pool = Pool::new(1).unwrap();
    SweepPlan::new(&bounds, &[0.0, 1439.0], bars.day, scores, pool, Level::Baseline).unwrap()
}

const SETTINGS: Settings = Settings { risk_free_rate: 0.0, periods_per_year: 252.0 };
const CUTS: [f64; 2] = [0.0, 1439.0];

fn some_exit() -> Exit<'static> {
    Exit {
        rules: random_rules(&mut Random(1), false, false),
        contract: random_contract(&mut Random(1)),
        atr: &[],
    }
}

#[test]
fn wrong_questions_are_errors_and_a_cancelled_sweep_stops() {
    let columns = Columns::random(300, 5);
    let bars = columns.view();
    let plan = small_plan(&bars);
    let whole = [Range { first: 0, last: 300 }];
    let ask = |sets: &[u32], cuts: &[f64], ranges: &[Range], n_blocks| {
        let numbers = plan.evaluate(&bars, sets, cuts, SETTINGS, ranges, n_blocks);
        numbers.map(|numbers| numbers.values)
    };
    assert_eq!(ask(&[0], &CUTS, &whole, 4), Err(EngineError::NotLoaded));
    plan.load(&bars, &[]).unwrap();
    assert_eq!(ask(&[0], &CUTS, &whole, 4), Ok(vec![]));
    assert!(matches!(ask(&[1], &CUTS, &whole, 0), Err(EngineError::Code { .. })));
    assert!(matches!(ask(&[0], &[0.0], &whole, 0), Err(EngineError::Length { .. })));
    assert!(matches!(ask(&[0], &CUTS, &whole, 5), Err(EngineError::Value { .. })));
    let beyond = [whole[0], Range { first: 0, last: 301 }];
    assert!(matches!(ask(&[0], &CUTS, &beyond, 0), Err(EngineError::Range { .. })));
    let each = |exits: &[Exit<'_>]| {
        plan.evaluate_each(&bars, exits, &[0], &CUTS, SETTINGS, &whole, 0).map(|found| found.shape)
    };
    assert_eq!(each(&[some_exit()]), Ok([1, N_METRICS, 1]));
    assert!(matches!(each(&[]), Err(EngineError::Length { name: "exits", .. })));
    plan.cancel();
    assert_eq!(each(&[some_exit()]), Err(EngineError::Cancelled));
    assert_eq!(plan.load(&bars, &[some_exit()]), Err(EngineError::Cancelled));
}

#[test]
fn more_days_than_a_cell_can_tell_apart_are_refused() {
    let mut columns = Columns::random(300, 5);
    let plan = small_plan(&columns.view());
    columns.day[299] = columns.day[0] + MAX_DAYS as i32 - 1;
    assert_eq!(plan.load(&columns.view(), &[some_exit()]), Ok(()));
    columns.day[299] += 1;
    let expected = EngineError::Limit { what: "days", limit: MAX_DAYS, found: MAX_DAYS + 1 };
    assert_eq!(plan.load(&columns.view(), &[some_exit()]), Err(expected));
}

#[test]
fn more_bars_than_a_cell_can_tell_apart_are_refused() {
    let columns = Columns::random(300, 5);
    let plan = small_plan(&columns.view());
    let zeros = vec![0.0; MAX_BARS + 1];
    let whole = vec![0; MAX_BARS + 1];
    let bars = |n: usize| {
        let column = &zeros[..n];
        let (minute, day) = (&whole[..n], &whole[..n]);
        let (open, high, low, close, volume) = (column, column, column, column, column);
        Bars { open, high, low, close, volume, minute, day }
    };
    assert_eq!(plan.load(&bars(MAX_BARS), &[]), Ok(()));
    let expected = EngineError::Limit { what: "bars", limit: MAX_BARS, found: MAX_BARS + 1 };
    assert_eq!(plan.load(&bars(MAX_BARS + 1), &[]), Err(expected));
}
