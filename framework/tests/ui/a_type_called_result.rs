use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

mod exam {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub struct Result;
}

#[entity]
impl Account {
    async fn pay(&mut self) -> exam::Result {
        exam::Result
    }
}

fn main() {}
