use crate::step::Step;

/// The benchmarks, each a program of the workspace in `benchmarks/`, in the order in which all of them run.
const NAMES: [&str; 8] = ["ladder", "limits", "peers", "market-spread", "storage", "memory", "failover", "orleans"];

/// Runs one of them, or all.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        [name, options @ ..] if NAMES.contains(name) => one(name, options),
        [name, ..] if !name.starts_with('-') => {
            Err(format!("there is no benchmark `{name}`; there are {}", NAMES.join(", ")))
        }
        options => NAMES.iter().try_for_each(|name| one(name, options)),
    }
}

/// What calls allocate and ask of Redis has not grown.
pub(crate) fn guard() -> Step {
    counts("ladder").and(&["--check"])
}

fn one(name: &str, options: &[&str]) -> Result<(), String> {
    if options.contains(&"--check") || options.contains(&"--store") {
        return counts(name).and(options).run();
    }
    if name == "peers" {
        build_peers();
    }
    let program = format!("cargo run --quiet --release --manifest-path benchmarks/Cargo.toml --bin {name} --");
    Step::of(&program).and(options).run()
}

/// Other frameworks, in a workspace of their own. One that does not build is left out of what is measured.
fn build_peers() {
    let build = "cargo build --quiet --release --keep-going --manifest-path benchmarks/peers/Cargo.toml";
    if let Err(failed) = Step::of(build).run() {
        eprintln!("xtask: {failed}: peers that were not built are left out");
    }
}

/// Counts, and not times: a build without optimizations counts the same, and is made in the directory of the framework's own
/// builds, so that little is compiled anew.
fn counts(name: &str) -> Step {
    Step::of(&format!("cargo run --quiet --manifest-path benchmarks/Cargo.toml --target-dir target --bin {name} --"))
}
