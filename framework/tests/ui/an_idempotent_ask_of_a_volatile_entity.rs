use grange::prelude::*;

#[entity(volatile)]
#[derive(Default)]
struct Room;

#[entity]
impl Room {
    async fn enter(&mut self) {}
}

async fn enter(client: Client) {
    drop(client.entity::<Room>("x").enter().idempotent(Uuid::now_v7()).await);
}

fn main() {
    let _ = enter;
}
