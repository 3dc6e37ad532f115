use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::mutant::Mutant;
use crate::wire::{EntityId, Envelope};

/// How many unacknowledged messages to one target are on their way at a time: enough to hide a round trip, few enough
/// to repeat after a failure.
const WINDOW: usize = 16;

/// Messages staged and not yet acknowledged, in the order in which they were staged, and how far each target's stream is.
///
/// No step looks at all of the targets: there may be thousands, and each of them answers.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The highest number ever given.
    sequence: u64,
    /// Up to this number everything is committed, and may leave.
    committed: u64,
    messages: BTreeMap<u64, Kept>,
    streams: BTreeMap<EntityId, Stream>,
    /// Targets for whom something may leave that could not before; perhaps more than once.
    ready: Vec<EntityId>,
    /// When which target's stream starts again from its oldest message, in ticks.
    retries: BTreeSet<(u64, EntityId)>,
}

#[derive(Debug)]
struct Kept {
    envelope: Arc<Envelope>,
    /// It may have been tried in an earlier life of this activation.
    again: bool,
}

/// The messages to one target.
#[derive(Debug, Default)]
struct Stream {
    /// Their numbers, the oldest first.
    waiting: VecDeque<u64>,
    /// How many of them, from the oldest, are on their way.
    sent: usize,
    /// When to start again from the oldest, in ticks: its entry in the outbox's `retries`.
    retry: Option<u64>,
    failures: u32,
}

impl Outbox {
    pub(crate) fn restore_sequence(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
        self.committed = self.sequence;
    }

    /// A message found in the store: committed, and perhaps tried.
    pub(crate) fn restore(&mut self, envelope: Envelope) {
        self.restore_sequence(envelope.sequence);
        self.ready.push(envelope.to.clone());
        self.insert(Arc::new(envelope), true);
    }

    fn insert(&mut self, envelope: Arc<Envelope>, again: bool) {
        self.streams.entry(envelope.to.clone()).or_default().waiting.push_back(envelope.sequence);
        self.messages.insert(envelope.sequence, Kept { envelope, again });
    }

    /// The numbers of the next message to `to`: its own, above `floor`, and that of the one before it to the same target.
    pub(crate) fn next_numbers(&self, to: &EntityId, floor: u64) -> (u64, u64) {
        let previous = self.streams.get(to).and_then(|stream| stream.waiting.back()).copied().unwrap_or(0);
        (self.sequence.max(floor) + 1, previous)
    }

    /// Takes a message that has its numbers.
    pub(crate) fn stage(&mut self, envelope: Arc<Envelope>) {
        self.sequence = envelope.sequence;
        if Mutant::SendsBeforeCommit.is_planted() {
            self.ready.push(envelope.to.clone());
        }
        self.insert(envelope, false);
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Everything up to this number is in the store.
    pub(crate) fn commit(&mut self, sequence: u64) {
        if sequence <= self.committed {
            return;
        }
        let landed = self.messages.range(self.committed + 1..=sequence);
        self.ready.extend(landed.map(|(_, kept)| kept.envelope.to.clone()));
        self.committed = sequence;
    }

    /// What may leave now, and is from then on its way: nothing that is not committed, and a window per target.
    pub(crate) fn dispatch(&mut self, retry_at: u64) -> Vec<(Arc<Envelope>, bool)> {
        let mut leaving = Vec::new();
        for target in self.ready.drain(..) {
            let Some(stream) = self.streams.get_mut(&target) else { continue };
            if stream.failures > 0 && stream.retry.is_some() {
                continue; // it waits, and is ready again when its time has come
            }
            let from = stream.sent;
            for sequence in stream.waiting.iter().skip(from).take(WINDOW.saturating_sub(from)) {
                if *sequence > self.committed && !Mutant::SendsBeforeCommit.is_planted() {
                    break;
                }
                let Some(kept) = self.messages.get(sequence) else { break };
                leaving.push((kept.envelope.clone(), kept.again));
                stream.sent += 1;
            }
            // The oldest that is on its way sets the time: what is sent after it does not push its repetition back.
            if stream.sent > 0 && stream.retry.is_none() {
                stream.set_retry(&target, &mut self.retries, Some(retry_at));
            }
        }
        // Between targets the order is that of staging.
        leaving.sort_unstable_by_key(|(envelope, _)| envelope.sequence);
        leaving
    }

    /// The target has applied everything up to this number: a prefix of the pair is forgotten.
    pub(crate) fn acknowledge(&mut self, from: &EntityId, sequence: u64) -> Vec<u64> {
        let Some(stream) = self.streams.get_mut(from) else { return Vec::new() };
        let mut forgotten = Vec::new();
        while let Some(oldest) = stream.waiting.front().copied().filter(|oldest| *oldest <= sequence) {
            stream.waiting.pop_front();
            stream.sent = stream.sent.saturating_sub(1);
            self.messages.remove(&oldest);
            forgotten.push(oldest);
        }
        if !forgotten.is_empty() {
            stream.failures = 0;
            // What is still on its way is waited for anew, from the next dispatch.
            stream.set_retry(from, &mut self.retries, None);
            self.ready.push(from.clone());
        }
        if stream.waiting.is_empty() {
            stream.set_retry(from, &mut self.retries, None);
            self.streams.remove(from);
        }
        forgotten
    }

    /// Whether anything is stored for this target.
    pub(crate) fn has_for(&self, target: &EntityId) -> bool {
        self.streams.contains_key(target)
    }

    /// The target asks to be given the stream again from this message on, later.
    pub(crate) fn postpone(&mut self, from: &EntityId, sequence: u64, resume: impl FnOnce(u32) -> u64) {
        let Some(stream) = self.streams.get_mut(from) else { return };
        if stream.waiting.front().is_none_or(|oldest| *oldest > sequence) {
            return; // about a message that was acknowledged since
        }
        if stream.failures > 0 && stream.retry.is_some() && stream.sent == 0 {
            return; // one of several that were on their way when it failed: it waits already
        }
        stream.set_retry(from, &mut self.retries, Some(resume(stream.failures)));
        stream.failures += 1;
        stream.start_again(&mut self.messages);
    }

    /// What is on its way is sent again at this time, if it is not acknowledged by then.
    pub(crate) fn hasten(&mut self, at: u64) {
        for (target, stream) in self.streams.iter_mut().filter(|(_, stream)| stream.sent > 0) {
            let sooner = stream.retry.map(|retry| retry.min(at));
            stream.set_retry(target, &mut self.retries, sooner);
        }
    }

    /// When the earliest retry is.
    pub(crate) fn next_retry(&self) -> Option<u64> {
        self.retries.first().map(|(retry, _)| *retry)
    }

    /// Starts again, from the oldest message, every stream whose time has come.
    pub(crate) fn retry(&mut self, now: u64) {
        if Mutant::NotRepeated.is_planted() {
            return self.retries.clear();
        }
        while self.next_retry().is_some_and(|retry| retry <= now)
            && let Some((_, target)) = self.retries.pop_first()
        {
            if let Some(stream) = self.streams.get_mut(&target) {
                stream.retry = None;
                stream.start_again(&mut self.messages);
            }
            self.ready.push(target);
        }
    }
}

impl Stream {
    fn set_retry(&mut self, target: &EntityId, retries: &mut BTreeSet<(u64, EntityId)>, retry: Option<u64>) {
        if self.retry == retry {
            return;
        }
        if let Some(before) = std::mem::replace(&mut self.retry, retry) {
            retries.remove(&(before, target.clone()));
        }
        retries.extend(retry.map(|retry| (retry, target.clone())));
    }

    /// From the oldest message on. What was on its way may have been tried.
    fn start_again(&mut self, messages: &mut BTreeMap<u64, Kept>) {
        for sequence in self.waiting.iter().take(std::mem::take(&mut self.sent)) {
            if let Some(kept) = messages.get_mut(sequence) {
                kept.again = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    fn stage(outbox: &mut Outbox, to: &str) -> u64 {
        let to = EntityId::new("B", to.to_owned());
        let (sequence, previous) = outbox.next_numbers(&to, 0);
        let envelope = Envelope {
            id: Uuid::nil(),
            cause: Uuid::nil(),
            root: Uuid::nil(),
            from: EntityId::new("A", "a"),
            to,
            sequence,
            previous,
            method: "m".into(),
            arguments: Bytes::new(),
            then: None,
        };
        outbox.stage(Arc::new(envelope));
        sequence
    }

    fn numbers(leaving: &[(Arc<Envelope>, bool)]) -> Vec<(u64, u64)> {
        leaving.iter().map(|(envelope, _)| (envelope.sequence, envelope.previous)).collect()
    }

    #[test]
    fn nothing_leaves_that_is_not_committed() {
        let mut outbox = Outbox::default();
        stage(&mut outbox, "x");
        stage(&mut outbox, "x");
        assert!(outbox.dispatch(10).is_empty());
        outbox.commit(1);
        assert_eq!(numbers(&outbox.dispatch(10)), [(1, 0)]);
        outbox.commit(2);
        assert_eq!(numbers(&outbox.dispatch(10)), [(2, 1)]);
        assert!(outbox.dispatch(10).is_empty());
    }

    #[test]
    fn an_acknowledgement_forgets_a_prefix_of_its_pair() {
        let mut outbox = Outbox::default();
        for to in ["x", "y", "x", "x"] {
            stage(&mut outbox, to);
        }
        outbox.commit(4);
        outbox.dispatch(10);
        let x = EntityId::new("B", "x");
        assert_eq!(outbox.acknowledge(&x, 3), [1, 3]);
        assert_eq!(outbox.acknowledge(&x, 3), Vec::<u64>::new());
        assert_eq!(outbox.len(), 2);
        assert_eq!(outbox.next_numbers(&x, 0), (5, 4));
        outbox.acknowledge(&x, 4);
        assert_eq!(outbox.next_numbers(&x, 0), (5, 0));
    }

    #[test]
    fn a_postponed_stream_starts_again_from_its_oldest_message_and_says_that_it_may_have_been_tried() {
        let mut outbox = Outbox::default();
        stage(&mut outbox, "x");
        stage(&mut outbox, "x");
        outbox.commit(2);
        assert_eq!(outbox.dispatch(10).len(), 2);
        outbox.postpone(&EntityId::new("B", "x"), 1, |_| 50);
        assert!(outbox.dispatch(10).is_empty());
        outbox.retry(49);
        assert!(outbox.dispatch(10).is_empty());
        outbox.retry(50);
        let leaving = outbox.dispatch(60);
        assert_eq!(numbers(&leaving), [(1, 0), (2, 1)]);
        assert!(leaving.iter().all(|(_, again)| *again));
    }

    #[test]
    fn what_is_sent_later_does_not_push_back_the_repetition_of_what_went_before() {
        let mut outbox = Outbox::default();
        let x = EntityId::new("B", "x");
        stage(&mut outbox, "x");
        outbox.commit(1);
        outbox.dispatch(10);
        stage(&mut outbox, "x");
        outbox.commit(2);
        assert_eq!(outbox.dispatch(14).len(), 1);
        assert_eq!(outbox.next_retry(), Some(10));
        outbox.hasten(5);
        stage(&mut outbox, "x");
        outbox.commit(3);
        assert_eq!(outbox.dispatch(20).len(), 1);
        assert_eq!(outbox.next_retry(), Some(5));
        // What follows the one that was acknowledged has its own time.
        outbox.acknowledge(&x, 1);
        assert!(outbox.dispatch(30).is_empty());
        assert_eq!(outbox.next_retry(), Some(30));
    }

    #[test]
    fn each_target_has_its_own_time_to_start_again() {
        let mut outbox = Outbox::default();
        for to in ["x", "y", "z"] {
            stage(&mut outbox, to);
        }
        outbox.commit(3);
        assert_eq!(outbox.dispatch(10).len(), 3);
        outbox.postpone(&EntityId::new("B", "y"), 2, |_| 30);
        outbox.acknowledge(&EntityId::new("B", "z"), 3);
        assert_eq!(outbox.next_retry(), Some(10));
        outbox.retry(10);
        assert_eq!(numbers(&outbox.dispatch(20)), [(1, 0)]);
        outbox.hasten(15);
        outbox.acknowledge(&EntityId::new("B", "x"), 1);
        assert_eq!(outbox.next_retry(), Some(30));
        outbox.retry(30);
        assert_eq!(numbers(&outbox.dispatch(40)), [(2, 0)]);
        outbox.acknowledge(&EntityId::new("B", "y"), 2);
        assert_eq!((outbox.next_retry(), outbox.is_empty()), (None, true));
    }

    #[test]
    fn a_window_of_messages_is_on_its_way_at_a_time() {
        let mut outbox = Outbox::default();
        for _ in 0..WINDOW + 3 {
            stage(&mut outbox, "x");
        }
        outbox.commit(100);
        assert_eq!(outbox.dispatch(10).len(), WINDOW);
        outbox.acknowledge(&EntityId::new("B", "x"), 2);
        assert_eq!(outbox.dispatch(10).len(), 2);
    }
}
