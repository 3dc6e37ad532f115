use grange::prelude::*;

struct Plain;

#[entity]
impl Plain {
    async fn get(&self) {}
}

fn main() {}
