use serde::Serialize;

use crate::harness::latencies::QUANTILES;
use crate::harness::usage::{Usage, Watch};
use crate::{Measured, Role};

/// What the figures of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds for each operation: less is better.
    NanosEach,
    /// Operations a second: more is better.
    PerSecond,
    /// Bytes for each thing: less is better.
    BytesEach,
    /// Milliseconds: less is better.
    Millis,
}

/// What a row is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The ratio to its base is at most this.
    RatioAtMost(f64),
    /// The ratio to its base is at least this.
    RatioAtLeast(f64),
    /// The figure itself is at most this.
    ValueAtMost(f64),
    /// The figure itself is at least this.
    ValueAtLeast(f64),
}

/// One line of a table: a thing, and its figure in each round.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// What it is there for.
    pub role: Role,
    /// The figure in each round, in the table's unit.
    pub values: Vec<f64>,
    /// What it is to reach.
    pub goal: Option<Goal>,
    /// The row that it is compared with.
    pub base: usize,
    /// More figures, by the names of their columns.
    pub cells: Vec<(String, f64)>,
    /// Rounds that did not count, and why.
    pub thrown_away: Vec<String>,
}

impl Row {
    /// A row of figures that were not measured by [`rounds`](crate::rounds).
    pub fn new(role: Role, name: impl Into<String>, values: Vec<f64>) -> Self {
        Self { name: name.into(), role, values, goal: None, base: 0, cells: Vec::new(), thrown_away: Vec::new() }
    }

    /// The middle figure.
    pub fn median(&self) -> f64 {
        median(&self.values)
    }

    /// The least figure and the greatest.
    pub fn range(&self) -> (f64, f64) {
        // NaN is what a comparison leaves behind.
        let values = self.values.iter().copied();
        (values.clone().fold(f64::NAN, f64::min), values.fold(f64::NAN, f64::max))
    }
}

/// Things that were measured in turn, side by side.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    /// What was measured.
    pub title: String,
    /// What the figures are.
    pub unit: Unit,
    /// One a thing.
    pub rows: Vec<Row>,
    /// What a reader has to know.
    pub notes: Vec<String>,
    pub(crate) usage: Usage,
    /// Whether the difference of each row to the one before it is shown.
    pub(crate) steps: bool,
}

impl Table {
    /// A table of what [`rounds`](crate::rounds) measured; all are compared with the first.
    pub fn new(title: impl Into<String>, unit: Unit, measured: Vec<Measured>) -> Self {
        let usage = measured.first().map(|first| first.usage.clone()).unwrap_or_default();
        let rows = measured.into_iter().map(|measured| row(unit, measured)).collect();
        Self { title: title.into(), unit, rows, notes: Vec::new(), usage, steps: false }
    }

    /// Who else used the machine while its figures were made: for those that `rounds` did not measure.
    pub fn watched(&mut self, watch: &Watch) {
        self.usage = watch.end();
    }

    /// One more row.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// What a reader has to know.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Shows the difference of each row to the one before it.
    pub fn as_steps(&mut self) {
        self.steps = true;
    }

    /// What this row is to reach, beside the row that it is compared with.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn goal(&mut self, row: &str, goal: Goal) {
        self.row(row).goal = Some(goal);
    }

    /// Compares this row with that one.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn compare(&mut self, row: &str, with: &str) {
        let base = self.rows.iter().position(|row| row.name == with).unwrap_or_else(|| panic!("no row `{with}`"));
        self.row(row).base = base;
    }

    /// One more figure of this row, in a column of this name.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn cell(&mut self, row: &str, column: &str, value: f64) {
        self.row(row).cells.push((column.to_owned(), value));
    }

    fn row(&mut self, name: &str) -> &mut Row {
        self.rows.iter_mut().find(|row| row.name == name).unwrap_or_else(|| panic!("no row `{name}`"))
    }

    /// The ratio of each round of this row to the same round of its base.
    pub(crate) fn ratios(&self, row: &Row) -> Vec<f64> {
        let base = &self.rows[row.base];
        if base.values.len() == row.values.len() {
            row.values.iter().zip(&base.values).map(|(value, base)| value / base).collect()
        } else {
            vec![row.median() / base.median()]
        }
    }

    /// Whether this row reached what it is to reach; `None`: it has no goal, or no figure.
    pub(crate) fn reached(&self, row: &Row) -> Option<bool> {
        let ratio = median(&self.ratios(row));
        row.goal.filter(|_| !row.values.is_empty()).map(|goal| match goal {
            Goal::RatioAtMost(most) => ratio <= most,
            Goal::RatioAtLeast(least) => ratio >= least,
            Goal::ValueAtMost(most) => row.median() <= most,
            Goal::ValueAtLeast(least) => row.median() >= least,
        })
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn row(unit: Unit, measured: Measured) -> Row {
    let value = |sample: &crate::Sample| {
        let (operations, seconds) = (sample.operations as f64, sample.elapsed.as_secs_f64());
        match unit {
            Unit::NanosEach => seconds * 1e9 / operations,
            Unit::PerSecond => operations / seconds,
            Unit::Millis => seconds * 1e3 / operations,
            Unit::BytesEach => f64::NAN,
        }
    };
    let mut row = Row::new(measured.role, measured.name.clone(), measured.samples.iter().map(value).collect());
    if let Some(latencies) = measured.latencies() {
        let micros = |share| latencies.quantile(share).as_nanos() as f64 / 1e3;
        row.cells = QUANTILES.iter().map(|(share, name)| (format!("{name} µs"), micros(*share))).collect();
    }
    row.thrown_away = measured.thrown_away;
    row
}
