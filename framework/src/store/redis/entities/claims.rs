//! Claims: an entity's owner, and its record as the owner finds it.

use std::collections::BTreeMap;
use std::rc::Rc;

use redis::{Cmd, Value};

use super::{Answer, Entities, call, just, read_fields};
use crate::store::redis::faults::unreadable;
use crate::store::redis::keys::{self, decode_field, decode_value};
use crate::store::redis::lane::Reply;
use crate::store::{Claim, Claimed, Fence, Incarnation, Record, StoreError};

impl Entities {
    pub(crate) fn claim(self, claim: Claim, reply: Reply<Claimed>) {
        let command = self.command_of(&claim);
        let claim = Rc::new(claim);
        let granted = claim.clone();
        self.begin(
            claim.id.clone(),
            ([command], 0),
            reply,
            move |entities, answer| entities.claimed(&granted, answer),
            move |entities, sent| async move {
                let again = just(entities.command_of(&claim));
                let answer = entities.ask(&claim.id, &again, Some(sent)).await?;
                entities.claimed(&claim, answer)
            },
        );
    }

    fn command_of(&self, claim: &Claim) -> Cmd {
        let setup = &self.routes.setup;
        let mut command = call(&setup.scripts.claim, 2);
        command.arg(self.entity_key(&claim.id)).arg(setup.life_key(self.partition(&claim.id)));
        command.arg(keys::encode_incarnation(claim.owner)).arg(keys::encode_number(claim.nonce));
        match claim.over {
            Some(over) => command.arg(keys::encode_incarnation(over)),
            None => command.arg(""),
        };
        command
    }

    fn claimed(&self, claim: &Claim, mut answer: Answer) -> Result<Claimed, StoreError> {
        let found = answer.rest.pop().ok_or_else(|| unreadable(&claim.id))?;
        let claimed = match &*answer.word {
            "TAKEN" => Claimed::Taken { owner: read_incarnation(found).ok_or_else(|| unreadable(&claim.id))? },
            "OK" => {
                let (record, tombstones) = read_record(found, claim, answer.life)?;
                self.sweep_later(&claim.id, tombstones);
                Claimed::Granted(Box::new(record))
            }
            _ => return Err(unreadable(&claim.id)),
        };
        self.shared.count(|stats| stats.claims += 1);
        Ok(claimed)
    }
}

fn read_incarnation(value: Value) -> Option<Incarnation> {
    let text: String = redis::from_redis_value(value).ok()?;
    Incarnation::try_parse(&text).ok()
}

/// The record as a claim finds it, and the names of its tombstones.
fn read_record(value: Value, claim: &Claim, generation: u64) -> Result<(Record, Vec<Vec<u8>>), StoreError> {
    let bad = || unreadable(&claim.id);
    let number = |value: &[u8]| std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
    let fence = Fence { owner: claim.owner, nonce: claim.nonce, epoch: 0 };
    let mut record = Record { fence, generation, version: 0, state: None, fields: BTreeMap::new(), wake: None };
    let mut tombstones = Vec::new();
    for (name, value) in read_fields(value, &claim.id)? {
        match name.as_slice() {
            keys::OWNER | keys::NONCE | keys::COMMIT => {}
            keys::EPOCH => record.fence.epoch = number(&value).ok_or_else(bad)?,
            keys::VERSION => record.version = number(&value).ok_or_else(bad)?,
            keys::WAKE if value.is_empty() => {}
            keys::WAKE => record.wake = Some(number(&value).ok_or_else(bad)?),
            keys::STATE => record.state = decode_value(&value).map_err(|()| bad())?,
            _ => match (decode_field(&name), decode_value(&value).map_err(|()| bad())?) {
                (Some(field), Some(value)) => drop(record.fields.insert(field, value)),
                (_, None) => tombstones.push(name),
                // Of a newer version, which knows what it is for: it stays where it is.
                (None, Some(_)) => {}
            },
        }
    }
    Ok((record, tombstones))
}
