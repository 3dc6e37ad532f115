//! Market Spread: quotes and orders for 350 symbols, an entity each; orders are refused while a symbol's market is too
//! uncertain. Says how fast that went, and compares what was refused with what a loop without entities refuses.
//!
//! * [`options`]: the command line; [`mod@run`]: hands the streams in; [`report`]: what there is to say.
//! * `samples::market_spread`: the entities, the rule and the streams, which the benchmark measures, too.

mod options;
mod report;
mod run;

use std::process::ExitCode;

use grange::prelude::*;
use samples::market_spread::{LiveMarket, LiveMarketRef, Market, MarketRef};

use crate::options::{Command, HELP, Job, Kept};
use crate::report::Report;
use crate::run::{Streams, run};

#[grange::main]
async fn main() -> ExitCode {
    let level = tracing_subscriber::filter::LevelFilter::WARN;
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    let job = match options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => return say(HELP, ExitCode::SUCCESS),
        Ok(Command::Run(job)) => job,
        Err(error) => return fail(&error, 2),
    };
    match trade(&job).await {
        Ok(report) => {
            let exit_code = if report.is_as_expected() { ExitCode::SUCCESS } else { ExitCode::from(3) };
            say(report, exit_code)
        }
        Err(error) => fail(&error, 1),
    }
}

async fn trade(job: &Job) -> grange::Result<Report> {
    let streams = Streams::of(job);
    let silo = Silo::builder().entity::<Market>().entity::<LiveMarket>();
    let silo = match &job.kept {
        Kept::InMemory => silo.in_memory(),
        Kept::OnDisk(directory) => silo.embedded(directory),
        Kept::InRedis(url) => silo.redis(url).cluster("market-spread").listen("127.0.0.1:0"),
    };
    let silo = silo.start().await?;
    let client = silo.client();
    let report = match job.kept {
        Kept::InMemory => run::<LiveMarketRef>(&client, job, &streams).await,
        Kept::OnDisk(_) | Kept::InRedis(_) => run::<MarketRef>(&client, job, &streams).await,
    };
    silo.shutdown().await?;
    report
}

#[expect(clippy::print_stdout, reason = "the help and the report are what this program is for")]
fn say(what: impl std::fmt::Display, exit_code: ExitCode) -> ExitCode {
    println!("{what}");
    exit_code
}

fn fail(error: &dyn std::fmt::Display, exit_code: u8) -> ExitCode {
    eprintln!("market-spread: {error}");
    ExitCode::from(exit_code)
}
