#[grange::test]
fn works() {}

fn main() {}
