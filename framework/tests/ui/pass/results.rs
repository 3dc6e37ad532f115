//! What is, and what is not, a `Result`.
#![allow(dead_code)]

use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Exam;

#[derive(Serialize, Deserialize)]
struct SearchResult;

/// A type of the user's own that is called like one of ours, without arguments.
#[derive(Serialize, Deserialize)]
enum Outcome {
    Passed,
}

#[entity]
impl Exam {
    async fn nothing(&self) {}
    async fn search(&self) -> SearchResult {
        SearchResult
    }
    async fn within(&self) -> Option<Result<u64, String>> {
        None
    }
    async fn full_path(&self) -> std::result::Result<SearchResult, String> {
        Err(String::new())
    }
    async fn passed(&self, outcome: Outcome) -> Outcome {
        outcome
    }
    async fn a_cow(&self, text: std::borrow::Cow<'static, str>) -> std::borrow::Cow<'static, str> {
        text
    }
}

fn main() {}
