//! A request to the source of any preset: nothing verifies but what its provider signed.

use crate::base::{made_by, names, site};
use crate::input::Input;
use crate::request::Request;

/// The first line names the source, the rest is the request.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let site = site(&input.text());
    let request = Request::read(input);
    // Of Twilio's URL only what is no query is configured: what is signed for one source is valid at another.
    site.judge(&request, made_by(&site.preset), site.made[0].now);
}

/// Every signed request of the vectors.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let seed = |name: &str, request: &Request| [name.as_bytes(), b"\n", &request.write()].concat();
    names().flat_map(|(name, site)| site.made.iter().map(move |made| seed(&name, &made.request))).collect()
}
