use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use grange::CallError;
use tokio::time::{Instant, sleep};

use crate::recording::Ended;

/// How long a client tries one operation.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Pauses between tries: doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// What an entity answers, as a number.
pub(crate) trait Answer {
    fn number(self) -> u64;
}

impl Answer for () {
    fn number(self) -> u64 {
        0
    }
}

impl Answer for u64 {
    fn number(self) -> u64 {
        self
    }
}

/// How one try ended, for the recording.
pub(crate) fn ended<T: Answer, X: Display>(result: Result<T, CallError<X>>) -> Ended {
    match result {
        Ok(value) => Ended::Answered(value.number()),
        Err(CallError::Rejected(_)) => Ended::Rejected,
        Err(error) if error.may_have_applied() => Ended::Unknown(error.to_string()),
        Err(error) => Ended::Failed(error.to_string()),
    }
}

/// Asks, under one key, until there is an answer or no patience; says how it ended and how often it tried again.
pub(crate) async fn persist<T, X, F>(mut ask: impl FnMut() -> F) -> (Ended, u32)
where
    T: Answer,
    X: Display,
    F: Future<Output = Result<T, CallError<X>>>,
{
    let (start, mut pause, mut retries) = (Instant::now(), PAUSE_MIN, 0);
    let mut doubt = None;
    loop {
        let result = ask().await;
        let again = result.as_ref().is_err_and(CallError::is_retryable) && start.elapsed() < PATIENCE;
        let ended = ended(result);
        if let Ended::Unknown(_) = &ended {
            doubt = Some(ended.clone());
        }
        if !again {
            // An error that denies an effect speaks of the last try only.
            let ended = if let (Ended::Failed(_), Some(doubt)) = (&ended, doubt) { doubt } else { ended };
            return (ended, retries);
        }
        retries += 1;
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
