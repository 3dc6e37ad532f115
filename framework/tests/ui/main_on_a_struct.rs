#[grange::main]
struct Program;

fn main() {}
