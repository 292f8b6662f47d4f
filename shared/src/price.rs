//! Safety switched off, to see what each promise costs. It exists in the build of the benchmark alone, which asks for
//! the feature `price`; no program that is released has it.

use std::sync::OnceLock;

use crate::environment;

/// What keeps a promise, and can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Redis, asked before and told after the publish.
    Claim,
    /// The publish itself, and all that waits for it.
    Publish,
    /// The wait for the broker's confirm.
    Confirm,
    /// The wait for the disk, in the embedded store.
    Fsync,
    /// The inbox row beside the effects.
    Inbox,
}

impl Guard {
    fn word(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Publish => "publish",
            Self::Confirm => "confirm",
            Self::Fsync => "fsync",
            Self::Inbox => "inbox",
        }
    }

    /// Whether `TIDEGATE_PRICE_WITHOUT`, a list with commas, names it.
    #[must_use]
    pub fn is_off(self) -> bool {
        static OFF: OnceLock<String> = OnceLock::new();
        let off = OFF.get_or_init(|| environment::variable("TIDEGATE_PRICE_WITHOUT").unwrap_or_default());
        off.split(',').any(|word| word == self.word())
    }
}
