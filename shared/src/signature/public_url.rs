//! The URL that a provider calls, where it signs it.

use std::borrow::Cow;

use url::Url;

use super::Received;
use super::template::Piece;

/// The URL that a provider calls. Behind a proxy the door sees another one, so it is configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PublicUrl {
    /// It is not known: only schemes that do not sign it can be used.
    #[default]
    Unknown,
    /// `ingest.public_url`: what stands before path and query as they are received, without a slash at its end.
    Base(String),
    /// `source.url`: the whole of it, byte for byte as the provider has it.
    Whole(String),
}

impl PublicUrl {
    /// What stands before the path of every request.
    #[must_use]
    pub fn base(url: &Url) -> Self {
        Self::Base(url.as_str().trim_end_matches('/').to_owned())
    }

    /// Whether nothing of it is taken from the request.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    /// The URL that the provider called with `received`, or its path and query alone for [`Piece::Uri`].
    pub(super) fn piece<'a>(&'a self, piece: &Piece, received: &Received<'a>) -> Cow<'a, [u8]> {
        match (self, piece) {
            (Self::Whole(url), Piece::Uri) => Cow::Borrowed(path_and_query(url).as_bytes()),
            (Self::Whole(url), _) => Cow::Borrowed(url.as_bytes()),
            (Self::Base(base), Piece::Url) => Cow::Owned([base.as_bytes(), received.target.as_bytes()].concat()),
            (Self::Base(_) | Self::Unknown, _) => Cow::Borrowed(received.target.as_bytes()),
        }
    }

    /// The URL with the query that the request has, for a provider that adds to the query of the configured URL.
    pub(super) fn with_query_of(&self, received: &Received<'_>) -> String {
        match self {
            Self::Whole(url) => {
                let (without_query, _) = url.split_once('?').unwrap_or((url, ""));
                let question_mark = if received.query().is_empty() { "" } else { "?" };
                format!("{without_query}{question_mark}{}", received.query())
            }
            Self::Base(base) => format!("{base}{}", received.target),
            Self::Unknown => received.target.to_owned(),
        }
    }
}

fn path_and_query(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    url[after_scheme..].find('/').map_or("", |at| &url[after_scheme + at..])
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn each_piece_is_of_the_url_that_is_known() {
        let headers = HeaderMap::new();
        let received = Received { target: "/in?b=2", ..Received::post(&headers, b"") };
        let base = PublicUrl::base(&Url::parse("https://example.com/x/").expect("a URL"));
        let whole = |url: &str| PublicUrl::Whole(url.to_owned());
        for (known, url, uri) in [
            (PublicUrl::Unknown, "/in?b=2", "/in?b=2"),
            (base, "https://example.com/x/in?b=2", "/in?b=2"),
            (whole("https://example.com/hook?a=1"), "https://example.com/hook?a=1", "/hook?a=1"),
            (whole("https://example.com"), "https://example.com", ""),
            (whole("http://a/b?c"), "http://a/b?c", "/b?c"),
        ] {
            let piece = |piece| String::from_utf8_lossy(&known.piece(&piece, &received)).into_owned();
            assert_eq!((piece(Piece::Url), piece(Piece::Uri)), (url.to_owned(), uri.to_owned()), "{known:?}");
        }
    }
}
