//! Work that takes longer than other tasks should wait.

use tokio::runtime::{Handle, RuntimeFlavor};

/// What is read or written at less than this takes less than a millisecond.
pub(crate) const HEAVY_BYTES: usize = 256 << 10;

/// Does the work; if it is on so many bytes, other tasks of this thread go on elsewhere meanwhile.
#[expect(
    clippy::disallowed_methods,
    reason = "the state that is worked on belongs to the task, and nothing else of it runs meanwhile"
)]
pub(crate) fn work<R>(bytes: usize, work: impl FnOnce() -> R) -> R {
    if bytes >= HEAVY_BYTES && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}
