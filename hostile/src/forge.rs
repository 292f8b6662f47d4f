//! Requests that a provider signed, changed: they verify only if what is signed, and a signature of it, are as they were.

use crate::base::{names, site};
use crate::edit::edited;
use crate::input::Input;

/// The first line names the source, the first byte behind it the request, the rest the changes.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let site = site(&input.text());
    let number = usize::from(input.byte()) % site.made.len();
    let made = &site.made[number];
    if let Some(request) = edited(&made.request, &mut input) {
        site.judge(&request, &site.made[number..=number], made.now);
    }
}

/// Each signed request as it is, and with a first change of each kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (name, site) in names() {
        for number in 0..u8::try_from(site.made.len()).unwrap_or(u8::MAX) {
            let begin = [name.as_bytes(), b"\n", &[number]].concat();
            let edit = number % 9;
            seeds.push([&begin[..], &[edit, 2, 0, 1, 0, 1, 1]].concat());
            seeds.push(begin);
        }
    }
    seeds
}
