//! `GET /github/repos/{owner}/{repo}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;
use tidegate_shared::config::ApiPreset;
use utoipa::ToSchema;

use super::Http;
use super::respond::HttpError;
use crate::api::preset::github::{self, Repository};
use crate::api::{Answer, Source};
use crate::openapi::UpstreamProblems;

/// The longest name of an owner or a repository, in bytes: GitHub's own limit is 100.
const NAME_MAX: usize = 100;
const EXAMPLE: &str = "[api.github] key = \"env:GITHUB_TOKEN\"; without a key GitHub answers 60 calls an hour";

/// A repository on GitHub.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RepositoryAnswer {
    #[serde(flatten)]
    repository: Repository,
    /// Where the answer comes from.
    source: Source,
    /// Seconds since the API gave or confirmed it.
    age: u64,
}

/// A repository on GitHub, now.
#[utoipa::path(
    get,
    path = "/github/repos/{owner}/{repo}",
    tag = "api",
    operation_id = "github_repository",
    params(
        ("owner" = String, Path, description = "The user or organization.", example = "octocat"),
        ("repo" = String, Path, description = "The repository's name.", example = "Hello-World")
    ),
    responses((status = 200, description = "The repository.", body = RepositoryAnswer), UpstreamProblems),
    security((), ("caller_token" = []))
)]
pub(super) async fn show(
    State(http): State<Arc<Http>>,
    names: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<RepositoryAnswer>, HttpError> {
    let Path((owner, repo)) = names?;
    if owner.len() > NAME_MAX || repo.len() > NAME_MAX {
        return Err(HttpError::BadRequest(format!("owner and repo must have at most {NAME_MAX} bytes")));
    }
    let api = http.preset(&[ApiPreset::GitHub], EXAMPLE)?;
    let Answer { value: repository, source, age } = github::repository(api, &owner, &repo).await?;
    Ok(Json(RepositoryAnswer { repository, source, age: age.as_secs() }))
}
