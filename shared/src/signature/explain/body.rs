//! What a body may have been before something on its way wrote it anew.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Nesting of a JSON body whose keys are sorted at most: each level is a call.
const DEPTH_MAX: usize = 64;

/// What happened to a body between the signature and the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyChange {
    /// It got a line feed at its end.
    NewlineAdded,
    /// It lost the line feed at its end.
    NewlineRemoved,
    /// Its line ends were CR LF, and are LF now.
    CrLfToLf,
    /// Its line ends were LF, and are CR LF now.
    LfToCrLf,
    /// White space around it was added.
    Padded,
    /// It got a byte order mark.
    MarkAdded,
    /// It lost its byte order mark.
    MarkRemoved,
    /// It was ISO 8859-1, and is UTF-8 now.
    Latin1ToUtf8,
    /// It was UTF-8, and is ISO 8859-1 now.
    Utf8ToLatin1,
    /// The signed JSON was laid out in this way.
    Layout(JsonLayout),
    /// The signed JSON had its keys in order.
    KeysSorted,
    /// The signed JSON wrote some characters otherwise, such as `\u00fc` for `ü`, or `<` for `\u003c`.
    Escapes,
    /// An empty body was signed.
    Empty,
}

/// How JSON is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonLayout {
    /// `{"a":1,"b":2}`
    Compact,
    /// `{"a": 1, "b": 2}`
    Spaced,
    /// On lines of their own, two spaces deeper with each level.
    Indented2,
    /// On lines of their own, four spaces deeper with each level.
    Indented4,
    /// On lines of their own, one tab deeper with each level.
    Tabs,
}

impl JsonLayout {
    const ALL: [Self; 5] = [Self::Compact, Self::Spaced, Self::Indented2, Self::Indented4, Self::Tabs];

    /// Indent of a level, what follows a comma on the same line, what follows a colon.
    fn parts(self) -> (Option<&'static str>, &'static str, &'static str) {
        match self {
            Self::Compact => (None, "", ""),
            Self::Spaced => (None, " ", " "),
            Self::Indented2 => (Some("  "), "", " "),
            Self::Indented4 => (Some("    "), "", " "),
            Self::Tabs => (Some("\t"), "", " "),
        }
    }
}

/// Bodies that may have been signed, if `body` is what came.
pub(super) fn before(body: &[u8]) -> impl Iterator<Item = (BodyChange, Vec<u8>)> + '_ {
    let others = ends(body).into_iter().chain(charsets(body));
    let empty = std::iter::once_with(|| (BodyChange::Empty, Vec::new()));
    others
        .chain(std::iter::once_with(move || json(body)).flatten())
        .chain(empty)
        .filter(move |(_, other)| other != body)
}

fn ends(body: &[u8]) -> Vec<(BodyChange, Vec<u8>)> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let mut all = vec![
        (BodyChange::NewlineRemoved, [body, b"\n"].concat()),
        (BodyChange::NewlineRemoved, [body, b"\r\n"].concat()),
        (BodyChange::MarkRemoved, [MARK, body].concat()),
    ];
    all.extend(body.strip_suffix(b"\n").map(|rest| (BodyChange::NewlineAdded, rest.to_vec())));
    all.extend(body.strip_suffix(b"\r\n").map(|rest| (BodyChange::NewlineAdded, rest.to_vec())));
    all.extend(body.strip_prefix(MARK).map(|rest| (BodyChange::MarkAdded, rest.to_vec())));
    all.push((BodyChange::Padded, body.trim_ascii().to_vec()));
    let unix = without_carriage_returns(body);
    all.push((BodyChange::CrLfToLf, with_carriage_returns(&unix)));
    all.push((BodyChange::LfToCrLf, unix));
    all
}

fn without_carriage_returns(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(body.len());
    for (at, byte) in body.iter().enumerate() {
        if *byte != b'\r' || body.get(at + 1) != Some(&b'\n') {
            text.push(*byte);
        }
    }
    text
}

fn with_carriage_returns(body: &[u8]) -> Vec<u8> {
    body.iter()
        .flat_map(|byte| if *byte == b'\n' { &b"\r\n"[..] } else { std::slice::from_ref(byte) })
        .copied()
        .collect()
}

fn charsets(body: &[u8]) -> Option<(BodyChange, Vec<u8>)> {
    let Ok(text) = std::str::from_utf8(body) else {
        let text: String = body.iter().copied().map(char::from).collect();
        return Some((BodyChange::Utf8ToLatin1, text.into_bytes()));
    };
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    bytes.map(|bytes| (BodyChange::Latin1ToUtf8, bytes))
}

/// The same JSON in every layout, with its keys as they are and in order, each as every kind of program spells it. Made
/// one at a time: together they would be a hundred times the body.
fn json(body: &[u8]) -> impl Iterator<Item = (BodyChange, Vec<u8>)> {
    let text = serde_json::from_slice::<&RawValue>(body).ok().map(RawValue::get);
    let in_order = text.and_then(|text| sorted(text, DEPTH_MAX));
    let as_is = text.map(|text| (BodyChange::Escapes, text.to_owned()));
    let layouts = || JsonLayout::ALL.into_iter();
    let unsorted = layouts().filter_map(move |layout| Some((BodyChange::Layout(layout), laid_out(text?, layout))));
    let sorted =
        layouts().filter_map(move |layout| Some((BodyChange::KeysSorted, laid_out(in_order.as_deref()?, layout))));
    let texts = as_is.into_iter().chain(unsorted).chain(sorted);
    texts.flat_map(|(change, text)| spelled(text).map(move |text| (change, text.into_bytes())))
}

/// Lays JSON out anew, without a change to any string or number.
fn laid_out(json: &str, layout: JsonLayout) -> String {
    let (indent, after_comma, after_colon) = layout.parts();
    let mut out = String::with_capacity(json.len());
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let new_line = |out: &mut String, depth: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    let mut chars = json.chars().filter({
        // White space between the parts goes, white space in strings stays.
        let (mut in_string, mut escaped) = (false, false);
        move |c| {
            let keeps = in_string || !c.is_ascii_whitespace();
            (in_string, escaped) = after(*c, in_string, escaped);
            keeps
        }
    });
    let mut next = chars.next();
    while let Some(c) = next {
        next = chars.next();
        if in_string || c == '"' {
            out.push(c);
            (in_string, escaped) = after(c, in_string, escaped);
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                if !matches!(next, Some('}' | ']')) {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                if !out.ends_with(['{', '[']) {
                    depth = depth.saturating_sub(1);
                    new_line(&mut out, depth);
                }
                out.push(c);
            }
            ',' => {
                out.push(c);
                out.push_str(after_comma);
                new_line(&mut out, depth);
            }
            ':' => {
                out.push(c);
                out.push_str(after_colon);
            }
            other => out.push(other),
        }
    }
    out
}

/// Whether what follows `c` is in a string, and escaped.
fn after(c: char, in_string: bool, escaped: bool) -> (bool, bool) {
    match c {
        _ if escaped => (in_string, false),
        '\\' if in_string => (true, true),
        '"' => (!in_string, false),
        _ => (in_string, false),
    }
}

/// Compact, with the keys of every object in order; `None` if it is nested too deeply or has a key twice.
fn sorted(json: &str, depth_left: usize) -> Option<String> {
    let depth_left = depth_left.checked_sub(1)?;
    match json.as_bytes().first()? {
        b'{' => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
            let fields = fields.iter().map(|(key, value)| {
                Some(format!("{}:{}", serde_json::to_string(key).ok()?, sorted(value.get(), depth_left)?))
            });
            Some(format!("{{{}}}", fields.collect::<Option<Vec<_>>>()?.join(",")))
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            let items = items.iter().map(|item| sorted(item.get(), depth_left));
            Some(format!("[{}]", items.collect::<Option<Vec<_>>>()?.join(",")))
        }
        _ => Some(json.to_owned()),
    }
}

/// JSON as it is, and with its characters as every kind of program writes them.
fn spelled(json: String) -> impl Iterator<Item = String> {
    let plain = literal(&json);
    std::iter::once(json).chain(Spelling::ALL.into_iter().map(move |spelling| spelling.write(&plain)))
}

/// How a program writes the characters that JSON lets stand as they are.
struct Spelling {
    /// Which of them it escapes.
    escapes: fn(char) -> bool,
    /// What it escapes a unit of UTF-16 as.
    unit: fn(u16) -> String,
    /// What it writes for a slash.
    slash: &'static str,
}

impl Spelling {
    const ALL: [Self; 8] = [
        Self { escapes: |_| false, unit: in_lower_case, slash: "/" },
        Self { escapes: |_| false, unit: in_lower_case, slash: "\\/" },
        // Python's, PHP's, Java's.
        Self { escapes: is_beyond_ascii, unit: in_lower_case, slash: "/" },
        Self { escapes: is_beyond_ascii, unit: in_lower_case, slash: "\\/" },
        Self { escapes: is_beyond_ascii, unit: in_upper_case, slash: "/" },
        // Go's and Ruby on Rails', which web pages can hold.
        Self { escapes: is_unsafe_in_html, unit: in_lower_case, slash: "/" },
        Self { escapes: |c| is_unsafe_in_html(c) || is_beyond_ascii(c), unit: in_lower_case, slash: "/" },
        Self { escapes: |c| is_unsafe_in_html(c) || is_beyond_ascii(c), unit: in_upper_case, slash: "/" },
    ];

    /// Writes JSON whose characters stand as they are wherever they can.
    fn write(&self, plain: &str) -> String {
        let mut out = String::with_capacity(plain.len());
        for c in plain.chars() {
            if (self.escapes)(c) {
                out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| (self.unit)(*unit)));
            } else if c == '/' {
                out.push_str(self.slash);
            } else {
                out.push(c);
            }
        }
        out
    }
}

fn in_lower_case(unit: u16) -> String {
    format!("\\u{unit:04x}")
}

fn in_upper_case(unit: u16) -> String {
    format!("\\u{unit:04X}")
}

fn is_beyond_ascii(c: char) -> bool {
    !c.is_ascii()
}

/// Whether it means something in HTML, or ends a line of JavaScript.
fn is_unsafe_in_html(c: char) -> bool {
    matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}')
}

/// With the characters that `\uXXXX` and `\/` stand for, where they need no escape.
fn literal(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        if let Some(after) = escape.strip_prefix("\\/") {
            out.push('/');
            rest = after;
        } else if let Some((c, length)) = unescaped(escape) {
            out.push(c);
            rest = &escape[length..];
        } else {
            let end = escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end);
            out.push_str(&escape[..end]);
            rest = &escape[end..];
        }
    }
    out.push_str(rest);
    out
}

/// The character that begins `escape` and needs no escape, and how long that is there.
fn unescaped(escape: &str) -> Option<(char, usize)> {
    let unit = |text: &str| u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let units = [Some(unit(escape)?), escape.get(6..).and_then(unit)];
    let mut decoded = char::decode_utf16(units.into_iter().flatten());
    let c = decoded.next()?.ok()?;
    let needs_escape = c.is_ascii_control() || matches!(c, '"' | '\\');
    (!needs_escape).then(|| (c, 6 * c.len_utf16()))
}
