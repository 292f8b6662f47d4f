//! stub
#[derive(Debug, Clone)]
pub(super) struct AccessToken;
impl AccessToken {
    pub(super) fn expose(&self) -> &str {
        ""
    }
}
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("{0}")]
    Unavailable(String),
}
#[derive(Debug)]
pub(super) struct OAuth;
impl OAuth {
    pub(super) async fn token(&self) -> Result<AccessToken, TokenError> {
        Ok(AccessToken)
    }
    pub(super) fn refused(&self, _: &AccessToken) {}
    pub(super) fn problem(&self) -> Option<String> {
        None
    }
}
