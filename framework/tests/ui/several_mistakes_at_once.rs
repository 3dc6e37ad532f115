use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn close(self) {}
    async fn pay(&mut self, to: &str) {
        drop(to.to_owned());
    }
    fn helper(&self) {}
    async fn good(&self) {}
    async fn caller(&self, turn: &Turn<Self>) {
        // No mistake: stubs stand for the wrong ones.
        drop((turn.me().pay("bob"), turn.me().close(), turn.me().good()));
    }
}

fn main() {}
