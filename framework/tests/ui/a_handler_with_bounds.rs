use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn pay(&mut self)
    where
        String: Clone,
    {
    }
}

fn main() {}
