//! What a feature costs where it is not used: nothing. Its allocations and its Redis commands are counted.

use benchmarks::callers::Callers;
use benchmarks::{Case, Options, Table, Unit, rounds};

use crate::counts;
use crate::silos::Silos;
use crate::steps::{ask, look, read, turn};

pub(crate) const TITLE: &str = "what is off costs nothing; one caller";

pub(crate) fn table(options: &Options, silos: &Silos<'_>) -> Table {
    let measured = rounds(options, cases(silos));
    let mut table = Table::new(TITLE, Unit::NanosEach, measured);
    for mut case in cases(silos) {
        let name = case.name().to_owned();
        counts::of(silos, &mut case, 20_000).show(&mut table, &name);
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
    let one = Callers(1);
    let silo = [&silos.memory, &silos.on_redis];
    vec![
        Case::grange(PAIRS[0].1, move |operations| ask(silos, silo[0], one, operations)),
        Case::grange(PAIRS[0].0, move |operations| ask(silos, silo[1], one, operations)),
        Case::grange(PAIRS[1].1, move |operations| read(silos, silo[0], one, operations)),
        Case::grange(PAIRS[1].0, move |operations| read(silos, silo[1], one, operations)),
        Case::grange(PAIRS[2].1, move |operations| look(silos, silo[0], one, operations)),
        Case::grange(PAIRS[2].0, move |operations| look(silos, silo[1], one, operations)),
        Case::grange("turn that changes its state, memory store", move |operations| {
            turn(silos, silo[0], one, operations)
        }),
    ]
}
