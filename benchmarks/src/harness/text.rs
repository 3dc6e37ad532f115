//! A table as lines of text.

use crate::harness::table::median;
use crate::{Goal, Role, Row, Table, Unit};

/// All of it.
pub(crate) fn lines(table: &Table) -> Vec<String> {
    let columns = columns(table);
    let mut grid = vec![head(table, &columns)];
    grid.extend((0..table.rows.len()).map(|place| line(table, place, &columns)));
    let mut lines = vec![String::new(), format!("{} [{}]", table.title, unit(table.unit))];
    lines.extend(aligned(&grid));
    lines.extend(table.rows.iter().filter_map(thrown_away));
    lines.extend(table.notes.iter().map(|note| format!("  {note}")));
    let rounds = table.rows.iter().map(|row| row.values.len()).max().unwrap_or(0);
    lines.push(format!("  medians (least – greatest) of {rounds} interleaved rounds; {}", table.usage.line()));
    lines
}

fn thrown_away(row: &Row) -> Option<String> {
    let last = row.thrown_away.last()?;
    let (rounds, left) = (row.thrown_away.len(), row.values.len());
    Some(format!("  THROWN AWAY: {rounds} rounds of {}, the last because {last}; {left} are left", row.name))
}

pub(crate) fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::NanosEach => "ns each",
        Unit::PerSecond => "per second",
        Unit::BytesEach => "bytes each",
        Unit::Millis => "ms",
    }
}

fn columns(table: &Table) -> Vec<String> {
    let mut columns = Vec::new();
    for (column, _) in table.rows.iter().flat_map(|row| &row.cells) {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    columns
}

fn head(table: &Table, columns: &[String]) -> Vec<String> {
    let mut head: Vec<String> = ["", "median", "range", "ratio"].map(String::from).to_vec();
    if table.steps {
        head.push("step".into());
    }
    head.extend(columns.iter().cloned());
    if table.rows.iter().any(|row| row.goal.is_some()) {
        head.push("goal".into());
    }
    head
}

fn line(table: &Table, place: usize, columns: &[String]) -> Vec<String> {
    let row = &table.rows[place];
    let (least, greatest) = row.range();
    let mut line = vec![
        format!("  {}{}", mark(row.role), row.name),
        number(row.median()),
        format!("{} – {}", number(least), number(greatest)),
        format!("{:.2}×", median(&table.ratios(row))),
    ];
    if table.steps {
        let before = place.checked_sub(1).map(|before| row.median() - table.rows[before].median());
        line.push(
            before
                .map(|step| format!("{}{}", if step < 0.0 { "−" } else { "+" }, number(step.abs())))
                .unwrap_or_default(),
        );
    }
    let cell = |column: &String| row.cells.iter().find(|(name, _)| name == column).map(|(_, value)| number(*value));
    line.extend(columns.iter().map(|column| cell(column).unwrap_or_default()));
    line.push(goal(table, row));
    line
}

fn goal(table: &Table, row: &Row) -> String {
    let wanted = match row.goal {
        None => return String::new(),
        Some(Goal::RatioAtMost(most)) => format!("≤ {most}×"),
        Some(Goal::RatioAtLeast(least)) => format!("≥ {least}×"),
        Some(Goal::ValueAtMost(most)) => format!("≤ {}", number(most)),
        Some(Goal::ValueAtLeast(least)) => format!("≥ {}", number(least)),
    };
    let verdict = match table.reached(row) {
        Some(true) => "reached",
        Some(false) => "MISSED",
        None => "NOT MEASURED",
    };
    format!("{wanted} {verdict}")
}

fn mark(role: Role) -> &'static str {
    match role {
        Role::Limit => "limit   ",
        Role::Grange => "grange  ",
        Role::Peer => "peer    ",
    }
}

/// Three digits or all before the point, in groups.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "?".into(),
        0.0 => "0".into(),
        small if small < 10.0 => format!("{value:.2}"),
        small if small < 100.0 => format!("{value:.1}"),
        _ => grouped(value.round() as i64),
    }
}

fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

fn aligned(grid: &[Vec<String>]) -> Vec<String> {
    let columns = grid.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        grid.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let padded = |(column, cell): (usize, &String)| {
        let space = " ".repeat(widths[column] - cell.chars().count());
        if column == 0 { format!("{cell}{space}") } else { format!("  {space}{cell}") }
    };
    grid.iter().map(|line| line.iter().enumerate().map(padded).collect::<String>().trim_end().to_owned()).collect()
}
