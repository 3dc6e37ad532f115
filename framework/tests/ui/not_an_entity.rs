use grange::prelude::*;

struct Plain;

fn reference(client: Client) {
    client.entity::<Plain>("x");
}

fn main() {
    let _ = reference;
}
