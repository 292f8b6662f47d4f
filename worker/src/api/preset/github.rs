//! A repository on GitHub: <https://docs.github.com/en/rest/repos/repos#get-a-repository>.

use http::{HeaderName, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::{Answer, Api, ApiError, Call};

/// <https://docs.github.com/en/rest/about-the-rest-api/api-versions>: answers keep this version's shape.
const API_VERSION: &str = "2022-11-28";
const API_VERSION_HEADER: HeaderName = HeaderName::from_static("x-github-api-version");

/// A repository. Read from GitHub's names, shown under ours.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct Repository {
    /// `owner/name`, as GitHub spells it.
    #[schema(example = "octocat/Hello-World")]
    pub full_name: String,
    /// What its owner says of it.
    pub description: Option<String>,
    /// Users who starred it.
    #[serde(rename(deserialize = "stargazers_count"))]
    pub stars: Option<u64>,
    /// Its forks.
    #[serde(rename(deserialize = "forks_count"))]
    pub forks: Option<u64>,
    /// Open issues and pull requests.
    #[serde(rename(deserialize = "open_issues_count"))]
    pub open_issues: Option<u64>,
    /// The language that most of it is written in.
    pub language: Option<String>,
    /// The branch that one sees first.
    pub default_branch: Option<String>,
    /// Its page.
    #[serde(rename(deserialize = "html_url"))]
    pub url: Option<String>,
    /// The last push to any branch.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub pushed_at: Option<Timestamp>,
}

/// Asks for a repository.
#[must_use]
pub fn call(owner: &str, repo: &str) -> Call {
    Call::get("/repos")
        .segment(owner)
        .segment(repo)
        .fixed_header(header::ACCEPT, "application/vnd.github+json")
        .fixed_header(API_VERSION_HEADER, API_VERSION)
}

/// A repository.
///
/// # Errors
/// [`ApiError`]; one that is not there, or that the key may not see, has the status 404.
pub async fn repository(api: &Api, owner: &str, repo: &str) -> Result<Answer<Repository>, ApiError> {
    api.call(call(owner, repo)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_answer_is_read() {
        let raw = include_str!("../../../../fixtures/api/github/repository.json");
        let repository: Repository = serde_json::from_str(raw).expect("it is read");
        let expected = Repository {
            full_name: "octocat/Hello-World".to_owned(),
            description: Some("This your first repo!".to_owned()),
            stars: Some(80),
            forks: Some(9),
            open_issues: Some(3),
            language: None,
            default_branch: Some("master".to_owned()),
            url: Some("https://github.com/octocat/Hello-World".to_owned()),
            pushed_at: Some("2011-01-26T19:06:43Z".parse().expect("a time")),
        };
        assert_eq!(repository, expected);
    }

    #[test]
    fn an_error_is_never_taken_for_a_repository() {
        for error in [
            include_str!("../../../../fixtures/api/github/not_found.json"),
            include_str!("../../../../fixtures/api/github/rate_limit_exceeded.json"),
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(error).is_ok_and(|error| error.get("message").is_some()));
            assert!(serde_json::from_str::<Repository>(error).is_err(), "{error}");
        }
    }

    #[test]
    fn owner_and_name_stay_in_their_place() {
        assert_eq!(call("rust-lang", "rust").path_and_query(), "/repos/rust-lang/rust");
        assert_eq!(call("a/b", "c?d").path_and_query(), "/repos/a%2Fb/c%3Fd");
    }
}
