//! PayPal: which certificate a request is to be verified with.

use url::Url;

use super::super::received::{Reader, single};
use super::super::{KeyLocation, VerifyError};

/// The header that names the certificate's URL.
const CERT_URL: http::HeaderName = http::HeaderName::from_static("paypal-cert-url");
/// The hosts of PayPal's API, which serve its certificates; the list is ours.
const HOSTS: [&str; 4] = ["api.paypal.com", "api-m.paypal.com", "api.sandbox.paypal.com", "api-m.sandbox.paypal.com"];

/// Where they are there: `/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270`.
const CERTS: &str = "/v1/notifications/certs/";

/// A URL elsewhere is a forger's: nobody is asked for it.
pub(in super::super) fn location(reader: &Reader<'_, '_>) -> Result<KeyLocation, VerifyError> {
    let url = single(reader.received.headers, &CERT_URL)?.and_then(|value| value.to_str().ok());
    let url = url.and_then(|text| Url::parse(text).ok()).filter(|url| {
        url.scheme() == "https"
            && url.port().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            && url.host_str().is_some_and(|host| HOSTS.contains(&host))
            && url.path().starts_with(CERTS)
            && url.query().is_none()
            && url.fragment().is_none()
    });
    url.map(KeyLocation::new).ok_or(VerifyError::InvalidSignature)
}
