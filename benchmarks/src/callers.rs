//! Callers, each of which asks, waits for the answer, and asks again.

use std::future::Future;

use futures_util::future::join_all;

use crate::Sample;

/// One caller after the other, or many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Callers(pub u64);

impl Callers {
    /// How many operations of each make so many in all.
    pub fn each(self, operations: u64) -> u64 {
        operations.div_ceil(self.0)
    }

    /// Lets all of them work on the current thread, as parts of one task: caller by number → the next operation.
    pub async fn work<F: Future<Output = ()>>(self, operations: u64, caller: impl Fn(u64) -> F) -> Sample {
        let each = self.each(operations);
        let started = std::time::Instant::now();
        if self.0 == 1 {
            for _ in 0..each {
                caller(0).await;
            }
        } else {
            let caller = &caller;
            join_all((0..self.0).map(|number| async move {
                for _ in 0..each {
                    caller(number).await;
                }
            }))
            .await;
        }
        Sample::new(each * self.0, started.elapsed())
    }

    /// Lets each work as a task of its own in the current runtime.
    ///
    /// # Panics
    /// When one of them does.
    pub async fn tasks<F>(self, operations: u64, caller: impl Fn(u64) -> F + Clone + Send + 'static) -> Sample
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let each = self.each(operations);
        let started = std::time::Instant::now();
        let tasks = (0..self.0).map(|number| {
            let caller = caller.clone();
            tokio::spawn(async move {
                for _ in 0..each {
                    caller(number).await;
                }
            })
        });
        join_all(tasks).await.into_iter().for_each(|task| task.expect("a caller ends well"));
        Sample::new(each * self.0, started.elapsed())
    }
}
