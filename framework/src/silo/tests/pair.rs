use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::test_runner::TestCaseError;
use tracing::Span;
use uuid::Uuid;

use crate::entity::{Act, Cause, Schedule, Staged};
use crate::messaging::{Admission, Parcel, Reminder, decode, encode};
use crate::silo::Limits;
use crate::silo::batch::Release;
use crate::silo::ledger::{Ledger, OUTBOX_WAKE_MS};
use crate::silo::pump::acknowledgement;
use crate::silo::settle::{End, Now, Settling, Work};
use crate::store::{Commit, Fence, Field, Record, StateWrite, Trim};
use crate::wire::{EntityId, Envelope};

const FENCE: Fence = Fence { owner: Uuid::nil(), nonce: 1, epoch: 1 };
const LIFE: u64 = 1;

/// Two entities that write to each other over a network that loses, repeats and reorders; each may be loaded anew at any time.
pub(super) struct Pair {
    sides: [Side; 2],
    network: Vec<Parcel>,
    /// In ms.
    now: u64,
    random: u64,
}

/// An entity: what the store has of it, and its activation.
struct Side {
    stored: Stored,
    ledger: Ledger,
    /// A trim on its way, with the targets to tell when it was applied.
    trim: Option<(Trim, Vec<(EntityId, u64)>)>,
}

/// A record as a store keeps it.
#[derive(Default)]
struct Stored {
    version: u64,
    state: Option<Bytes>,
    fields: BTreeMap<Field, Bytes>,
    wake: Option<u64>,
}

/// The state of an entity: how many messages it sent, and the numbers of those that it applied.
type Image = (u32, Vec<u32>);

/// How a commit ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landing {
    Landed,
    /// It was applied; the activation died before it heard so.
    Unheard,
    /// It did not arrive, and the activation died.
    Lost,
}

impl Stored {
    fn record(&self) -> Record {
        let Self { version, state, fields, wake } = self;
        let (state, fields) = (state.clone(), fields.clone());
        Record { fence: FENCE, generation: LIFE, version: *version, state, fields, wake: *wake }
    }

    fn commit(&mut self, commit: Commit) {
        self.version += 1;
        match commit.state {
            StateWrite::Keep => {}
            StateWrite::Put(state) => self.state = Some(state),
            StateWrite::Delete => self.state = None,
        }
        self.fields.extend(commit.puts);
        self.remove(&commit.removes, commit.wake);
    }

    fn trim(&mut self, trim: &Trim) -> bool {
        let is_current = self.version == trim.version;
        if is_current {
            self.remove(&trim.removes, trim.wake);
        }
        is_current
    }

    fn remove(&mut self, removes: &[Field], wake: Option<u64>) {
        removes.iter().for_each(|field| drop(self.fields.remove(field)));
        self.wake = wake;
    }

    fn image(&self) -> Image {
        image(self.state.as_ref())
    }
}

fn image(state: Option<&Bytes>) -> Image {
    state.map(|state| decode(state).unwrap()).unwrap_or_default()
}

fn id(side: usize) -> EntityId {
    EntityId::new("A", vec![side as u8])
}

fn side_of(id: &EntityId) -> usize {
    usize::from(id.key[0])
}

fn open(side: usize, stored: &Stored) -> Ledger {
    Ledger::open(id(side), stored.record()).unwrap()
}

impl Pair {
    pub(super) fn new() -> Self {
        let sides = [0, 1].map(|side| {
            let stored = Stored::default();
            Side { ledger: open(side, &stored), stored, trim: None }
        });
        Self { sides, network: Vec::new(), now: 1_000, random: 0 }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now += ms;
    }

    /// A turn that sends the next message to the other side: at once, or under this name after so many ms.
    pub(super) fn send(&mut self, side: usize, later: Option<(u8, u64)>) {
        let (mut sent, log) = image(self.sides[side].ledger.image.as_ref());
        // What reminders send is not counted: its number says nothing of its order.
        let number = if later.is_some() { 0 } else { sent + 1 };
        sent += u32::from(later.is_none());
        let staged = Staged {
            to: id(1 - side),
            method: "m",
            arguments: Ok(number.to_be_bytes().into()),
            then: None,
            schedule: later.map(|(_, ms)| Schedule { after: std::time::Duration::from_millis(ms), every: None }),
            name: later.map(|(name, _)| name.to_string()),
        };
        self.settle(side, Work::Plain, vec![Act::Send(Box::new(staged))], Some((sent, log)));
    }

    pub(super) fn cancel(&mut self, side: usize, name: u8) {
        self.settle(side, Work::Plain, vec![Act::Cancel(name.to_string())], None);
    }

    fn settle(&mut self, side: usize, work: Work<'_>, acts: Vec<Act>, image: Option<Image>) {
        let (random, image) = (&self.random, image.map(|image| encode(&image)));
        let now = Now { ms: self.now, random: &|| *random };
        let settling = Settling { work, end: End::Done(Bytes::new()), acts, image, cause: Cause::default() };
        self.sides[side].ledger.settle(settling, &now, &Limits::default()).unwrap();
        self.random += 1;
    }

    /// Reminders that are due become messages.
    pub(super) fn fire(&mut self, side: usize) {
        let random = &self.random;
        self.sides[side].ledger.fire_reminders(&Now { ms: self.now, random: &|| *random });
        self.random += 1;
    }

    pub(super) fn commit(&mut self, side: usize, landing: Landing) -> Result<(), TestCaseError> {
        let at = &mut self.sides[side];
        let Some(commit) = at.ledger.next_commit(self.now, 0, &Limits::default()) else { return Ok(()) };
        if landing != Landing::Lost {
            at.stored.commit(commit);
            self.check_wake(side)?;
        }
        let at = &mut self.sides[side];
        if landing != Landing::Landed {
            self.crash(side);
            return Ok(());
        }
        let (releases, late) = at.ledger.land();
        let parcels = releases.into_iter().chain(late).filter_map(|(release, _)| match release {
            Release::Parcel(parcel) => Some(parcel),
            Release::Answer(_) => None,
        });
        self.network.extend(parcels);
        Ok(())
    }

    /// The activation dies, and another one is loaded from the store.
    pub(super) fn crash(&mut self, side: usize) {
        let at = &mut self.sides[side];
        at.ledger = open(side, &at.stored);
        at.trim = None;
    }

    /// What is committed leaves; and what was not acknowledged, again.
    pub(super) fn dispatch(&mut self, side: usize, again: bool) {
        let at = &mut self.sides[side];
        if again {
            at.ledger.mail.outbox.retry(u64::MAX);
        }
        let leaving = at.ledger.mail.outbox.dispatch(self.now);
        let messages =
            leaving.into_iter().map(|(envelope, again)| Parcel::Message { envelope, again, life: LIFE, far: true });
        self.network.extend(messages);
    }

    pub(super) fn begin_trim(&mut self, side: usize) {
        let at = &mut self.sides[side];
        if at.trim.is_none() {
            at.trim = at.ledger.next_trim(self.now);
        }
    }

    pub(super) fn end_trim(&mut self, side: usize) -> Result<(), TestCaseError> {
        let at = &mut self.sides[side];
        let Some((trim, retired)) = at.trim.take() else { return Ok(()) };
        let applied = at.stored.trim(&trim);
        self.network.extend(at.ledger.end_trim(applied, trim.removes, retired));
        self.check_wake(side)
    }

    /// One of the parcels on their way arrives; perhaps a copy of it stays on its way.
    pub(super) fn deliver(&mut self, which: usize, stays: bool) {
        if self.network.is_empty() {
            return;
        }
        let which = which % self.network.len();
        let parcel = if stays { self.network[which].clone() } else { self.network.swap_remove(which) };
        match parcel {
            Parcel::Message { envelope, .. } => self.admit(&envelope),
            Parcel::Acknowledge { sender, by, sequence, .. } => {
                self.sides[side_of(&sender)].ledger.acknowledge(&by, sequence);
            }
            Parcel::Forget { sender, target, sequence, .. } => {
                self.sides[side_of(&target)].ledger.forget(&sender, sequence);
            }
            other => panic!("{other:?} was never sent"),
        }
    }

    pub(super) fn lose(&mut self, which: usize) {
        if !self.network.is_empty() {
            self.network.swap_remove(which % self.network.len());
        }
    }

    fn admit(&mut self, envelope: &Envelope) {
        let (from, to) = (side_of(&envelope.from), side_of(&envelope.to));
        let activities = &self.sides[to].ledger.mail.activities;
        let is_proven = || self.sides[from].stored.fields.contains_key(&Field::Outbox(envelope.sequence));
        match activities.admit(envelope) {
            Admission::Fresh if activities.knows(&envelope.from) || is_proven() => {
                let (sent, mut log) = image(self.sides[to].ledger.image.as_ref());
                let number = u32::from_be_bytes(envelope.arguments[..].try_into().unwrap());
                if number > 0 {
                    log.push(number);
                }
                self.settle(to, Work::Message(envelope), Vec::new(), Some((sent, log)));
                self.acknowledge(to, envelope);
            }
            Admission::Fresh | Admission::Gap => {}
            Admission::Duplicate => self.acknowledge(to, envelope),
        }
    }

    /// … when everything that it rests on is committed.
    fn acknowledge(&mut self, side: usize, envelope: &Envelope) {
        let release = Release::Parcel(acknowledgement(envelope, LIFE));
        if let Some(Release::Parcel(parcel)) = self.sides[side].ledger.hold(release, &Span::none()) {
            self.network.push(parcel);
        }
    }

    /// The agenda never names too few: a record whose messages are still to be applied, or with reminders, is to be woken in time.
    fn check_wake(&self, side: usize) -> Result<(), TestCaseError> {
        let stored = &self.sides[side].stored;
        let (_, applied) = self.sides[1 - side].stored.image();
        for (field, value) in &stored.fields {
            let latest = match field {
                Field::Outbox(_) => {
                    let message: Envelope = decode(value).unwrap();
                    let number = u32::from_be_bytes(message.arguments[..].try_into().unwrap());
                    if number == 0 || applied.contains(&number) {
                        continue;
                    }
                    self.now + OUTBOX_WAKE_MS
                }
                Field::Reminder(_) => decode::<Reminder>(value).unwrap().due,
                _ => continue,
            };
            let in_time = stored.wake.is_some_and(|wake| wake <= latest);
            proptest::prop_assert!(in_time, "{field:?} needs a wake until {latest}, and it is {:?}", stored.wake);
        }
        Ok(())
    }

    /// What was applied came once and in order, also while more is under way.
    pub(super) fn check_order(&self) -> Result<(), TestCaseError> {
        for side in [0, 1] {
            let (_, log) = self.sides[side].stored.image();
            let expected: Vec<u32> = (1..=log.len() as u32).collect();
            proptest::prop_assert_eq!(log, expected);
        }
        Ok(())
    }

    /// The misfortunes are over: everything that was committed is applied, and nothing is left to do.
    pub(super) fn settle_down(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..40 {
            for side in [0, 1] {
                self.fire(side);
                self.commit(side, Landing::Landed)?;
                self.dispatch(side, true);
                self.begin_trim(side);
                self.end_trim(side)?;
            }
            (0..self.network.len()).for_each(|_| self.deliver(0, false));
            self.check_order()?;
        }
        for side in [0, 1] {
            let ((sent, _), (_, log)) = (self.sides[side].stored.image(), self.sides[1 - side].stored.image());
            proptest::prop_assert_eq!(sent as usize, log.len(), "what {} sent is applied", side);
            proptest::prop_assert!(self.sides[side].ledger.mail.outbox.is_empty(), "an outbox is not empty");
            let kept = self.sides[side].stored.fields.keys().filter(|field| matches!(field, Field::Outbox(_)));
            proptest::prop_assert_eq!(kept.count(), 0, "the store keeps what was acknowledged");
        }
        Ok(())
    }
}
