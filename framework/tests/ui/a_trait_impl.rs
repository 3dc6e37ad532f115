use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

trait Pays {
    async fn pay(&mut self);
}

#[entity]
impl Pays for Account {
    async fn pay(&mut self) {}
}

fn main() {}
