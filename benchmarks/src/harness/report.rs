use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use crate::harness::{chart, text};
use crate::{Machine, Options, Table};

/// What a program here measured: printed as it comes, and kept in `benchmarks/results/` as JSON and as a plot.
#[derive(Debug)]
pub struct Report {
    name: String,
    options: Options,
    machine: Machine,
    facts: Vec<String>,
    tables: Vec<Table>,
}

/// What is kept.
#[derive(Serialize)]
struct Kept<'a> {
    name: &'a str,
    quick: bool,
    rounds: usize,
    machine: &'a Machine,
    facts: &'a [String],
    tables: &'a [Table],
}

impl Report {
    /// A report that begins; says where it is and what it is made of.
    pub fn new(name: &str, options: Options) -> Self {
        let machine = Machine::here();
        println!("== {name}{}", if options.quick { " (quick: short rounds)" } else { "" });
        machine.lines().iter().for_each(|line| println!("{line}"));
        Self { name: name.into(), options, machine, facts: Vec::new(), tables: Vec::new() }
    }

    /// How it was asked for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Something that holds for all of it, such as the settings of a server.
    pub fn fact(&mut self, fact: impl Into<String>) {
        let fact = fact.into();
        println!("{fact}");
        self.facts.push(fact);
    }

    /// Prints a table, and keeps it.
    pub fn show(&mut self, table: Table) {
        text::lines(&table).iter().for_each(|line| println!("{line}"));
        self.tables.push(table);
    }

    /// Writes what is kept.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn finish(self) {
        if self.tables.is_empty() {
            return println!("nothing was measured");
        }
        let json = self.path("json");
        let kept = Kept {
            name: &self.name,
            quick: self.options.quick,
            rounds: self.options.rounds,
            machine: &self.machine,
            facts: &self.facts,
            tables: &self.tables,
        };
        let written = serde_json::to_string_pretty(&kept).expect("figures are JSON");
        fs::write(&json, written + "\n").unwrap_or_else(|error| panic!("{}: {error}", json.display()));
        let (svg, [machine, _]) = (self.path("svg"), self.machine.lines());
        chart::draw(&svg, &self.name, &machine, &self.tables)
            .unwrap_or_else(|error| panic!("{}: {error}", svg.display()));
        println!("\nkept in {} and {}", json.display(), svg.display());
    }

    fn path(&self, extension: &str) -> PathBuf {
        let Machine { date, commit, .. } = &self.machine;
        let quick = if self.options.quick { "-quick" } else { "" };
        let results = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results");
        results.join(format!("{date}-{commit}-{}{quick}.{extension}", self.name))
    }
}
