use std::collections::HashMap;
use std::time::Duration;

use crate::recording::Recording;

/// The longest time for which an entity that was asked did not answer anything.
pub fn longest_gap(recording: &Recording) -> Duration {
    enum Event {
        Asked,
        Answered,
        Failed,
    }
    struct Waiting {
        asks: u64,
        since: Option<u64>,
    }
    let mut events = Vec::new();
    for ask in &recording.asks {
        let entity = ask.operation.entity();
        events.push((ask.asked, entity, Event::Asked));
        if let Some((moment, _, _)) = &ask.ended {
            // A refusal of the handler is an answer as well.
            let answered =
                ask.answer().is_some() || matches!(ask.ended, Some((_, crate::recording::Ended::Rejected, _)));
            events.push((*moment, entity, if answered { Event::Answered } else { Event::Failed }));
        }
    }
    events.sort_by_key(|(moment, _, _)| *moment);
    let (mut longest, mut entities) = (0, HashMap::new());
    for (moment, entity, event) in events {
        let waiting = entities.entry(entity).or_insert(Waiting { asks: 0, since: None });
        match event {
            Event::Asked => {
                waiting.asks += 1;
                waiting.since.get_or_insert(moment.at);
            }
            // It still has not answered: the wait goes on, whoever asks next.
            Event::Failed => waiting.asks = waiting.asks.saturating_sub(1),
            Event::Answered => {
                longest = longest.max(moment.at - waiting.since.unwrap_or(moment.at));
                waiting.asks = waiting.asks.saturating_sub(1);
                waiting.since = (waiting.asks > 0).then_some(moment.at);
            }
        }
    }
    Duration::from_micros(longest)
}
