//! Whether a request can be sent again as another event: what a signature leaves open.

use super::{Composed, Kind, Location, Piece, Scheme};

impl Scheme {
    /// Whether somebody who has seen a request can send its body again under an id of their own, whenever they like: the
    /// signature covers the body and not the id, and no timestamp of it becomes stale.
    ///
    /// Not where the signature leaves the body open too: who can change the id could change the body with it, so that to
    /// compare bodies would find nobody.
    #[must_use]
    pub fn leaves_id_open(&self) -> bool {
        self.timestamp.is_none()
            && self.covers_body()
            && self.id.iter().flat_map(Composed::parts).any(|place| self.leaves_open(place))
    }

    fn leaves_open(&self, place: &Location) -> bool {
        let is_signed_by_itself = self.template.has(&Piece::At(place.clone()));
        match place {
            Location::Header(_) => !self.template.has_id() && !is_signed_by_itself,
            Location::Query(_) => !self.signs_query() && !is_signed_by_itself,
            // In the body, or made of it; a new id for each request says already that bodies may be equal.
            Location::Json(_)
            | Location::JsonKey(_)
            | Location::Form(_)
            | Location::Body
            | Location::BodySha256
            | Location::Arrival
            | Location::NumberedHeader(_) => false,
        }
    }

    /// Of a URL that is configured whole, the query of the request is not what is signed.
    fn signs_query(&self) -> bool {
        self.kind == Kind::Twilio || self.template.has(&Piece::Query) || self.signs_url() && !self.url.is_whole()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PublicUrl, SchemeText};
    use super::*;
    use crate::provider::preset;

    #[test]
    fn an_id_is_open_only_where_neither_signature_nor_time_holds_it() {
        let check = |text: SchemeText, expected: bool| {
            let scheme = text.read().expect("a scheme");
            let scheme = Scheme { url: PublicUrl::Base("https://a.example".into()), ..scheme };
            assert_eq!(scheme.leaves_id_open(), expected, "{scheme:?}");
        };
        let body = SchemeText { at: &["header:X-Sig"], id: &["header:X-Id"], ..SchemeText::HMAC };
        check(body, true);
        check(SchemeText { id: &["json:/id", "header:X-Id", "body-sha256"], ..body }, true);
        check(SchemeText { id: &["json:/kind + header:X-Id"], ..body }, true);
        check(SchemeText { id: &["query:id"], ..body }, true);
        check(SchemeText { id: &["json:/id", "body-sha256"], ..body }, false);
        check(SchemeText { id: &["arrival"], ..body }, false);
        check(SchemeText { signed: "{id}.{body}", ..body }, false);
        check(SchemeText { signed: "{header:X-Id}.{body}", ..body }, false);
        check(SchemeText { signed: "{url}.{body}", id: &["query:id"], ..body }, false);
        check(SchemeText { signed: "{url}.{body}", ..body }, true);
        check(SchemeText { signed: "{query}.{body}", id: &["query:id"], ..body }, false);
        let timed = SchemeText { signed: "{timestamp}.{body}", timestamp_at: &["header:X-Time"], ..body };
        check(timed, false);
        check(SchemeText { kind: Kind::Token, signed: "", ..body }, false);
    }

    #[test]
    fn a_query_is_open_under_a_url_that_is_configured_whole() {
        let text = SchemeText { at: &["header:X-Sig"], signed: "{url}.{body}", id: &["query:id"], ..SchemeText::HMAC };
        let scheme = text.read().expect("a scheme");
        assert!(Scheme { url: PublicUrl::Whole("https://a.example/b".into()), ..scheme }.leaves_id_open());
    }

    #[test]
    fn the_ids_of_these_providers_are_open() {
        for (name, expected) in [
            ("github", true),
            ("shopify", true),
            ("gitea", true),
            ("razorpay", true),
            ("generic-body", true),
            ("generic", false),
            ("stripe", false),
            ("standard-webhooks", false),
            ("gitlab", false),
            ("adyen", false),
            ("paypal", false),
        ] {
            let preset = preset(name).expect(name);
            assert_eq!(preset.scheme().leaves_id_open(), expected, "{name}");
        }
    }
}
