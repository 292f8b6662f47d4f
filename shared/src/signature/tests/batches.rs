//! Requests that hold several events: what each of a provider's items is called.

use bytes::Bytes;

use super::*;
use crate::event::BodyHash;

/// An item's id and type; the hash of the item where it has no id.
type Named = (Option<&'static str>, &'static str);

/// Presets, and two items of each in a body.
const BATCHES: [(&str, &str, [Named; 2]); 8] = [
    (
        "sendgrid",
        r#"[{"sg_event_id":"a","event":"delivered","sg_message_id":"m"},
            {"sg_event_id":"b","event":"open","sg_message_id":"m"}]"#,
        [(Some("a"), "delivered"), (Some("b"), "open")],
    ),
    (
        "hubspot",
        r#"[{"eventId":1,"subscriptionId":2,"portalId":3,"objectId":4,"occurredAt":5,
             "subscriptionType":"contact.creation"},
            {"eventId":1,"subscriptionId":2,"portalId":3,"objectId":6,"occurredAt":5,
             "subscriptionType":"contact.deletion"}]"#,
        [(Some("1|2|3|4|5"), "contact.creation"), (Some("1|2|3|6|5"), "contact.deletion")],
    ),
    (
        "adyen",
        r#"{"live":"false","notificationItems":[
            {"NotificationRequestItem":{"pspReference":"p","eventCode":"CAPTURE","success":"true","eventDate":"d"}},
            {"NotificationRequestItem":{"pspReference":"p","eventCode":"CAPTURE","success":"false","eventDate":"d"}}]}"#,
        [(Some("p|CAPTURE|true"), "CAPTURE"), (Some("p|CAPTURE|false"), "CAPTURE")],
    ),
    (
        "microsoft-graph",
        r#"{"value":[{"id":"a","changeType":"created"},{"id":"b","lifecycleEvent":"missed","changeType":"updated"}]}"#,
        [(Some("a"), "created"), (Some("b"), "missed")],
    ),
    (
        "line",
        r#"{"events":[{"webhookEventId":"a","type":"message"},{"webhookEventId":"b","type":"follow"}]}"#,
        [(Some("a"), "message"), (Some("b"), "follow")],
    ),
    (
        "meta",
        r#"{"object":"page","entry":[
            {"id":"1","time":1,"changes":[{"field":"feed"}]},{"id":"1","time":2,"messaging":[]}]}"#,
        [(None, "feed"), (None, "unknown")],
    ),
    (
        "okta",
        r#"{"eventId":"whole","data":{"events":[
            {"uuid":"a","eventType":"user.login"},{"uuid":"b","eventType":"user.logout"}]}}"#,
        [(Some("a"), "user.login"), (Some("b"), "user.logout")],
    ),
    (
        "xero",
        r#"{"events":[{"resourceId":"r","eventType":"CREATE","eventDateUtc":"d","tenantId":"t","eventCategory":"INVOICE"},
            {"resourceId":"r","eventType":"UPDATE","eventDateUtc":"d","eventCategory":"INVOICE"}]}"#,
        [(Some("r|CREATE|d|t"), "INVOICE.CREATE"), (Some("r|UPDATE|d"), "INVOICE.UPDATE")],
    ),
];

#[test]
fn every_item_has_the_id_and_the_type_that_its_provider_gave_it() {
    for (name, body, expected) in BATCHES {
        let batch = crate::provider::preset(name).unwrap().batch().expect("a batch");
        let body = Bytes::from_static(body.as_bytes());
        let items = batch.split(&Received::post(&HeaderMap::new(), &body), &body).unwrap().expect("several events");
        assert_eq!(items.len(), expected.len(), "{name}");
        for (item, (id, event_type)) in items.iter().zip(expected) {
            let id = id.map_or_else(|| BodyHash::of(&item.body).to_string(), str::to_owned);
            assert_eq!(Ok(&item.identity), identity(&id, event_type).as_ref(), "{name}");
        }
    }
}
