use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    #[handler(rename = "pay")]
    async fn transfer(&mut self) {}
}

fn main() {}
