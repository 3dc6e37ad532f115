use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// No replica is further behind than this.
const BEHIND_MAX: Duration = Duration::from_secs(10);

/// What was before each of the last writes: a replica that missed them is made of it.
#[derive(Debug)]
pub(super) struct Past<T>(VecDeque<(Instant, T)>);

impl<T> Default for Past<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Past<T> {
    /// Before a write.
    pub(super) fn remember(&mut self, before: impl FnOnce() -> T) {
        let now = Instant::now();
        while self.0.front().is_some_and(|(at, _)| now.duration_since(*at) > BEHIND_MAX) {
            self.0.pop_front();
        }
        self.0.push_back((now, before()));
    }

    /// What was before each write of the last `lost` that `is_lost`: to be restored in this order, the latest first.
    pub(super) fn lose(&mut self, lost: Duration, is_lost: impl Fn(&T) -> bool) -> Vec<T> {
        let now = Instant::now();
        let (mut gone, mut stay) = (Vec::new(), VecDeque::new());
        while let Some((at, before)) = self.0.pop_back() {
            if now.duration_since(at) <= lost && is_lost(&before) {
                gone.push(before);
            } else {
                stay.push_front((at, before));
            }
        }
        self.0 = stay;
        gone
    }
}
