use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn pay(&mut self, to: std::rc::Rc<u64>) {
        drop(to);
    }
}

fn main() {}
