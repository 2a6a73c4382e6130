//! Threads that survive a fork.
//!
//! A forked child has the memory of its parent, but of its threads only the one that forked. Work
//! that it hands to a pool of its parent would wait forever. So nothing here uses the global pool of
//! rayon: pools belong to one process, and a child makes its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{EngineError, EngineResult};

/// Forks that lie between this process and the first one that loaded the engine.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// Forks after which a process keeps no pools.
const MAX_FORKS: usize = 256;

/// The pools that a process keeps.
#[derive(Debug)]
struct Kept {
    /// One thread per processor.
    every: Option<Arc<ThreadPool>>,
    /// As many threads as were asked for last: starting them for each plan takes longer.
    last: Option<(usize, Arc<ThreadPool>)>,
}

/// What a process and its ancestors keep, by their number of forks.
///
/// No place is used by two processes, so that none can be found locked by a thread that is gone.
static KEPT: [Mutex<Kept>; MAX_FORKS] =
    [const { Mutex::new(Kept { every: None, last: None }) }; MAX_FORKS];

/// Note that this process has just been forked.
pub fn after_fork_in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Do work on as many threads as there are processors, or on the pool that is at work already.
///
/// If the system refuses threads, the calling one does it.
pub fn install<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_thread_index().is_some() {
        return work();
    }
    match threads_of(0) {
        Ok(threads) => threads.install(work),
        Err(_) => work(),
    }
}

/// How many threads the work of [`install`] can be spread over.
pub fn n_threads() -> usize {
    if rayon::current_thread_index().is_some() {
        return rayon::current_num_threads();
    }
    threads_of(0).map_or(1, |threads| threads.current_num_threads())
}

/// Return a pool of `n` threads, one per processor for 0.
fn threads_of(n: usize) -> EngineResult<Arc<ThreadPool>> {
    let start = || {
        let built = ThreadPoolBuilder::new().num_threads(n).build();
        built.map(Arc::new).map_err(|error| EngineError::Threads { reason: error.to_string() })
    };
    let Some(kept) = KEPT.get(FORKS.load(Ordering::Relaxed)) else { return start() };
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if n == 0 {
        if let Some(threads) = &kept.every {
            return Ok(Arc::clone(threads));
        }
        return Ok(Arc::clone(kept.every.insert(start()?)));
    }
    match &kept.last {
        Some((size, threads)) if *size == n => Ok(Arc::clone(threads)),
        _ => Ok(Arc::clone(&kept.last.insert((n, start()?)).1)),
    }
}

/// Threads of the process that asked for them.
#[derive(Debug)]
pub struct Pool {
    forks: usize,
    threads: Option<Arc<ThreadPool>>,
}

impl Pool {
    /// Start threads, or take those that are there; one per processor for 0.
    ///
    /// # Errors
    /// [`EngineError::Threads`] if the system refuses.
    pub fn new(n_threads: usize) -> EngineResult<Self> {
        let threads = Some(threads_of(n_threads)?);
        Ok(Self { forks: FORKS.load(Ordering::Relaxed), threads })
    }

    /// Do work on these threads.
    ///
    /// # Errors
    /// [`EngineError::Forked`] in a forked child, where they do not run.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> EngineResult<R> {
        self.check()?;
        self.threads.as_ref().map(|threads| threads.install(work)).ok_or(EngineError::Forked)
    }

    /// Check that this process made the pool.
    ///
    /// # Errors
    /// [`EngineError::Forked`].
    pub fn check(&self) -> EngineResult<()> {
        if self.forks == FORKS.load(Ordering::Relaxed) { Ok(()) } else { Err(EngineError::Forked) }
    }
}

impl Drop for Pool {
    /// End the threads if nobody else uses them, but not in a forked child: there they are gone, and
    /// may have left locks.
    fn drop(&mut self) {
        if self.check().is_err() {
            std::mem::forget(self.threads.take());
        }
    }
}
