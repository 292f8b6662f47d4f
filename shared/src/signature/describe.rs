//! What a scheme does, in words for people.

use super::{Batch, Composed, Encoding, Kind, Location, Pairing, Scheme, TimestampFrom, TimestampUnit};

impl Scheme {
    /// How requests are proven, as one sentence.
    #[must_use]
    pub fn proof_in_words(&self) -> String {
        let places: Vec<String> = self.signature.iter().map(place).collect();
        if places.is_empty() {
            return self.algorithm();
        }
        let places = places.join(if self.pairing == Pairing::Every { " and " } else { " or " });
        let format = match self.format.to_string().as_str() {
            "raw" => String::new(),
            format => format!(", as {format}"),
        };
        if !self.kind.has_template() {
            return format!("{} in {places}{format}", self.algorithm());
        }
        let encoding = match self.encoding {
            Encoding::Hex => "hex",
            Encoding::Base64 => "base64",
            Encoding::Base64Url => "base64url",
        };
        let warning = if self.covers_body() { "" } else { " (which does not cover the body)" };
        let key = self.key;
        format!(
            "{} of {}{warning} in {places}{format}, {encoding}; key in {key}{}",
            self.algorithm(),
            self.template,
            self.timestamp_in_words()
        )
    }

    /// Where the event's id stands.
    #[must_use]
    pub fn id_in_words(&self) -> String {
        names(&self.id, " | ")
    }

    /// Where the event's type stands.
    #[must_use]
    pub fn event_type_in_words(&self) -> String {
        if self.event_type.is_empty() { "none".to_owned() } else { names(&self.event_type, ".") }
    }

    fn algorithm(&self) -> String {
        let hash = self.hash.as_str().to_uppercase();
        match self.kind {
            Kind::Hmac => format!("HMAC-{hash}"),
            Kind::PlainHash => hash,
            Kind::Ed25519 => "Ed25519".to_owned(),
            Kind::EcdsaP256 => "ECDSA P-256 with SHA256".to_owned(),
            Kind::Rsa => format!("RSA with {hash}"),
            Kind::Token => "the secret itself".to_owned(),
            Kind::Basic => "the secret itself, user:password, by Basic authentication".to_owned(),
            Kind::MicrosoftGraph => {
                let tokens =
                    if self.application().is_some() { ", and tokens of Microsoft Entra beside them" } else { "" };
                format!("the secret itself in every item's clientState{tokens}")
            }
            Kind::Jwt => format!("JSON Web Token by HMAC-{hash}{}", self.claim_in_words()),
            Kind::JwtRsa => {
                format!("JSON Web Token by RSA with {hash}{}{}", self.set_in_words(), self.claim_in_words())
            }
            Kind::JwtEs256 => format!("JSON Web Token by ES256{}{}", self.set_in_words(), self.claim_in_words()),
            Kind::Plaid => {
                format!("JSON Web Token by ES256, with a key of Plaid's API,{}", self.claim_in_words())
            }
            Kind::Twilio => format!("HMAC-{hash}, or of a URL that holds bodySHA256,"),
            Kind::Adyen => format!("HMAC-{hash} of eight fields of each item, in base64"),
            Kind::Braintree => format!("HMAC-{hash}, for the public key beside it,"),
            Kind::PayPal => format!("RSA with {hash}, by the certificate at PAYPAL-CERT-URL,"),
            Kind::AwsSns => format!("RSA with {hash} of the message's fields, by the certificate at SigningCertURL"),
        }
    }

    fn set_in_words(&self) -> String {
        self.jwks.as_ref().map(|url| format!(", with a key of the set at {url},")).unwrap_or_default()
    }

    fn claim_in_words(&self) -> String {
        match &self.body_claim {
            Some(claim) => format!(" with the body's SHA256 in its claim {claim}"),
            None if self.body_is_token() => String::new(),
            None => " (which does not cover the body)".to_owned(),
        }
    }

    fn timestamp_in_words(&self) -> String {
        let Some(rule) = &self.timestamp else { return String::new() };
        let unit = match rule.unit {
            TimestampUnit::Seconds => "seconds",
            TimestampUnit::Milliseconds => "milliseconds",
            TimestampUnit::Rfc3339 => "RFC 3339",
        };
        match &rule.from {
            TimestampFrom::Signature => format!("; {unit} beside the signature"),
            TimestampFrom::Token => "; times in the token's claims".to_owned(),
            TimestampFrom::At(places) => {
                let places: Vec<String> = places.iter().map(place).collect();
                format!("; {unit} in {}", places.join(" or "))
            }
        }
    }
}

impl Batch {
    /// Where the events of one request are, and how each is told from the others.
    #[must_use]
    pub fn in_words(&self) -> String {
        let items = self.items.as_ref().map_or_else(|| "the body".to_owned(), |pointer| format!("body {pointer}"));
        let id = if self.id.is_empty() { "SHA-256 of the item".to_owned() } else { names(&self.id, " | ") };
        format!("split = true makes each item of {items} an event; its id is its {id}")
    }
}

fn names(alternatives: &[Composed], join: &str) -> String {
    let names: Vec<String> =
        alternatives.iter().map(|name| name.parts().iter().map(place).collect::<Vec<_>>().join(join)).collect();
    names.join(", else ")
}

fn place(location: &Location) -> String {
    match location {
        Location::Header(name) => format!("header {name}"),
        Location::NumberedHeader(prefix) => format!("headers {prefix}1, {prefix}2, ..."),
        Location::Query(name) => format!("query parameter {name}"),
        Location::Json(pointer) => format!("body {pointer}"),
        Location::JsonKey(others) if others.is_empty() => "the body's first key".to_owned(),
        Location::JsonKey(others) => format!("the body's first key that is not {}", others.join(" or ")),
        Location::Form(name) => format!("form field {name}"),
        Location::Body => "the body".to_owned(),
        Location::BodySha256 => "SHA-256 of the body".to_owned(),
        Location::Arrival => "a new one for each request".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Hash, KeyForm, SchemeText};
    use super::*;

    const BASE: SchemeText = SchemeText { at: &["header:X-Sig"], id: &["json:/id"], ..SchemeText::HMAC };

    fn check(text: SchemeText, expected: &str) {
        assert_eq!(text.read().unwrap().proof_in_words(), expected);
    }

    #[test]
    fn a_template_is_told_with_its_places() {
        check(BASE, "HMAC-SHA256 of {body} in header x-sig, hex; key in utf8");
        let timed = SchemeText { signed: "{timestamp}.{body}", format: "kv:t,v1", ..BASE };
        check(
            timed,
            "HMAC-SHA256 of {timestamp}.{body} in header x-sig, as kv:t,v1, hex; key in utf8; seconds beside the signature",
        );
        let elsewhere = SchemeText {
            signed: "{timestamp}{json:/a}",
            at: &["json:/s", "form:s"],
            timestamp_at: &["json:/t", "query:t"],
            timestamp_unit: TimestampUnit::Milliseconds,
            encoding: Encoding::Base64,
            hash: Hash::Sha512,
            key: KeyForm::Whsec,
            unsigned_body: true,
            ..BASE
        };
        check(
            elsewhere,
            "HMAC-SHA512 of {timestamp}{json:/a} (which does not cover the body) in body /s or form field s, base64; key \
             in whsec; milliseconds in body /t or query parameter t",
        );
        let every = SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:x-{n}", "header:b"],
            timestamp_at: &["header:t"],
            timestamp_unit: TimestampUnit::Rfc3339,
            encoding: Encoding::Base64Url,
            pairing: Pairing::Every,
            ..BASE
        };
        check(
            every,
            "HMAC-SHA256 of {timestamp}.{body} in headers x-1, x-2, ... and header b, base64url; key in utf8; RFC 3339 in \
             header t",
        );
    }

    #[test]
    fn each_kind_is_told() {
        let at = |kind, hash| SchemeText { kind, hash, signed: "", ..BASE };
        let signed = |kind, hash| SchemeText { kind, hash, ..BASE };
        let claim = |text| SchemeText { body_claim: "sha256", ..text };
        let template = |algorithm: &str| format!("{algorithm} of {{body}} in header x-sig, hex; key in utf8");
        for (kind, algorithm) in [
            (Kind::PlainHash, "SHA384"),
            (Kind::Ed25519, "Ed25519"),
            (Kind::EcdsaP256, "ECDSA P-256 with SHA256"),
            (Kind::Rsa, "RSA with SHA384"),
            (Kind::Twilio, "HMAC-SHA384, or of a URL that holds bodySHA256,"),
            (Kind::Braintree, "HMAC-SHA384, for the public key beside it,"),
            (Kind::PayPal, "RSA with SHA384, by the certificate at PAYPAL-CERT-URL,"),
        ] {
            check(signed(kind, Hash::Sha384), &template(algorithm));
        }
        check(at(Kind::Token, Hash::Sha256), "the secret itself in header x-sig");
        let basic = "the secret itself, user:password, by Basic authentication in header x-sig";
        check(at(Kind::Basic, Hash::Sha256), basic);
        let token = "JSON Web Token by";
        let unclaimed = "(which does not cover the body) in header x-sig";
        let claimed = "with the body's SHA256 in its claim /sha256";
        check(at(Kind::Jwt, Hash::Sha256), &format!("{token} HMAC-SHA256 {unclaimed}"));
        check(at(Kind::JwtRsa, Hash::Sha512), &format!("{token} RSA with SHA512 {unclaimed}"));
        check(claim(at(Kind::JwtEs256, Hash::Sha256)), &format!("{token} ES256 {claimed} in header x-sig"));
        let plaid = format!("{token} ES256, with a key of Plaid's API, {claimed} in header x-sig");
        check(claim(at(Kind::Plaid, Hash::Sha256)), &plaid);
        let sns = "RSA with SHA1 of the message's fields, by the certificate at SigningCertURL in header x-sig";
        check(at(Kind::AwsSns, Hash::Sha1), sns);
        let nowhere = |kind| SchemeText { at: &[], ..at(kind, Hash::Sha256) };
        check(nowhere(Kind::MicrosoftGraph), "the secret itself in every item's clientState");
        let mut graph = nowhere(Kind::MicrosoftGraph).read().unwrap();
        graph.setting = Some("8e460676-ae3f-4b1e-8790-ee0fb5d6148f".to_owned());
        assert!(graph.proof_in_words().ends_with("clientState, and tokens of Microsoft Entra beside them"));
        let mut set = claim(at(Kind::JwtEs256, Hash::Sha256)).read().unwrap();
        set.jwks = Some("https://a.example/keys".parse().unwrap());
        let keys = "with a key of the set at https://a.example/keys,";
        assert_eq!(set.proof_in_words(), format!("{token} ES256, {keys} {claimed} in header x-sig"));
        check(nowhere(Kind::Adyen), "HMAC-SHA256 of eight fields of each item, in base64");
    }

    #[test]
    fn names_are_told() {
        let text = SchemeText {
            id: &["json:/a + header:b", "body-sha256", "arrival"],
            event_type: &["json:/a + json:/b", "json-key:/!c,d", "json-key:/"],
            ..BASE
        };
        let scheme = text.read().unwrap();
        let ids = "body /a | header b, else SHA-256 of the body, else a new one for each request";
        assert_eq!(scheme.id_in_words(), ids);
        let types = "body /a.body /b, else the body's first key that is not c or d, else the body's first key";
        assert_eq!(scheme.event_type_in_words(), types);
        assert_eq!(BASE.read().unwrap().event_type_in_words(), "none");
    }
}
