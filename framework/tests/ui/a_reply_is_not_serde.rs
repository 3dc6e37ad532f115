use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

struct Receipt;

#[entity]
impl Account {
    async fn receipt(&self) -> Receipt {
        Receipt
    }
}

fn main() {}
