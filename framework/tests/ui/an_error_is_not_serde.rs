use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn pay(&mut self) -> Result<u64, std::io::Error> {
        Ok(1)
    }
}

fn main() {}
