use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::SystemTime;

use serde::Serialize;

/// The crates whose versions a reader wants to know.
const CRATES: [&str; 16] = [
    "actix",
    "actix-rt",
    "axactor",
    "coerce",
    "elfo",
    "fjall",
    "grange",
    "kameo",
    "orlando",
    "ractor",
    "ractor_cluster",
    "redis",
    "rio-rs",
    "rmp-serde",
    "tokio",
    "uuid",
];

/// Where and of what something was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Year, month and day, UTC.
    pub date: String,
    /// The commit, and whether there were changes on top of it.
    pub commit: String,
    /// The processor's model.
    pub processor: String,
    /// How many cores there are.
    pub cores: usize,
    /// The memory in GiB.
    pub memory_gib: u64,
    /// The kernel.
    pub kernel: String,
    /// The hypervisor, if there is one.
    pub is_virtual: bool,
    /// The compiler.
    pub rustc: String,
    /// The versions of crates that matter.
    pub versions: BTreeMap<String, String>,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib: u64 = field(&memory, "MemTotal").trim_end_matches("kB").trim().parse().unwrap_or(0);
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string()[..10].to_owned(),
            commit: commit(),
            processor: field(&processors, "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kib.div_ceil(1 << 20),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            is_virtual: field(&processors, "flags").split(' ').any(|flag| flag == "hypervisor"),
            rustc: said_by("rustc", &["--version"]),
            versions: versions(include_str!("../../Cargo.lock")),
        }
    }

    pub(crate) fn lines(&self) -> [String; 2] {
        let versions = self.versions.iter().map(|(name, version)| format!("{name} {version}"));
        let guest = if self.is_virtual { ", a virtual machine" } else { "" };
        [
            format!(
                "{}: {} cores, {} GiB{guest}; Linux {}; {}; grange {} of {}",
                self.processor, self.cores, self.memory_gib, self.kernel, self.rustc, self.commit, self.date
            ),
            versions.collect::<Vec<_>>().join(", "),
        ]
    }
}

fn commit() -> String {
    let here = ["-C", env!("CARGO_MANIFEST_DIR")];
    let commit = said_by("git", &[&here[..], &["rev-parse", "--short=10", "HEAD"]].concat());
    let changes = said_by("git", &[&here[..], &["status", "--porcelain", "--untracked-files=no"]].concat());
    if changes.is_empty() { commit } else { format!("{commit}+changes") }
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn field(text: &str, name: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.unwrap_or("unknown").trim().to_owned()
}

fn versions(lock: &str) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let quoted = |key: &str| {
            package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
        };
        if let (Some(name), Some(version)) = (quoted("name"), quoted("version"))
            && CRATES.contains(&name)
        {
            versions.insert(name.to_owned(), version.to_owned());
        }
    }
    versions
}
