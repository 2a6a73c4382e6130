//! Threads that survive a fork.
//!
//! A forked child has the memory of its parent, but of its threads only the one that forked. Work
//! that it hands to a pool of its parent would wait for ever. So nothing here uses the global pool of
//! rayon: pools are made for one process, and a child makes its own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{EngineError, EngineResult};

/// Forks that lie between this process and the first one that loaded the engine.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// Forks after which a process has no shared pool and works on the calling thread.
const MAX_FORKS: usize = 256;

/// The shared pool of a process and of its ancestors, by their number of forks.
///
/// No place is used by two processes, so that none can be found locked by a thread that is gone.
static SHARED: [OnceLock<Option<ThreadPool>>; MAX_FORKS] = [const { OnceLock::new() }; MAX_FORKS];

/// Say that this process has just been forked.
pub fn after_fork_in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Do work on the pool that all calls of this process share, or on the one that is at work already.
///
/// Without a second thread, the calling thread does it.
pub fn install<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_thread_index().is_some() {
        return work();
    }
    match shared() {
        Some(pool) if pool.current_num_threads() > 1 => pool.install(work),
        _ => work(),
    }
}

/// How many threads the work of [`install`] can be spread over.
pub fn n_threads() -> usize {
    if rayon::current_thread_index().is_some() {
        return rayon::current_num_threads();
    }
    shared().map_or(1, ThreadPool::current_num_threads)
}

fn shared() -> Option<&'static ThreadPool> {
    let place = SHARED.get(FORKS.load(Ordering::Relaxed))?;
    place.get_or_init(|| ThreadPoolBuilder::new().build().ok()).as_ref()
}

/// Threads of the process that made them.
#[derive(Debug)]
pub struct Pool {
    forks: usize,
    threads: Option<ThreadPool>,
}

impl Pool {
    /// Start threads, one per processor for 0.
    ///
    /// # Errors
    /// [`EngineError::Threads`] if the system refuses.
    pub fn new(threads: usize) -> EngineResult<Self> {
        let built = ThreadPoolBuilder::new().num_threads(threads).build();
        let threads = built.map_err(|error| EngineError::Threads { reason: error.to_string() })?;
        Ok(Self { forks: FORKS.load(Ordering::Relaxed), threads: Some(threads) })
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
    /// End the threads, but not in a forked child: there they are gone, and may have left locks.
    fn drop(&mut self) {
        if self.check().is_err() {
            std::mem::forget(self.threads.take());
        }
    }
}
