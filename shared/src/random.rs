//! Random bytes of the system, fetched many at a time: each fetch is a call into the kernel.

use std::cell::RefCell;

/// Bytes fetched at once.
const FETCHED: usize = 4_096;

struct Pool {
    bytes: [u8; FETCHED],
    /// Bytes handed out already.
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; FETCHED], used: FETCHED }) };
}

/// `N` bytes that nobody was given before; at most 4,096.
///
/// # Panics
/// If the system has no random source: nothing safe can run then.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= FETCHED) };
    POOL.with_borrow_mut(|pool| {
        if pool.used + N > FETCHED {
            getrandom::fill(&mut pool.bytes).expect("the system's random source works");
            pool.used = 0;
        }
        let mut taken = [0; N];
        let from = &mut pool.bytes[pool.used..pool.used + N];
        taken.copy_from_slice(from);
        // What was given away is not kept.
        from.fill(0);
        pool.used += N;
        taken
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_are_given_twice() {
        let given: HashSet<[u8; 16]> = (0..10_000).map(|_| bytes()).collect();
        assert_eq!(given.len(), 10_000);
        assert!(!given.contains(&[0; 16]));
        assert_ne!(bytes::<FETCHED>(), bytes::<FETCHED>());
    }
}
