//! A raw actix actor, with the state and the message of the entities that are measured: what there is without grange.

use actix::{Actor, Context, Handler, Message};

/// 64 bytes of state.
#[derive(Debug, Default)]
pub struct Raw {
    count: u64,
    _ballast: [u64; 7],
}

impl Actor for Raw {
    type Context = Context<Self>;
}

/// Adds, and answers the sum.
#[derive(Debug)]
pub struct Add(pub u64);

impl Message for Add {
    type Result = u64;
}

impl Handler<Add> for Raw {
    type Result = u64;
    fn handle(&mut self, Add(n): Add, _: &mut Self::Context) -> u64 {
        self.count += n;
        self.count
    }
}
