use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn pay(&mut self) -> anyhow::Result<u64> {
        anyhow::bail!("no")
    }
}

fn main() {}
