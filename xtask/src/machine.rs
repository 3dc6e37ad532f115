use std::env;
use std::process::Command;

use crate::step::Step;

/// What tests need beside a Rust toolchain: the program to look for, and the packages that bring it on Debian.
const PROGRAM: &str = "redis-server";
const PACKAGES: &str = "redis-server iproute2";

/// Sees to it that the machine has what the tests need.
pub(crate) fn prepare() -> Result<(), String> {
    if is_on_path(PROGRAM) {
        return Ok(());
    }
    if !(is_on_path("apt-get") && is_root()) {
        return Err(format!(
            "{PROGRAM} is not on the PATH, and the tests run real ones. Install it, on Debian or Ubuntu with\n  \
             sudo apt-get update && sudo apt-get install --yes {PACKAGES}\nand try again"
        ));
    }
    let install = format!("apt-get install --yes --no-install-recommends {PACKAGES}");
    for line in ["apt-get update", &install] {
        Step::of(line).with("DEBIAN_FRONTEND", "noninteractive").run()?;
    }
    if is_on_path(PROGRAM) { Ok(()) } else { Err(format!("apt-get ended well, and {PROGRAM} is not on the PATH")) }
}

fn is_on_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}
