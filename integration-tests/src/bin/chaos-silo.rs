//! A silo with the entities under test. All it is told, it is told by the environment: `GRANGE_REDIS` and the others.

use std::process::ExitCode;

use grange::Silo;
use integration_tests::application::host;
use integration_tests::servers::READY;
use tracing_subscriber::filter::LevelFilter;

#[grange::main]
#[expect(clippy::print_stdout, reason = "who started it waits for this line")]
async fn main() -> ExitCode {
    let level = std::env::var("GRANGE_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(false).init();
    match host(Silo::from_env()).start().await {
        Ok(silo) => {
            println!("{READY}");
            silo.run_until_signal().await
        }
        Err(error) => {
            eprintln!("chaos-silo: {error}");
            ExitCode::FAILURE
        }
    }
}
