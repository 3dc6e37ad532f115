//! A handler and everything of it is compiled under its `cfg`.
use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account;

#[entity]
impl Account {
    #[cfg(any())]
    async fn platform(&self) -> DoesNotExist {}
    #[cfg(all())]
    async fn platform(&self) -> u8 {
        1
    }
    #[cfg(any())]
    async fn on_activate(&mut self) -> DoesNotExist {}
    #[cfg(any())]
    async fn continued(&mut self, outcome: Outcome<DoesNotExist>) {}
}

fn main() {
    let _ = |client: Client| drop(client.entity::<Account>("x").platform());
}
