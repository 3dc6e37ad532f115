use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    #[handler(name = "old")]
    async fn make() -> Self {
        Self::default()
    }
}

fn main() {}
