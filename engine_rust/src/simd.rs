//! Instruction levels, chosen at run time: the only `unsafe` of the project.
//!
//! A [`Task`] is compiled once per level; its body must be `#[inline(always)]` all the way down so
//! that it takes on the instructions of the level. No level contracts `a * b + c`, and no task
//! reorders additions within a chain, so that all levels give the same bits.

use crate::error::{EngineError, EngineResult};

/// A set of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every machine of the target has (SSE2 on x86-64).
    Baseline,
    /// 256-bit vectors.
    Avx2,
    /// 512-bit vectors.
    Avx512,
}

/// Work that is worth wider instructions.
pub trait Task {
    /// What the work gives.
    type Output;
    /// Do the work; implementations are `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

impl Level {
    /// All levels, the narrowest first.
    pub const ALL: [Self; 3] = [Self::Baseline, Self::Avx2, Self::Avx512];

    /// The name in settings and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether this machine has the instructions.
    pub fn available(self) -> bool {
        match self {
            Self::Baseline => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The widest level of this machine.
    pub fn widest() -> Self {
        Self::ALL.into_iter().rfind(|level| level.available()).unwrap_or(Self::Baseline)
    }

    /// The level of a name, or the widest one for `None`.
    ///
    /// # Errors
    /// If there is no such level, or this machine lacks it.
    pub fn named(name: Option<&str>) -> EngineResult<Self> {
        let Some(name) = name else { return Ok(Self::widest()) };
        let found = Self::ALL.into_iter().find(|level| level.name() == name && level.available());
        found.ok_or_else(|| EngineError::Level {
            name: name.to_string(),
            available: Self::available_names().join(", "),
        })
    }

    /// The names of the levels that this machine has.
    pub fn available_names() -> Vec<&'static str> {
        Self::ALL.into_iter().filter(|level| level.available()).map(Self::name).collect()
    }

    /// Do a task with the instructions of this level, or of the baseline if the machine lacks them.
    #[allow(unsafe_code)]
    pub fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if self.available() => {
                // SAFETY: `available` has checked every feature that `with_avx512` enables.
                unsafe { with_avx512(task) }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if self.available() => {
                // SAFETY: `available` has checked every feature that `with_avx2` enables.
                unsafe { with_avx2(task) }
            }
            _ => task.run(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<T: Task>(task: T) -> T::Output {
    task.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
fn with_avx512<T: Task>(task: T) -> T::Output {
    task.run()
}
