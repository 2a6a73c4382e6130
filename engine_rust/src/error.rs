//! The one error of the engine.
//!
//! Values are validated in Python, once for both engines; what is checked here keeps a wrong call
//! from reading out of bounds, and from computing what means nothing.

use thiserror::Error;

/// What can be wrong with a call of the engine.
#[derive(Debug, Error, PartialEq)]
pub enum EngineError {
    /// An array is not contiguous, so that it cannot be read without a copy.
    #[error("{name} is not a contiguous array; pass numpy.ascontiguousarray({name})")]
    NotContiguous {
        /// Name of the argument.
        name: &'static str,
    },
    /// An array does not have one element per bar.
    #[error("{name} has {found} elements, but there are {expected} bars")]
    Length {
        /// Name of the argument.
        name: &'static str,
        /// Number of bars.
        expected: usize,
        /// Number of elements.
        found: usize,
    },
    /// A column of trades does not have one element per trade.
    #[error("{name} has {found} elements, but there are {expected} trades")]
    Trades {
        /// Name of the argument.
        name: &'static str,
        /// Number of trades.
        expected: usize,
        /// Number of elements.
        found: usize,
    },
    /// There is no bar at all.
    #[error("there are no bars; a backtest needs at least one")]
    NoBars,
    /// The evaluation range holds no bar, or reaches beyond the data.
    #[error("the range [{first}, {last}) is empty or not within the {n_bars} bars")]
    Range {
        /// First bar of the range.
        first: usize,
        /// Bar after the last of the range.
        last: usize,
        /// Number of bars.
        n_bars: usize,
    },
    /// No strategy has this name.
    #[error("the Rust engine has no strategy {name:?} (known: {known})")]
    UnknownStrategy {
        /// The name that was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A strategy was given the wrong number of values.
    #[error("strategy {name} takes {expected} values, not {found}")]
    Values {
        /// Name of the strategy.
        name: &'static str,
        /// Number of its parameters.
        expected: usize,
        /// Number of values given.
        found: usize,
    },
    /// Settings came with more or fewer numbers than the engine knows fields.
    #[error(
        "{name} has {expected} fields here, but {found} values were given: the extension and the \
         package are of different versions; rebuild with `make build`"
    )]
    Fields {
        /// Name of the settings.
        name: &'static str,
        /// Number of fields.
        expected: usize,
        /// Number of values given.
        found: usize,
    },
    /// A number is not one that the engine can compute with.
    #[error("{name} = {value} is not allowed; give {allowed}")]
    Value {
        /// Name of the number.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// A column that the rules measure in was not given.
    #[error("unit = {unit} needs the column {column}; give one value per bar")]
    Column {
        /// What the rules measure in.
        unit: &'static str,
        /// Name of the column.
        column: &'static str,
    },
    /// A code has no meaning.
    #[error("{name} = {code} is not a known code")]
    Code {
        /// Name of the argument.
        name: &'static str,
        /// The code.
        code: i64,
    },
    /// A run got neither a strategy nor signals, or both.
    #[error("give either a strategy with its values, or the sides of signals")]
    Signals,
    /// There is more of something than the outcomes of a sweep can tell apart.
    #[error(
        "a sweep on the Rust engine takes at most {limit} {what}, and here are {found}; sweep \
         shorter data, or give engine=\"numba\""
    )]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The largest number.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// No outcomes were loaded before a sweep asked for numbers.
    #[error("no exits are loaded; call load before evaluate")]
    NotLoaded,
    /// A plan is used in another process than the one that made it.
    #[error("this plan was made before the process was forked; make a new one in the child")]
    Forked,
    /// The system refuses to start threads.
    #[error("no threads can be started ({reason}); ask for fewer")]
    Threads {
        /// What the system says.
        reason: String,
    },
    /// The caller asked to stop.
    #[error("the sweep was stopped")]
    Cancelled,
    /// An instruction level is not known or not available on this machine.
    #[error("instruction level {name:?} is not available here (available: {available})")]
    Level {
        /// The level that was asked for.
        name: String,
        /// The levels of this machine.
        available: String,
    },
}

/// Result of an engine call.
pub type EngineResult<T> = Result<T, EngineError>;
