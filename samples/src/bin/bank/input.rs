use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};
use samples::bank::Order;

const COLUMNS: [&str; 4] = ["id", "from", "to", "amount"];
const AMOUNT_MAX: u64 = 1_000_000_000_000;
const NAME_BYTES_MAX: usize = 64;
const MISTAKES_SHOWN_MAX: usize = 20;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) line: u64,
    pub(crate) id: String,
    pub(crate) order: Order,
}

/// Why the file can't be used: what is wrong, and where.
#[derive(Debug)]
pub(crate) struct Mistakes {
    file: String,
    /// By line; 0 is the file as a whole.
    mistakes: Vec<(u64, String)>,
}

impl Mistakes {
    pub(crate) fn new(file: &Path, mistakes: Vec<(u64, String)>) -> Self {
        Self { file: file.display().to_string(), mistakes }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, mistake) in self.mistakes.iter().take(MISTAKES_SHOWN_MAX) {
            match line {
                0 => writeln!(f, "{}: {mistake}", self.file)?,
                line => writeln!(f, "{}:{line}: {mistake}", self.file)?,
            }
        }
        if self.mistakes.len() > MISTAKES_SHOWN_MAX {
            writeln!(f, "… and {} more", self.mistakes.len() - MISTAKES_SHOWN_MAX)?;
        }
        write!(f, "no transfer was made")
    }
}

/// Reads the whole file before the first transfer is made, so that nothing is half-applied.
pub(crate) fn read(file: &Path) -> Result<Vec<Entry>, Mistakes> {
    let bytes = fs::read(file).map_err(|error| Mistakes::new(file, vec![(0, format!("can't be read: {error}"))]))?;
    parse(&bytes).map_err(|mistakes| Mistakes::new(file, mistakes))
}

fn parse(bytes: &[u8]) -> Result<Vec<Entry>, Vec<(u64, String)>> {
    // `flexible`: a line with too few fields is a mistake of that line, not the end of the file.
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(bytes);
    let (mut entries, mut mistakes) = (Vec::new(), Vec::new());
    let mut line_of_id = HashMap::new();
    let mut headed = false;
    let mut record = StringRecord::new();
    loop {
        let line = line_of(bytes, reader.position());
        match reader.read_record(&mut record) {
            Ok(false) if !headed => return Err(vec![(0, "is empty".into())]),
            Ok(false) => break,
            Ok(true) if !headed => {
                headed = true;
                if record != COLUMNS[..] {
                    let found = record.iter().collect::<Vec<_>>().join(",");
                    let mistake = format!("the first line must be `{}`, not `{found}`", COLUMNS.join(","));
                    return Err(vec![(line, mistake)]);
                }
            }
            Ok(true) => match entry(line, &record) {
                Ok(entry) => match line_of_id.insert(entry.id.clone(), line) {
                    None => entries.push(entry),
                    Some(first) => mistakes.push((line, format!("the id `{}` is on line {first} already", entry.id))),
                },
                Err(mistake) => mistakes.push((line, mistake)),
            },
            Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                headed = true;
                mistakes.push((line, "is not UTF-8".into()));
            }
            Err(error) => return Err(vec![(line, error.to_string())]),
        }
    }
    if entries.is_empty() && mistakes.is_empty() {
        mistakes.push((0, "has no transfers".into()));
    }
    if mistakes.is_empty() { Ok(entries) } else { Err(mistakes) }
}

/// The line on which the next record begins: the reader skips empty lines, and its position is before them.
fn line_of(bytes: &[u8], position: &csv::Position) -> u64 {
    let next = usize::try_from(position.byte()).map_or(&[][..], |byte| &bytes[byte..]);
    let skipped = next.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + skipped.fold(0, |lines, byte| lines + u64::from(*byte == b'\n'))
}

fn entry(line: u64, record: &StringRecord) -> Result<Entry, String> {
    let fields: Vec<&str> = record.iter().collect();
    let [id, from, to, amount] = fields[..] else {
        return Err(format!("there must be {} fields, not {}: {}", COLUMNS.len(), fields.len(), COLUMNS.join(",")));
    };
    for (column, name) in COLUMNS.iter().zip([id, from, to]) {
        check_name(name).map_err(|mistake| format!("`{column}` {mistake}"))?;
    }
    if from == to {
        return Err(format!("`from` and `to` are both `{from}`"));
    }
    let order = Order { from: from.into(), to: to.into(), amount: parse_amount(amount)? };
    Ok(Entry { line, id: id.into(), order })
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty".into());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("has {} bytes, and may have {NAME_BYTES_MAX}", name.len()));
    }
    match name.chars().find(|character| !character.is_alphanumeric() && !"-_.".contains(*character)) {
        Some(character) => Err(format!("is {name:?}: {character:?} is no letter, no digit and none of `-_.`")),
        None => Ok(()),
    }
}

fn parse_amount(amount: &str) -> Result<u64, String> {
    match amount.parse() {
        Ok(value) if (1..=AMOUNT_MAX).contains(&value) => Ok(value),
        _ => Err(format!("`amount` is {amount:?}: it must be a whole number from 1 to {AMOUNT_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &str, expected: &[(u64, &str)]) {
        let found = parse(format!("id,from,to,amount\n{lines}").as_bytes()).expect_err("it should be refused");
        let found: Vec<_> = found.iter().map(|(line, mistake)| (*line, mistake.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_bad_line_is_named() {
        check("", &[(0, "has no transfers")]);
        check("1,a,b,5\n\n\n2,a,b,x", &[(5, "`amount` is \"x\": it must be a whole number from 1 to 1000000000000")]);
        check("1,a,b,5\r\n1,a,b,5\r\n", &[(3, "the id `1` is on line 2 already")]);
        check(
            "1,a,b\n2,a,a,1\n,a,b,1\n4,a b,b,1\n",
            &[
                (2, "there must be 4 fields, not 3: id,from,to,amount"),
                (3, "`from` and `to` are both `a`"),
                (4, "`id` is empty"),
                (5, "`from` is \"a b\": ' ' is no letter, no digit and none of `-_.`"),
            ],
        );
    }

    #[test]
    fn only_whole_positive_amounts_within_the_limit_are_amounts() {
        for amount in ["0", "-1", "1.5", "1e3", "", "1000000000001", "18446744073709551616", "１"] {
            assert!(parse_amount(amount).is_err(), "{amount}");
        }
        assert_eq!((parse_amount("1"), parse_amount("1000000000000")), (Ok(1), Ok(AMOUNT_MAX)));
    }

    #[test]
    fn quoted_fields_spaces_and_a_mark_at_the_start_are_read() {
        let entries = parse("\u{feff}id,from,to,amount\n\"1\", a ,b,5\n".as_bytes()).expect("a good file");
        let order = Order { from: "a".into(), to: "b".into(), amount: 5 };
        assert_eq!(entries, [Entry { line: 2, id: "1".into(), order }]);
    }
}
