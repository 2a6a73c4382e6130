//! Threads after a fork; a file, and so a process, of its own.
#![allow(missing_docs, clippy::unwrap_used)]

mod random_bars;

use _engine_rust::error::EngineError;
use _engine_rust::pool::{self, Pool};
use _engine_rust::simd::Level;
use _engine_rust::strategy::{build, detect};
use random_bars::Columns;

#[test]
fn a_forked_child_gets_threads_of_its_own() {
    let columns = Columns::random(40_000, 5);
    let bars = columns.view();
    let strategy = build("moving_average_cross", &[2.0, 5.0, 0.0, 1439.0]).unwrap();
    let expected = detect(&bars, strategy.as_ref(), Level::Baseline);
    let inherited = Pool::new(2).unwrap();
    pool::after_fork_in_child();
    assert_eq!(inherited.install(|| 1), Err(EngineError::Forked));
    let found = detect(&bars, strategy.as_ref(), Level::Baseline);
    assert_eq!(found.side, expected.side);
    assert_eq!(Pool::new(2).unwrap().install(|| 1), Ok(1));
}
