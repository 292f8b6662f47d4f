//! A repository on GitHub: <https://docs.github.com/en/rest/repos/repos#get-a-repository>.

use http::{HeaderName, header};
use jiff::Timestamp;
use serde::Deserialize;

use crate::api::{Answer, Api, ApiError, Call, CallFailure, Json, Read};

/// <https://docs.github.com/en/rest/about-the-rest-api/api-versions>: answers keep this version's shape.
const API_VERSION: &str = "2022-11-28";
const API_VERSION_HEADER: HeaderName = HeaderName::from_static("x-github-api-version");

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `owner/name`, as GitHub spells it.
    pub full_name: String,
    /// What its owner says of it.
    pub description: Option<String>,
    /// Users who starred it.
    pub stars: u64,
    /// Its forks.
    pub forks: u64,
    /// Open issues and pull requests.
    pub open_issues: u64,
    /// The language that most of it is written in.
    pub language: Option<String>,
    /// The branch that one sees first.
    pub default_branch: String,
    /// Its page.
    pub url: String,
    /// The last push to any branch.
    pub pushed_at: Option<Timestamp>,
}

/// Asks for a repository.
#[must_use]
pub fn call(owner: &str, repo: &str) -> Call {
    Call::get("/repos")
        .segment(owner)
        .segment(repo)
        .header(header::ACCEPT, "application/vnd.github+json")
        .header(API_VERSION_HEADER, API_VERSION)
}

/// A repository.
///
/// # Errors
/// [`ApiError`]; one that is not there, or that the key may not see, has the status 404.
pub async fn repository(api: &Api, owner: &str, repo: &str) -> Result<Answer<Repository>, ApiError> {
    api.call_for::<RawRepository>(call(owner, repo)).await
}

#[derive(Debug, Deserialize)]
struct RawRepository {
    full_name: String,
    description: Option<String>,
    stargazers_count: u64,
    forks_count: u64,
    open_issues_count: u64,
    language: Option<String>,
    default_branch: String,
    html_url: String,
    pushed_at: Option<Timestamp>,
}

impl Read for RawRepository {
    type Answer = Repository;

    fn read(body: &[u8]) -> Result<Repository, CallFailure> {
        Json::<Self>::read(body)?.into_answer()
    }
}

impl RawRepository {
    #[expect(clippy::unnecessary_wraps, reason = "the shape that every preset has")]
    fn into_answer(self) -> Result<Repository, CallFailure> {
        Ok(Repository {
            full_name: self.full_name,
            description: self.description,
            stars: self.stargazers_count,
            forks: self.forks_count,
            open_issues: self.open_issues_count,
            language: self.language,
            default_branch: self.default_branch,
            url: self.html_url,
            pushed_at: self.pushed_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_answer_is_read() {
        let raw = include_str!("../../../../fixtures/api/github/repository.json");
        let raw: RawRepository = serde_json::from_str(raw).expect("it is read");
        let expected = Repository {
            full_name: "octocat/Hello-World".to_owned(),
            description: Some("This your first repo!".to_owned()),
            stars: 80,
            forks: 9,
            open_issues: 3,
            language: None,
            default_branch: "master".to_owned(),
            url: "https://github.com/octocat/Hello-World".to_owned(),
            pushed_at: Some("2011-01-26T19:06:43Z".parse().expect("a time")),
        };
        assert_eq!(raw.into_answer(), Ok(expected));
    }

    #[test]
    fn an_error_is_never_taken_for_a_repository() {
        for error in [
            include_str!("../../../../fixtures/api/github/not_found.json"),
            include_str!("../../../../fixtures/api/github/rate_limit_exceeded.json"),
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(error).is_ok_and(|error| error.get("message").is_some()));
            assert!(serde_json::from_str::<RawRepository>(error).is_err(), "{error}");
        }
    }

    #[test]
    fn owner_and_name_stay_in_their_place() {
        assert_eq!(call("rust-lang", "rust").path_and_query(), "/repos/rust-lang/rust");
        assert_eq!(call("a/b", "c?d").path_and_query(), "/repos/a%2Fb/c%3Fd");
    }
}
