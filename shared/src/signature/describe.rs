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
            Kind::MicrosoftGraph => "the secret itself in every item's clientState".to_owned(),
            Kind::Jwt => format!("JSON Web Token by HMAC-{hash}{}", self.claim_in_words()),
            Kind::JwtRsa => format!("JSON Web Token by RSA with {hash}{}", self.claim_in_words()),
            Kind::JwtEs256 => format!("JSON Web Token by ES256{}", self.claim_in_words()),
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

    fn claim_in_words(&self) -> String {
        match &self.body_claim {
            Some(claim) => format!(" with the body's SHA256 in its claim {claim}"),
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
        Location::BodySha256 => "SHA-256 of the body".to_owned(),
        Location::Arrival => "a new one for each request".to_owned(),
    }
}
