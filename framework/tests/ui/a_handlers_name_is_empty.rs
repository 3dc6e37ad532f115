use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    #[handler(name = "")]
    async fn pay(&mut self) {}
}

fn main() {}
