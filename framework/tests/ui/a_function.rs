use grange::prelude::*;

#[entity]
fn balance() {}

fn main() {}
