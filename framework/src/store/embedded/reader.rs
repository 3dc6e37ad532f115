use std::sync::mpsc::Receiver;

use bytes::Bytes;

use super::{Answer, Shared, lock};
use crate::store::{Claim, Claimed, Due, Field, Record, StoreError};
use crate::wire::EntityId;

/// What may have to wait for the disk without holding up the commits.
pub(super) enum Read {
    Claim(Claim, Answer<Claimed>),
    Due(u64, usize, Answer<Vec<Due>>),
    Has(EntityId, Field, Answer<bool>),
    Letters(usize, Answer<Vec<(EntityId, u64, Bytes)>>),
}

/// The loop of a reader's thread. All claims of one entity come to the same reader, in order.
pub(super) fn run(shared: &Shared, reads: &Receiver<Read>) {
    while let Ok(read) = reads.recv() {
        // Who asked may have gone away: then nobody hears the answer.
        match read {
            Read::Claim(claim, answer) => drop(answer.send(claim_record(shared, &claim))),
            Read::Due(until, limit, answer) => drop(answer.send(due(shared, until, limit))),
            Read::Has(id, field, answer) => drop(answer.send(shared.read(|disk| disk.has(&id, &field)))),
            Read::Letters(limit, answer) => drop(answer.send(shared.read(|disk| disk.letters(limit)))),
        }
    }
}

fn due(shared: &Shared, until: u64, limit: usize) -> Result<Vec<Due>, StoreError> {
    let from = lock(&shared.front).begin();
    let due = shared.read(|disk| disk.due(from, until, limit))?;
    if limit > 0 && from <= until {
        lock(&shared.front).end(due.first().map_or(until, |first| first.wake));
    }
    Ok(due)
}

fn claim_record(shared: &Shared, claim: &Claim) -> Result<Claimed, StoreError> {
    let granted = shared.read(|disk| {
        let (head, state, fields) = disk.record(&claim.id)?;
        // While the disk is held: when it fails, the writer takes all claims back, this one included.
        let fence = lock(&shared.claims).grant(claim, head);
        let generation = disk.generation();
        Ok(Record { fence, generation, version: head.version, state, fields, wake: head.wake })
    });
    match granted {
        Ok(record) => {
            lock(&shared.stats).claims += 1;
            Ok(Claimed::Granted(Box::new(record)))
        }
        Err(error) => {
            lock(&shared.claims).withdraw(claim);
            Err(error)
        }
    }
}
