//! One API's client (for now without its policies).

use serde::de::DeserializeOwned;
use tidegate_shared::config::{ApiConfig, ApiPreset};
use tidegate_shared::event::ApiName;

use super::{Answer, ApiError, Call};

#[derive(Debug)]
pub(super) struct Client {
    config: ApiConfig,
}

impl Client {
    pub(super) fn name(&self) -> &ApiName {
        &self.config.name
    }

    pub(super) fn preset(&self) -> Option<ApiPreset> {
        self.config.preset
    }

    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        call: Call,
        _trace: Option<&str>,
    ) -> Result<Answer<T>, ApiError> {
        let failure = super::CallFailure::BadCall(call.flaw().unwrap_or_default().to_owned());
        Err(ApiError { api: self.name().clone(), failure })
    }
}
