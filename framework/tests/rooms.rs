//! Which room of the framework may name which: what keeps the arrows one way. ARCHITECTURE.md says why.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms that it may name. What is not here is an absence that holds.
const ROOMS: &[(&str, &[&str])] = &[
    ("telemetry", &[]),
    ("wire", &[]),
    ("store", &["wire"]),
    ("cluster", &["telemetry", "wire", "store", "entity"]),
    ("messaging", &["wire"]),
    ("entity", &["wire"]),
    ("silo", &["telemetry", "wire", "store", "cluster", "messaging", "entity"]),
    ("client", &["wire", "cluster", "entity"]),
    ("testing", &["wire", "store", "cluster", "messaging", "entity", "silo"]),
];

#[test]
fn a_room_names_only_rooms_below_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (room, may) in ROOMS {
        let files = files(&source.join(room));
        assert!(!files.is_empty(), "the room `{room}` has no files: is the table right?");
        for file in files {
            for named in rooms_named(&fs::read_to_string(&file).unwrap()) {
                if named != *room && !may.contains(&named) {
                    wrong.push(format!("{}: `{room}` names `{named}`", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_is_in_the_table() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms: BTreeSet<String> = fs::read_dir(source)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(rooms, ROOMS.iter().map(|(room, _)| (*room).to_owned()).collect());
}

#[test]
fn a_named_room_is_found_in_any_shape() {
    let source = "use crate::silo::Host;\nuse crate::{CallError, wire};\n// crate::client in a comment\nlet x = crate::store::y;";
    assert_eq!(rooms_named(source), ["silo", "store", "wire"].into());
}

fn files(room: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(room).map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or(vec![]);
    entries
        .into_iter()
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn rooms_named(source: &str) -> BTreeSet<&'static str> {
    let code: String = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join(" ");
    let mut named = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let group = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or(rest, |(group, _)| group);
        let names = if rest.starts_with('{') {
            group
        } else {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
        };
        for name in names.split(|c: char| !c.is_alphanumeric() && c != '_') {
            named.extend(ROOMS.iter().map(|(room, _)| *room).filter(|room| *room == name));
        }
    }
    named
}
