use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

type Reply<T> = Result<T, String>;

#[entity]
impl Account {
    async fn pay(&mut self) -> Reply<u64> {
        Ok(1)
    }
}

fn main() {}
