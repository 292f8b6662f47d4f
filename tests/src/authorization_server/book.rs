//! What an authorization server knows: its clients, and what it granted to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use url::{Url, form_urlencoded};
use uuid::Uuid;

type Asked = BTreeMap<String, String>;

/// What a client may ask for: RFC 6749 section 1.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// `client_credentials`
    ClientCredentials,
    /// `authorization_code`
    AuthorizationCode,
    /// `refresh_token`
    RefreshToken,
}

impl Grant {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::ClientCredentials, Self::AuthorizationCode, Self::RefreshToken];

    fn find(name: &str) -> Option<Self> {
        match name {
            "client_credentials" => Some(Self::ClientCredentials),
            "authorization_code" => Some(Self::AuthorizationCode),
            "refresh_token" => Some(Self::RefreshToken),
            _ => None,
        }
    }
}

/// A client of the server's.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its secret; `None` for a public client.
    pub secret: Option<String>,
    /// Where users may be sent back to, to the letter.
    pub redirect_uris: Vec<String>,
    /// What it may ask for.
    pub grants: Vec<Grant>,
    /// What of.
    pub scopes: Vec<String>,
}

/// An error of RFC 6749 section 5.2.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) why: &'static str,
}

/// What one code led to ends together.
type Family = u64;

#[derive(Debug)]
struct Code {
    client: String,
    redirect_uri: String,
    challenge: String,
    scope: String,
    until: Instant,
    used: bool,
    family: Family,
}

#[derive(Debug)]
struct Access {
    until: Option<Instant>,
    family: Family,
}

#[derive(Debug)]
struct Refresh {
    client: String,
    scope: String,
    family: Family,
    used: bool,
}

/// The server's memory.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) deny: bool,
    pub(super) token_life: Option<Duration>,
    pub(super) code_life: Duration,
    pub(super) rotates: bool,
    clients: BTreeMap<String, Client>,
    codes: BTreeMap<String, Code>,
    access: BTreeMap<String, Access>,
    refresh: BTreeMap<String, Refresh>,
    families: Family,
    revoked: BTreeSet<Family>,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            deny: false,
            token_life: Some(Duration::from_secs(3_600)),
            code_life: Duration::from_secs(60),
            rotates: true,
            clients: BTreeMap::new(),
            codes: BTreeMap::new(),
            access: BTreeMap::new(),
            refresh: BTreeMap::new(),
            families: 0,
            revoked: BTreeSet::new(),
        }
    }
}

impl Refusal {
    pub(super) fn of(code: &'static str) -> Self {
        Self { code, why: "as the test says, or as RFC 6749 does" }
    }
}

fn refuse<T>(code: &'static str, why: &'static str) -> Result<T, Refusal> {
    Err(Refusal { code, why })
}

impl Book {
    pub(super) fn register(&mut self, client: Client) {
        self.clients.insert(client.id.clone(), client);
    }

    pub(super) fn accepts(&self, token: &str, now: Instant) -> bool {
        let access = self.access.get(token).filter(|access| !self.revoked.contains(&access.family));
        access.is_some_and(|access| access.until.is_none_or(|until| now < until))
    }

    pub(super) fn expire_all_access_tokens(&mut self) {
        self.access.clear();
    }

    pub(super) fn revoke_all(&mut self) {
        self.revoked.extend(0..=self.families);
    }

    /// Where the user is sent back to, if the client says it to the letter.
    pub(super) fn redirect_of(&self, asked: &Asked) -> Option<Url> {
        let client = self.clients.get(asked.get("client_id")?)?;
        let redirect_uri = asked.get("redirect_uri")?;
        client.redirect_uris.contains(redirect_uri).then(|| redirect_uri.parse().ok())?
    }

    /// RFC 6749 section 4.1.1, after [`Self::redirect_of`]: a code, or an error of section 4.1.2.1.
    pub(super) fn authorize(&mut self, asked: &Asked, now: Instant) -> Result<String, &'static str> {
        let text = |name: &str| asked.get(name).map_or("", String::as_str);
        let client = self.clients.get(text("client_id")).ok_or("unauthorized_client")?;
        match text("response_type") {
            "code" => {}
            "" => return Err("invalid_request"),
            _ => return Err("unsupported_response_type"),
        }
        if !client.grants.contains(&Grant::AuthorizationCode) {
            return Err("unauthorized_client");
        }
        // RFC 7636 section 4.4.1; 43 characters are the 32 bytes of a SHA-256.
        let challenge = text("code_challenge");
        if text("code_challenge_method") != "S256"
            || URL_SAFE_NO_PAD.decode(challenge).map_or(0, |hash| hash.len()) != 32
        {
            return Err("invalid_request");
        }
        let scope = client.scope(asked.get("scope")).ok_or("invalid_scope")?;
        if self.deny {
            return Err("access_denied");
        }
        self.families += 1;
        let code = Code {
            client: client.id.clone(),
            redirect_uri: text("redirect_uri").to_owned(),
            challenge: challenge.to_owned(),
            scope,
            until: now + self.code_life,
            used: false,
            family: self.families,
        };
        let name = random("code");
        self.codes.insert(name.clone(), code);
        Ok(name)
    }

    /// The token endpoint: RFC 6749 section 3.2.
    pub(super) fn token(&mut self, authorization: Option<&str>, asked: &Asked, now: Instant) -> Result<Value, Refusal> {
        let client = self.authenticate(authorization, asked)?.clone();
        let Some(grant_type) = asked.get("grant_type") else { return refuse("invalid_request", "no grant_type") };
        let Some(grant) = Grant::find(grant_type) else { return refuse("unsupported_grant_type", "unknown") };
        if !client.grants.contains(&grant) {
            return refuse("unauthorized_client", "not for this client");
        }
        match grant {
            // RFC 6749 section 4.4: for confidential clients only, and without a refresh token.
            Grant::ClientCredentials if client.secret.is_none() => refuse("unauthorized_client", "it has no secret"),
            Grant::ClientCredentials => {
                let Some(scope) = client.scope(asked.get("scope")) else { return refuse("invalid_scope", "unknown") };
                self.families += 1;
                Ok(self.issue(self.families, &scope, None, now))
            }
            Grant::AuthorizationCode => self.redeem(&client, asked, now),
            Grant::RefreshToken => self.renew(&client, asked, now),
        }
    }

    /// RFC 6749 section 2.3.1: by Basic or in the body, and never by both.
    fn authenticate(&self, authorization: Option<&str>, asked: &Asked) -> Result<&Client, Refusal> {
        let in_body = (asked.get("client_id").cloned(), asked.get("client_secret").cloned());
        let (id, secret) = match (authorization, in_body) {
            (Some(_), (_, Some(_))) => return refuse("invalid_request", "two ways of authentication"),
            (Some(authorization), (in_body, None)) => match basic(authorization) {
                Some((id, _)) if in_body.is_some_and(|in_body| in_body != id) => {
                    return refuse("invalid_request", "two clients");
                }
                Some((id, secret)) => (id, Some(secret)),
                None => return refuse("invalid_client", "unreadable authorization"),
            },
            (None, (Some(id), secret)) => (id, secret),
            (None, (None, _)) => return refuse("invalid_client", "no client"),
        };
        let client = self.clients.get(&id).filter(|client| client.secret == secret);
        client.map_or_else(|| refuse("invalid_client", "unknown client, or a wrong secret"), Ok)
    }

    /// RFC 6749 section 4.1.3 with RFC 7636 section 4.6.
    fn redeem(&mut self, client: &Client, asked: &Asked, now: Instant) -> Result<Value, Refusal> {
        let Some(name) = asked.get("code") else { return refuse("invalid_request", "no code") };
        let Some(code) = self.codes.get_mut(name).filter(|code| code.client == client.id) else {
            return refuse("invalid_grant", "no such code");
        };
        if code.used {
            // RFC 6749 section 4.1.2: what it gave is revoked too.
            self.revoked.insert(code.family);
            return refuse("invalid_grant", "the code was used before");
        }
        if now >= code.until {
            return refuse("invalid_grant", "the code has ended");
        }
        if asked.get("redirect_uri") != Some(&code.redirect_uri) {
            return refuse("invalid_grant", "another redirect_uri");
        }
        let Some(verifier) = asked.get("code_verifier") else { return refuse("invalid_request", "no code_verifier") };
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
            return refuse("invalid_request", "no code_verifier of RFC 7636 section 4.1");
        }
        if URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) != code.challenge {
            return refuse("invalid_grant", "another code_verifier");
        }
        code.used = true;
        let (family, scope) = (code.family, code.scope.clone());
        if self.revoked.contains(&family) {
            return refuse("invalid_grant", "revoked");
        }
        let refresh = self.refresh_token(client, family, &scope);
        Ok(self.issue(family, &scope, refresh, now))
    }

    /// RFC 6749 section 6, rotating as RFC 9700 section 4.14.2 says.
    fn renew(&mut self, client: &Client, asked: &Asked, now: Instant) -> Result<Value, Refusal> {
        let Some(name) = asked.get("refresh_token") else { return refuse("invalid_request", "no refresh_token") };
        let Some(refresh) = self.refresh.get_mut(name).filter(|refresh| refresh.client == client.id) else {
            return refuse("invalid_grant", "no such refresh token");
        };
        if refresh.used {
            self.revoked.insert(refresh.family);
            return refuse("invalid_grant", "the refresh token was used before");
        }
        let (family, granted) = (refresh.family, refresh.scope.clone());
        if self.revoked.contains(&family) {
            return refuse("invalid_grant", "revoked");
        }
        let scope = asked.get("scope").cloned().unwrap_or_else(|| granted.clone());
        if !scope.split(' ').all(|one| granted.split(' ').any(|granted| granted == one)) {
            return refuse("invalid_scope", "more than was granted");
        }
        refresh.used = self.rotates;
        let next = if self.rotates { self.refresh_token(client, family, &granted) } else { None };
        Ok(self.issue(family, &scope, next, now))
    }

    fn refresh_token(&mut self, client: &Client, family: Family, scope: &str) -> Option<String> {
        let may = client.grants.contains(&Grant::RefreshToken);
        let name = may.then(|| random("refresh"))?;
        let refresh = Refresh { client: client.id.clone(), scope: scope.to_owned(), family, used: false };
        self.refresh.insert(name.clone(), refresh);
        Some(name)
    }

    fn issue(&mut self, family: Family, scope: &str, refresh: Option<String>, now: Instant) -> Value {
        let name = random("access");
        self.access.insert(name.clone(), Access { until: self.token_life.map(|life| now + life), family });
        let mut body = json!({ "access_token": name, "token_type": "Bearer", "scope": scope });
        if let Some(life) = self.token_life {
            body["expires_in"] = life.as_secs().into();
        }
        if let Some(refresh) = refresh {
            body["refresh_token"] = refresh.into();
        }
        body
    }
}

impl Client {
    /// What is granted of what is asked; all of its scopes if it asks for none.
    fn scope(&self, asked: Option<&String>) -> Option<String> {
        let Some(asked) = asked else { return Some(self.scopes.join(" ")) };
        asked.split(' ').all(|one| self.scopes.iter().any(|known| known == one)).then(|| asked.clone())
    }
}

/// Id and secret, each form-encoded before: RFC 6749 appendix B.
fn basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, rest) = authorization.split_once(' ')?;
    let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (id, secret) = pair.split_once(':').filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let decode = |text: &str| {
        let pair = format!("v={text}");
        form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    Some((decode(id)?, decode(secret)?))
}

fn random(what: &str) -> String {
    format!("{what}-{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}
