use grange::prelude::*;

#[entity]
#[derive(Default)]
struct Account {
    pool: std::rc::Rc<u64>,
}

fn main() {}
