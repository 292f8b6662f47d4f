//! Changes of a request: what an attacker who holds a signed one can do to it.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::input::Input;
use crate::request::Request;

/// Most changes of one request.
const EDITS_MAX: usize = 16;

/// A request in parts, any of which can hold any bytes.
struct Parts {
    /// Method, target, body, then name and value of each header.
    texts: Vec<Vec<u8>>,
}

/// What stands before the headers among the parts.
const HEADERS_AT: usize = 3;

/// Changes `request` as `input` says; `None` if the changed one cannot be sent.
pub(crate) fn edited(request: &Request, input: &mut Input<'_>) -> Option<Request> {
    let mut parts = Parts::of(request);
    for _ in 0..EDITS_MAX {
        if input.is_over() {
            break;
        }
        parts.edit(input);
    }
    parts.whole()
}

impl Parts {
    fn of(request: &Request) -> Self {
        let fixed = [request.method.as_str().as_bytes(), request.target.as_bytes(), &request.body];
        let headers = request.headers.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
        Self { texts: fixed.into_iter().chain(headers).map(<[u8]>::to_vec).collect() }
    }

    fn edit(&mut self, input: &mut Input<'_>) {
        let kind = input.byte();
        let at = input.below(self.texts.len());
        match kind % 9 {
            0 => self.replace(at, input),
            1 => self.insert(at, input),
            2 => self.cut(at, input),
            3 => self.move_over(at, input),
            4 => self.swap(at, input),
            5 => self.drop_header(at),
            6 => self.double_header(at),
            7 => self.texts.extend([input.chunk().to_vec(), input.chunk().to_vec()]),
            _ => self.texts[at] = input.chunk().to_vec(),
        }
    }

    fn replace(&mut self, at: usize, input: &mut Input<'_>) {
        let text = &mut self.texts[at];
        let place = input.below(text.len());
        if let Some(byte) = text.get_mut(place) {
            *byte = input.byte();
        }
    }

    fn insert(&mut self, at: usize, input: &mut Input<'_>) {
        let text = &mut self.texts[at];
        let place = input.below(text.len() + 1);
        text.splice(place..place, input.chunk().iter().copied());
    }

    fn cut(&mut self, at: usize, input: &mut Input<'_>) {
        let text = &mut self.texts[at];
        let begin = input.below(text.len());
        let end = (begin + 1 + usize::from(input.byte())).min(text.len());
        text.drain(begin.min(end)..end);
    }

    /// Takes bytes from one end of a part and adds them to an end of another one.
    fn move_over(&mut self, from: usize, input: &mut Input<'_>) {
        let to = input.below(self.texts.len());
        let ends = input.byte();
        let text = &mut self.texts[from];
        let count = usize::from(input.byte()).min(text.len());
        let begin = if ends & 1 == 0 { text.len() - count } else { 0 };
        let moved: Vec<u8> = text.drain(begin..begin + count).collect();
        let to = &mut self.texts[to];
        let place = if ends & 2 == 0 { 0 } else { to.len() };
        to.splice(place..place, moved);
    }

    fn swap(&mut self, at: usize, input: &mut Input<'_>) {
        let other = input.below(self.texts.len());
        self.texts.swap(at, other);
    }

    fn drop_header(&mut self, at: usize) {
        if let Some(name) = header(at) {
            self.texts.drain(name..name + 2);
        }
    }

    fn double_header(&mut self, at: usize) {
        if let Some(name) = header(at) {
            self.texts.extend_from_within(name..name + 2);
        }
    }

    fn whole(self) -> Option<Request> {
        let (fixed, headers) = self.texts.split_at(HEADERS_AT);
        let mut map = HeaderMap::new();
        for pair in headers.chunks_exact(2) {
            map.append(HeaderName::from_bytes(&pair[0]).ok()?, HeaderValue::from_bytes(&pair[1]).ok()?);
        }
        Some(Request {
            method: Method::from_bytes(&fixed[0]).ok()?,
            target: String::from_utf8(fixed[1].clone()).ok()?,
            headers: map,
            body: fixed[2].clone(),
        })
    }
}

/// Where the header begins that the part at `at` belongs to.
fn header(at: usize) -> Option<usize> {
    at.checked_sub(HEADERS_AT).map(|among| HEADERS_AT + among / 2 * 2)
}
