//! OAuth: first the authorization server of these tests is itself held to the RFCs.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use reqwest::redirect::Policy;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use tidegate_shared::process;
use tidegate_tests::authorization_server::{AuthorizationServer, CLIENT_ID, CLIENT_SECRET, Client, Fault, Grant};
use url::Url;

const REDIRECT: &str = "https://tide.example/oauth/crm/callback";
/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// [`CLIENT_SECRET`] form-encoded by hand.
const ENCODED_SECRET: &str = "s3cret%3A+of+%2Bthe%25+client";

struct World {
    server: AuthorizationServer,
    http: reqwest::Client,
}

/// An answer of the token endpoint.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_default().to_owned()
    }
}

impl World {
    async fn start() -> Result<Self> {
        process::install_tls();
        let http = reqwest::Client::builder().redirect(Policy::none()).build()?;
        Ok(Self { server: AuthorizationServer::start(REDIRECT).await?, http })
    }

    /// Asks the token endpoint, authenticated by Basic if `authorization` says so.
    async fn post(&self, authorization: Option<&str>, form: &[(&str, &str)]) -> Result<Answer> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = self.http.post(self.server.token_url()).body(body);
        request = request.header("content-type", "application/x-www-form-urlencoded");
        if let Some(pair) = authorization {
            request = request.header("authorization", format!("Basic {}", STANDARD.encode(pair)));
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.json().await.unwrap_or_default() })
    }

    async fn ask(&self, form: &[(&str, &str)]) -> Result<Answer> {
        self.post(Some(&format!("{CLIENT_ID}:{ENCODED_SECRET}")), form).await
    }

    /// Asks and must be refused so.
    async fn is_refused(&self, code: &str, form: &[(&str, &str)]) -> Result<()> {
        let answer = self.ask(form).await?;
        assert_eq!((answer.status, answer.text("error").as_str()), (400, code), "{form:?} {}", answer.body);
        assert_eq!(answer.headers["cache-control"], "no-store");
        Ok(())
    }

    /// Sends the browser with `changes` to a good request; `None` leaves the parameter out.
    async fn authorize(&self, changes: &[(&str, Option<&str>)]) -> Result<reqwest::Response> {
        let good = [
            ("response_type", "code"),
            ("client_id", CLIENT_ID),
            ("redirect_uri", REDIRECT),
            ("state", "a state & more"),
            ("scope", "read"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let mut url = self.server.authorize_url();
        for (name, value) in good {
            let changed = changes.iter().find(|(changed, _)| *changed == name).map(|(_, value)| *value);
            if let Some(value) = changed.unwrap_or(Some(value)) {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        Ok(self.http.get(url).send().await?)
    }

    /// Lets a user consent; answers the code.
    async fn code(&self) -> Result<String> {
        parameter(&self.authorize(&[]).await?, "code").context("no code")
    }

    async fn redeem(&self, code: &str) -> Result<Answer> {
        self.ask(&redeeming(code)).await
    }

    async fn renew(&self, refresh_token: &str) -> Result<Answer> {
        self.ask(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
    }

    async fn resource(&self, token: Option<&str>) -> Result<(u16, String)> {
        let mut request = self.http.get(self.server.resource_url());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let ask = response.headers().get("www-authenticate").map_or(Ok(""), |ask| ask.to_str())?.to_owned();
        Ok((response.status().as_u16(), ask))
    }
}

fn redeeming(code: &str) -> [(&str, &str); 4] {
    [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT), ("code_verifier", VERIFIER)]
}

fn parameter(response: &reqwest::Response, name: &str) -> Option<String> {
    let to: Url = response.headers().get("location")?.to_str().ok()?.parse().ok()?;
    assert_eq!(to.as_str().split('?').next(), Some(REDIRECT));
    to.query_pairs().find(|(given, _)| given == name).map(|(_, value)| value.into_owned())
}

#[test]
fn the_vectors_of_rfc_7636_belong_together() {
    assert_eq!(URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER)), CHALLENGE);
}

#[tokio::test]
async fn server_issues_by_client_credentials() -> Result<()> {
    let world = World::start().await?;
    let form = [("grant_type", "client_credentials"), ("scope", "read")];
    let answer = world.ask(&form).await?;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text("token_type"), "Bearer");
    assert_eq!(answer.text("scope"), "read");
    assert_eq!(answer.body["expires_in"], 3_600);
    assert!(answer.body.get("refresh_token").is_none(), "RFC 6749 section 4.4.3");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(world.resource(Some(&answer.text("access_token"))).await?.0, 200);
    let both = [form.as_slice(), &[("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)]].concat();
    assert_eq!(world.post(None, &both).await?.status, 200);
    assert_eq!(world.server.count("client_credentials"), 2);
    world.is_refused("invalid_request", &both).await
}

#[tokio::test]
async fn server_knows_its_clients() -> Result<()> {
    let world = World::start().await?;
    let form = [("grant_type", "client_credentials")];
    // The second is not form-encoded.
    let raw = format!("{CLIENT_ID}:{CLIENT_SECRET}");
    for wrong in [None, Some("tidegate:wrong"), Some(raw.as_str()), Some("nobody:x"), Some("tidegate:"), Some("x")] {
        let answer = world.post(wrong, &form).await?;
        assert_eq!((answer.status, answer.text("error").as_str()), (401, "invalid_client"), "{wrong:?}");
        assert!(answer.headers.contains_key("www-authenticate"), "RFC 6749 section 5.2");
    }
    let wrong = [form[0], ("client_id", CLIENT_ID), ("client_secret", "wrong")];
    assert_eq!(world.post(None, &wrong).await?.text("error"), "invalid_client");
    assert_eq!(world.post(None, &wrong[..2]).await?.text("error"), "invalid_client", "a secret left out");
    Ok(())
}

#[tokio::test]
async fn server_refuses_for_the_causes_of_rfc_6749() -> Result<()> {
    let world = World::start().await?;
    world.is_refused("invalid_request", &[]).await?;
    let grant = ("grant_type", "client_credentials");
    world.is_refused("invalid_request", &[grant, grant]).await?;
    world.is_refused("unsupported_grant_type", &[("grant_type", "password")]).await?;
    world.is_refused("invalid_scope", &[grant, ("scope", "read everything")]).await?;
    world.is_refused("invalid_request", &[("grant_type", "authorization_code")]).await?;
    world.is_refused("invalid_grant", &redeeming("made-up")).await?;
    world.is_refused("invalid_request", &[("grant_type", "refresh_token")]).await?;
    let secret = Some(CLIENT_SECRET.to_owned());
    let redirect_uris = vec![REDIRECT.to_owned()];
    let grants = vec![Grant::AuthorizationCode];
    world.server.register(Client { id: CLIENT_ID.to_owned(), secret, redirect_uris, grants, scopes: Vec::new() });
    world.is_refused("unauthorized_client", &[grant]).await
}

#[tokio::test]
async fn server_sends_users_back_only_where_the_client_is() -> Result<()> {
    let world = World::start().await?;
    let near = [format!("{REDIRECT}/"), format!("{REDIRECT}?a=b"), REDIRECT.replace("https", "http"), String::new()];
    for redirect_uri in &near {
        let response = world.authorize(&[("redirect_uri", Some(redirect_uri))]).await?;
        assert_eq!(response.status(), 400, "{redirect_uri}");
        assert!(!response.headers().contains_key("location"));
    }
    assert_eq!(world.authorize(&[("client_id", Some("nobody"))]).await?.status(), 400);
    let good = world.authorize(&[]).await?;
    assert_eq!(good.status(), 302);
    assert_eq!(parameter(&good, "state").as_deref(), Some("a state & more"));
    assert_eq!(parameter(&good, "iss"), Some(world.server.authorize_url().origin().ascii_serialization()));
    for (change, error) in [
        (("response_type", Some("token")), "unsupported_response_type"),
        (("response_type", None), "invalid_request"),
        (("code_challenge", None), "invalid_request"),
        (("code_challenge", Some("short")), "invalid_request"),
        (("code_challenge_method", Some("plain")), "invalid_request"),
        (("code_challenge_method", None), "invalid_request"),
        (("scope", Some("everything")), "invalid_scope"),
    ] {
        let response = world.authorize(&[change]).await?;
        assert_eq!(parameter(&response, "error").as_deref(), Some(error), "{change:?}");
        assert_eq!(parameter(&response, "state").as_deref(), Some("a state & more"));
        assert_eq!(parameter(&response, "code"), None);
    }
    world.server.users_deny(true);
    assert_eq!(parameter(&world.authorize(&[]).await?, "error").as_deref(), Some("access_denied"));
    Ok(())
}

#[tokio::test]
async fn server_takes_a_code_once_and_only_from_whom_it_was_for() -> Result<()> {
    let world = World::start().await?;
    let code = world.code().await?;
    let with = |name: &'static str, value: &'static str| {
        redeeming(&code).map(|(given, old)| if given == name { (given, value) } else { (given, old) })
    };
    world.is_refused("invalid_grant", &with("redirect_uri", "https://tide.example/oauth/crm/callback/")).await?;
    world.is_refused("invalid_grant", &with("code_verifier", "eBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")).await?;
    world.is_refused("invalid_request", &with("code_verifier", CHALLENGE.split_at(20).0)).await?;
    world.is_refused("invalid_request", &redeeming(&code)[..3]).await?;
    let other = |secret| Client {
        id: "other".to_owned(),
        secret,
        redirect_uris: vec![REDIRECT.to_owned()],
        grants: Grant::ALL.to_vec(),
        scopes: Vec::new(),
    };
    world.server.register(other(Some("x".to_owned())));
    assert_eq!(world.post(Some("other:x"), &redeeming(&code)).await?.text("error"), "invalid_grant");
    let granted = world.redeem(&code).await?;
    let (access, refresh) = (granted.text("access_token"), granted.text("refresh_token"));
    assert!(granted.status == 200 && world.server.accepts(&access));
    assert_eq!(world.redeem(&code).await?.text("error"), "invalid_grant");
    assert!(!world.server.accepts(&access), "RFC 6749 section 4.1.2: a second use revokes");
    assert_eq!(world.renew(&refresh).await?.text("error"), "invalid_grant");
    world.server.codes_live(Duration::ZERO);
    assert_eq!(world.redeem(&world.code().await?).await?.text("error"), "invalid_grant", "it has ended");
    // A public client proves itself by its verifier alone, and gets nothing as itself.
    world.server.codes_live(Duration::from_secs(60));
    world.server.register(other(None));
    let code = parameter(&world.authorize(&[("client_id", Some("other")), ("scope", None)]).await?, "code");
    let code = code.context("no code")?;
    let form = [redeeming(&code).as_slice(), &[("client_id", "other")]].concat();
    assert_eq!(world.post(None, &form).await?.status, 200);
    let form = [("grant_type", "client_credentials"), ("client_id", "other")];
    assert_eq!(world.post(None, &form).await?.text("error"), "unauthorized_client");
    Ok(())
}

#[tokio::test]
async fn server_rotates_refresh_tokens_and_notices_a_second_use() -> Result<()> {
    let world = World::start().await?;
    let first = world.redeem(&world.code().await?).await?.text("refresh_token");
    let second = world.renew(&first).await?;
    assert_eq!(second.status, 200);
    assert_ne!(second.text("refresh_token"), first);
    let form = [("grant_type", "refresh_token"), ("refresh_token", &second.text("refresh_token")), ("scope", "write")];
    world.is_refused("invalid_scope", &form).await?;
    let third = world.renew(&second.text("refresh_token")).await?;
    assert!(world.server.accepts(&third.text("access_token")));
    assert_eq!(world.renew(&first).await?.text("error"), "invalid_grant");
    assert!(!world.server.accepts(&third.text("access_token")), "the whole family ends");
    assert_eq!(world.renew(&third.text("refresh_token")).await?.text("error"), "invalid_grant");
    world.server.rotates(false);
    let kept = world.redeem(&world.code().await?).await?.text("refresh_token");
    for _ in 0..2 {
        let answer = world.renew(&kept).await?;
        assert!(answer.status == 200 && answer.body.get("refresh_token").is_none());
    }
    world.server.revoke_all();
    assert_eq!(world.renew(&kept).await?.text("error"), "invalid_grant");
    Ok(())
}

#[tokio::test]
async fn server_guards_its_resource() -> Result<()> {
    let world = World::start().await?;
    let invalid = (401, "Bearer realm=\"resource\", error=\"invalid_token\"".to_owned());
    assert_eq!(world.resource(None).await?, (401, "Bearer realm=\"resource\"".to_owned()), "RFC 6750 section 3.1");
    assert_eq!(world.resource(Some("made-up")).await?, invalid);
    let issue = async || anyhow::Ok(world.ask(&[("grant_type", "client_credentials")]).await?.text("access_token"));
    let token = issue().await?;
    assert_eq!(world.resource(Some(&token)).await?.0, 200);
    world.server.expire_all_access_tokens();
    assert_eq!(world.resource(Some(&token)).await?, invalid);
    world.server.tokens_live(Some(Duration::ZERO));
    assert_eq!(world.resource(Some(&issue().await?)).await?, invalid, "its time is over");
    world.server.tokens_live(None);
    let token = issue().await?;
    assert!(world.server.accepts(&token));
    world.server.revoke_all();
    assert!(!world.server.accepts(&token));
    Ok(())
}

#[tokio::test]
async fn server_fails_as_it_is_told() -> Result<()> {
    let world = World::start().await?;
    let form = [("grant_type", "client_credentials")];
    for code in ["invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope"] {
        world.server.fails(Some(Fault::Error(code)));
        let answer = world.ask(&form).await?;
        assert_eq!(
            (answer.status, answer.text("error").as_str()),
            (if code == "invalid_client" { 401 } else { 400 }, code)
        );
    }
    world.server.fails(Some(Fault::Broken));
    assert_eq!(world.ask(&form).await?.status, 500);
    world.server.fails(Some(Fault::Garbage));
    let answer = world.ask(&form).await?;
    assert!(answer.status == 200 && answer.body.is_null());
    world.server.fails(Some(Fault::Redirect(world.server.resource_url())));
    assert_eq!(world.ask(&form).await?.status, 307);
    world.server.fails(Some(Fault::Slow(Duration::from_millis(300))));
    let started = std::time::Instant::now();
    assert_eq!(world.ask(&form).await?.status, 200);
    assert!(started.elapsed() >= Duration::from_millis(300));
    world.server.fails(None);
    assert_eq!(world.ask(&form).await?.status, 200);
    assert_eq!(world.server.count("client_credentials"), 10);
    Ok(())
}
