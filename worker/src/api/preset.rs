//! Ready-made clients: what to ask some well-known APIs, as calls, and what they answer, as types.

use serde::de::DeserializeOwned;

use super::{Answer, Api, ApiError, Call, CallFailure};

pub mod github;
pub mod rates;
pub mod weather;

/// Makes the call and reads what the API answered by `read`, which may find a failure in a success.
async fn ask<Raw, T>(api: &Api, call: Call, read: fn(Raw) -> Result<T, CallFailure>) -> Result<Answer<T>, ApiError>
where
    Raw: DeserializeOwned,
{
    let Answer { value, source, age } = api.call::<Raw>(call).await?;
    let value = read(value).map_err(|failure| ApiError { api: api.name().clone(), failure })?;
    Ok(Answer { value, source, age })
}
