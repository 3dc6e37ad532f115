#[grange::main]
fn main() {}
