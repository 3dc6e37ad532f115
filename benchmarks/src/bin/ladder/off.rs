//! What a feature costs where it is not used: nothing. Its allocations and its Redis commands are counted.

use benchmarks::callers::Callers;
use benchmarks::local::Local;
use benchmarks::{Case, Options, Table, Unit, rounds};
use grange::Silo;

use crate::counts::Counter;
use crate::silos::Silos;

pub(crate) const TITLE: &str = "what is off costs nothing; one caller";

pub(crate) fn table(options: &Options, silos: &Silos<'_>, counter: &Counter<'_>) -> Table {
    let measured = rounds(options, cases(silos));
    let mut table = Table::new(TITLE, Unit::NanosEach, measured);
    for mut case in cases(silos) {
        let name = case.name().to_owned();
        counter.count(&mut case, 20_000).show(&mut table, &name);
    }
    for (row, base) in PAIRS {
        table.compare(row, base);
    }
    table.note("in each pair the second silo listens, has a lease and keeps everything in Redis");
    table
}

const PAIRS: [(&str, &str); 3] = [
    ("ask, volatile; silo on Redis", "ask, volatile; silo alone"),
    ("read, durable; silo on Redis", "read, durable; silo alone"),
    ("turn that changes nothing; silo on Redis", "turn that changes nothing; silo alone"),
];

fn cases<'a>(silos: &'a Silos<'_>) -> Vec<Case<'a>> {
    let case = |name: &'static str, local: Local, silo: &'a Silo| {
        Case::grange(name, move |operations| silos.local(local, silo, Callers(1), operations))
    };
    vec![
        case(PAIRS[0].1, Local::Ask, &silos.memory),
        case(PAIRS[0].0, Local::Ask, &silos.on_redis),
        case(PAIRS[1].1, Local::Read, &silos.memory),
        case(PAIRS[1].0, Local::Read, &silos.on_redis),
        case(PAIRS[2].1, Local::Look, &silos.memory),
        case(PAIRS[2].0, Local::Look, &silos.on_redis),
        case("turn that changes its state, memory store", Local::Turn, &silos.memory),
    ]
}
