//! A sweep gives the bits of the single run, on every instruction level.
#![allow(missing_docs, clippy::unwrap_used)]

mod random_bars;

use _engine_rust::backtest_engine::backtest;
use _engine_rust::error::EngineError;
use _engine_rust::indicators::atr_wilder;
use _engine_rust::outcomes::{Exit, OutcomeTable};
use _engine_rust::simd::Level;
use _engine_rust::strategy::{Bound, build, detect, registration};
use _engine_rust::sweep::{Plan, Watch};
use _engine_rust::types::{Contract, N_METRICS, Range, Rules, Settings, Unit};
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

fn random_rules(random: &mut Random, gives_risk: bool) -> Rules {
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
        close_minute: pick(&[-1.0, -1.0, 700.0, 900.0]) as i32,
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

#[test]
fn a_sweep_gives_the_bits_of_the_single_run() {
    let columns = Columns::random(1200, 17);
    let bars = columns.view();
    let atr = atr_wilder(bars.high, bars.low, bars.close, 5, Level::Baseline);
    let mut random = Random(99);
    let settings = Settings { risk_free_rate: 0.03, periods_per_year: 252.0 };
    for (name, choices) in strategies() {
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
                rules: random_rules(&mut random, gives_risk),
                contract: random_contract(&mut random),
                atr: &atr,
            })
            .collect();
        let thresholds: Vec<f64> =
            sets.iter().flat_map(|set| cut.iter().map(|place| set[*place])).collect();
        for level in Level::ALL.into_iter().filter(|level| level.available()) {
            let scores =
                sources.par_iter().map(|source| build(name, source).unwrap().scores(&bars, level));
            let plan = Plan::new(&bounds, &loosest, bars.day, scores);
            let table = OutcomeTable::new(&bars, plan.candidates(), &exits);
            for range in [Range { first: 0, last: 1200 }, Range { first: 301, last: 555 }] {
                let watch = Watch::default();
                let joined = plan
                    .evaluate(
                        &bars,
                        &table,
                        &exits,
                        &chosen,
                        &thresholds,
                        &settings,
                        range,
                        level,
                        &watch,
                    )
                    .unwrap();
                let n_rows = sets.len() * exits.len();
                for (set, values) in sets.iter().enumerate() {
                    let strategy = build(name, values).unwrap();
                    let signals = detect(&bars, strategy.as_ref(), level);
                    for (k, exit) in exits.iter().enumerate() {
                        let expected = backtest(
                            &bars,
                            exit.atr,
                            signals.columns(),
                            &exit.rules,
                            &exit.contract,
                            &settings,
                            range,
                        );
                        let row = set * exits.len() + k;
                        let found: Vec<f64> =
                            (0..N_METRICS).map(|metric| joined[metric * n_rows + row]).collect();
                        let context = format!("{name} {values:?} {exit:?} {range:?} {level:?}");
                        assert_eq!(bits(&found), bits(&expected.metrics), "{context}");
                    }
                }
                let each: Vec<Exit<'_>> = (0..sets.len()).map(|set| exits[set % 11]).collect();
                let walked = plan
                    .evaluate_each(&bars, &each, &chosen, &thresholds, &settings, range, &watch)
                    .unwrap();
                for set in 0..sets.len() {
                    let row = set * exits.len() + set % 11;
                    let joined: Vec<f64> =
                        (0..N_METRICS).map(|metric| joined[metric * n_rows + row]).collect();
                    let walked: Vec<f64> =
                        (0..N_METRICS).map(|metric| walked[metric * sets.len() + set]).collect();
                    assert_eq!(bits(&joined), bits(&walked), "{name} {set} {range:?}");
                }
            }
        }
    }
}

#[test]
fn a_cancelled_sweep_stops() {
    let columns = Columns::random(300, 5);
    let bars = columns.view();
    let scores = build("moving_average_cross", &[2.0, 5.0, 0.0, 1439.0])
        .unwrap()
        .scores(&bars, Level::Baseline);
    let bounds = [Bound::AtLeast, Bound::AtMost];
    let plan = Plan::new(&bounds, &[0.0, 1439.0], bars.day, rayon::iter::once(scores));
    let table = OutcomeTable::new(&bars, plan.candidates(), &[]);
    let settings = Settings { risk_free_rate: 0.0, periods_per_year: 252.0 };
    let range = Range { first: 0, last: 300 };
    let watch = Watch::default();
    let run = |sets: &[u32], cuts: &[f64]| {
        plan.evaluate(&bars, &table, &[], sets, cuts, &settings, range, Level::Baseline, &watch)
    };
    assert_eq!(run(&[0], &[0.0, 1439.0]), Ok(vec![]));
    assert!(matches!(run(&[1], &[0.0, 1439.0]), Err(EngineError::Code { .. })));
    assert!(matches!(run(&[0], &[0.0]), Err(EngineError::Length { .. })));
    let exit = Exit {
        rules: random_rules(&mut Random(1), false),
        contract: random_contract(&mut Random(1)),
        atr: &[],
    };
    watch.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
    let stopped =
        plan.evaluate_each(&bars, &[exit], &[0], &[0.0, 1439.0], &settings, range, &watch);
    assert_eq!(stopped, Err(EngineError::Cancelled));
}
