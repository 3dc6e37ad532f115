use grange::prelude::*;

#[entity]
impl<T> Account<T> {
    async fn pay(&mut self) {}
}

struct Account<T>(T);

fn main() {}
