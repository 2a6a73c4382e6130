//! Instruction levels, chosen at run time, and the vectors of the sweep: the only `unsafe` of the
//! project.
//!
//! The vectors mirror `engines/numba_engine/sweep/vectors.py`. There LLVM's own vectors do the work and
//! operators stand for `add` to `and_not`; here intrinsics do, and packed counts have operations of
//! their own.
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
    /// Do the work, with explicit vectors `V` where the compiler does not find them by itself;
    /// implementations are `#[inline(always)]`.
    fn run<V: Vector>(self) -> Self::Output;
}

/// Lanes of a vector.
pub const LANES: usize = 8;

/// Eight numbers that are worked on together; no operation joins lanes.
pub trait Vector: Copy {
    /// A truth value for every lane.
    type Mask: Copy;
    /// A 64-bit word for every lane.
    type Words: Copy;

    /// The same number in every lane.
    fn splat(x: f64) -> Self;
    /// Numbers from memory.
    fn load(x: &[f64; LANES]) -> Self;
    /// Numbers from memory, widened.
    fn load_f32(x: &[f32; LANES]) -> Self;
    /// Whole numbers from memory.
    fn load_u16(x: &[u16; LANES]) -> Self;
    /// Numbers to memory.
    fn store(self, out: &mut [f64; LANES]);
    /// Sums.
    fn add(self, other: Self) -> Self;
    /// Differences.
    fn sub(self, other: Self) -> Self;
    /// Products.
    fn mul(self, other: Self) -> Self;
    /// Quotients.
    fn div(self, other: Self) -> Self;
    /// `if a > b { a } else { b }`.
    fn larger(self, other: Self) -> Self;
    /// `if a < b { a } else { b }`.
    fn smaller(self, other: Self) -> Self;
    /// `a > b`.
    fn gt(self, other: Self) -> Self::Mask;
    /// `a <= b`.
    fn le(self, other: Self) -> Self::Mask;
    /// `if mask { a } else { b }`.
    fn select(mask: Self::Mask, a: Self, b: Self) -> Self;
    /// `if mask { a } else { +0.0 }`.
    fn keep(self, mask: Self::Mask) -> Self;
    /// No lane.
    fn none() -> Self::Mask;
    /// Lanes of both.
    fn and(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// Lanes of either.
    fn or(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// Lanes of the first but not of the second.
    fn and_not(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// Whether a mask holds in any lane.
    fn any_lane(mask: Self::Mask) -> bool;
    /// Zero in every lane.
    fn no_words() -> Self::Words;
    /// Add `1 << shift` where `mask` holds; a shift of 64 or more adds nothing.
    fn count(words: Self::Words, shifts: &[u8; LANES], less: u8, mask: Self::Mask) -> Self::Words;
    /// Add one number where `mask` holds.
    fn count_all(words: Self::Words, amount: u64, mask: Self::Mask) -> Self::Words;
    /// The words as an array.
    fn words_to_array(words: Self::Words) -> [u64; LANES];
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
            _ => task.run::<Plain>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<T: Task>(task: T) -> T::Output {
    task.run::<x86::Avx2>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
fn with_avx512<T: Task>(task: T) -> T::Output {
    task.run::<x86::Avx512>()
}

/// Vectors of the baseline: arrays, left to the compiler.
#[derive(Clone, Copy)]
struct Plain([f64; LANES]);

impl Plain {
    #[inline(always)]
    fn map2(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self(std::array::from_fn(|l| f(self.0[l], other.0[l])))
    }

    #[inline(always)]
    fn compare(self, other: Self, f: impl Fn(f64, f64) -> bool) -> [u64; LANES] {
        std::array::from_fn(|l| if f(self.0[l], other.0[l]) { u64::MAX } else { 0 })
    }
}

impl Vector for Plain {
    type Mask = [u64; LANES];
    type Words = [u64; LANES];

    #[inline(always)]
    fn splat(x: f64) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    fn load(x: &[f64; LANES]) -> Self {
        Self(*x)
    }

    #[inline(always)]
    fn load_f32(x: &[f32; LANES]) -> Self {
        Self(x.map(f64::from))
    }

    #[inline(always)]
    fn load_u16(x: &[u16; LANES]) -> Self {
        Self(x.map(f64::from))
    }

    #[inline(always)]
    fn store(self, out: &mut [f64; LANES]) {
        *out = self.0;
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.map2(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.map2(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.map2(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.map2(other, |a, b| a / b)
    }

    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        self.map2(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        self.map2(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn gt(self, other: Self) -> Self::Mask {
        self.compare(other, |a, b| a > b)
    }

    #[inline(always)]
    fn le(self, other: Self) -> Self::Mask {
        self.compare(other, |a, b| a <= b)
    }

    #[inline(always)]
    fn select(mask: Self::Mask, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|l| {
            f64::from_bits((a.0[l].to_bits() & mask[l]) | (b.0[l].to_bits() & !mask[l]))
        }))
    }

    #[inline(always)]
    fn keep(self, mask: Self::Mask) -> Self {
        Self(std::array::from_fn(|l| f64::from_bits(self.0[l].to_bits() & mask[l])))
    }

    #[inline(always)]
    fn none() -> Self::Mask {
        [0; LANES]
    }

    #[inline(always)]
    fn and(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        std::array::from_fn(|l| a[l] & b[l])
    }

    #[inline(always)]
    fn or(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        std::array::from_fn(|l| a[l] | b[l])
    }

    #[inline(always)]
    fn and_not(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        std::array::from_fn(|l| a[l] & !b[l])
    }

    #[inline(always)]
    fn any_lane(mask: Self::Mask) -> bool {
        mask.iter().fold(0, |any, lane| any | lane) != 0
    }

    #[inline(always)]
    fn no_words() -> Self::Words {
        [0; LANES]
    }

    #[inline(always)]
    fn count(words: Self::Words, shifts: &[u8; LANES], less: u8, mask: Self::Mask) -> Self::Words {
        std::array::from_fn(|l| {
            let one = 1_u64.checked_shl(u32::from(shifts[l].wrapping_sub(less))).unwrap_or(0);
            words[l] + (one & mask[l])
        })
    }

    #[inline(always)]
    fn count_all(words: Self::Words, amount: u64, mask: Self::Mask) -> Self::Words {
        std::array::from_fn(|l| words[l] + (amount & mask[l]))
    }

    #[inline(always)]
    fn words_to_array(words: Self::Words) -> [u64; LANES] {
        words
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;
