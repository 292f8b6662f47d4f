//! Who asks: the holder of a caller's token, or, where no caller is configured, a program on this machine.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use tidegate_shared::bearer::{Refusal, TokenHash, is_local_program};
use tidegate_shared::config::Caller;
use tidegate_shared::event::CallerName;

use super::Http;
use crate::answer;

/// The callers of the configuration.
#[derive(Debug)]
pub(super) struct Callers(Vec<(CallerName, TokenHash)>);

impl Callers {
    pub(super) fn new(callers: &[Caller]) -> Self {
        Self(callers.iter().map(|caller| (caller.name.clone(), TokenHash::of(&caller.token))).collect())
    }

    /// No caller: programs on this machine.
    #[cfg(test)]
    pub(super) fn nobody() -> Self {
        Self(Vec::new())
    }

    /// The caller who sent these headers.
    ///
    /// # Errors
    /// [`Refusal`] says why it is none of ours.
    pub(super) fn identify(&self, headers: &HeaderMap) -> Result<CallerName, Refusal> {
        self.known(headers, &TokenHash::given(headers))
    }

    /// The same for a person's browser, which asks for a password: the token is that.
    ///
    /// # Errors
    /// As [`Self::identify`].
    pub(super) fn identify_browser(&self, headers: &HeaderMap) -> Result<CallerName, Refusal> {
        let given = password(headers).map_or_else(|| TokenHash::given(headers), |text| TokenHash::of_text(&text));
        self.known(headers, &given)
    }

    fn known(&self, headers: &HeaderMap, given: &TokenHash) -> Result<CallerName, Refusal> {
        if self.0.is_empty() {
            return is_local_program(headers).map(|()| local());
        }
        let mut found = None;
        for (name, token) in &self.0 {
            // No early end: how long it takes must not tell how far down the list a token stands.
            if token.is(given) {
                found = Some(name);
            }
        }
        found.cloned().ok_or(Refusal::BadToken)
    }
}

/// The password of `Authorization: Basic`: RFC 7617 section 2.
fn password(headers: &HeaderMap) -> Option<String> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

fn local() -> CallerName {
    CallerName::try_new("local").expect("it keeps the rule of names")
}

/// Lets a caller's request through, with the caller's name as an extension.
pub(super) async fn identify(State(http): State<Arc<Http>>, mut request: Request, next: Next) -> Response {
    match http.callers.identify(request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => answer::unauthorized(refusal.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use tidegate_shared::config::Config;

    use super::*;

    fn callers(http: &str) -> Callers {
        let text = format!("[backend]\nkind = \"embedded\"\npath = \"data\"\n[http]\n{http}");
        let config = Config::parse("test.toml", &text, &|_| None).expect("a configuration");
        Callers::new(&config.http.expect("[http] is there").callers)
    }

    fn identify(callers: &Callers, headers: &[(&'static str, &str)]) -> Result<String, Refusal> {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header's value"))
        });
        callers.identify(&headers.collect()).map(|caller| caller.to_string())
    }

    #[test]
    fn each_token_is_its_callers_own() {
        let callers = callers("callers = { shop = \"shop-0123456789abcdef\", desk = \"desk-0123456789abcdef\" }");
        let check = |authorization: &str, expected: Result<&str, Refusal>| {
            let found = identify(&callers, &[("authorization", authorization), ("host", "localhost:3002")]);
            assert_eq!(found, expected.map(str::to_owned), "{authorization}");
        };
        check("Bearer shop-0123456789abcdef", Ok("shop"));
        check("bearer desk-0123456789abcdef", Ok("desk"));
        check("Bearer shop-0123456789abcde", Err(Refusal::BadToken));
        check("Basic shop-0123456789abcdef", Err(Refusal::BadToken));
        check("Bearer ", Err(Refusal::BadToken));
        assert_eq!(identify(&callers, &[("host", "localhost:3002")]), Err(Refusal::BadToken));
    }

    #[test]
    fn without_callers_only_programs_on_this_machine_ask() {
        let callers = callers("listen = \"127.0.0.1:3002\"");
        assert_eq!(identify(&callers, &[("host", "127.0.0.1:3002")]), Ok("local".to_owned()));
        for headers in [
            &[("host", "evil.example:3002")][..],
            &[("host", "127.0.0.1:3002"), ("origin", "https://evil.example")],
            &[],
        ] {
            assert_eq!(identify(&callers, headers), Err(Refusal::ForeignOrigin), "{headers:?}");
        }
    }
}
