//! A bank: makes the transfers of a CSV file between accounts, each exactly once, whatever happens to its processes
//! meanwhile. In one process, or in several: the entities are the same, and so is the client.
//!
//! * [`samples::bank`]: the entities. This is the bank.
//! * [`teller`]: the client that calls them; [`mod@run`]: everything that it does with a file.
//! * [`silo`]: a process that hosts them; [`cluster`]: several of those and their Redis, from one command.
//! * [`input`], [`options`], [`journal`], [`report`], [`failure`], [`server`]: what any program has.

mod cluster;
mod failure;
mod input;
mod journal;
mod options;
mod report;
mod run;
mod server;
mod silo;
mod teller;

use std::path::Path;
use std::process::ExitCode;

use grange::prelude::*;
use samples::bank;

use crate::failure::Failure;
use crate::input::Entry;
use crate::options::{Command, HELP, Job};
use crate::report::Report;
use crate::run::{Made, run};

#[grange::main]
async fn main() -> ExitCode {
    let level = tracing_subscriber::filter::LevelFilter::WARN;
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    match program().await {
        Ok(exit_code) => exit_code,
        Err(failure) => {
            eprintln!("bank: {failure}");
            failure.exit_code()
        }
    }
}

async fn program() -> Result<ExitCode, Failure> {
    match options::parse(std::env::args_os().skip(1))? {
        Command::Help => {
            say(HELP);
            Ok(ExitCode::SUCCESS)
        }
        Command::Local { data, job } => {
            let entries = entries(&job)?;
            let report = local(&data, &job, &entries).await?;
            Ok(conclude(&report))
        }
        Command::Client { gateways, cluster, secret_file, job } => {
            let entries = entries(&job)?;
            let mut client = Client::connect(gateways).cluster(&cluster);
            if let Some(file) = secret_file {
                client = client.secret_file(file);
            }
            let report = run(client.await?, &format!("cluster {cluster}"), &job, &entries, &Made::default()).await?;
            Ok(conclude(&report))
        }
        Command::Silo(options) => silo::serve(options).await,
        Command::Cluster(options, job) => {
            let entries = entries(&job)?;
            let report = cluster::run_all(&options, &job, &entries).await?;
            Ok(exit_code(&report))
        }
    }
}

/// A silo in this process, and its client.
async fn local(data: &Path, job: &Job, entries: &[Entry]) -> Result<Report, Failure> {
    let silo = bank::host(Silo::builder()).embedded(data).start().await?;
    let report = run(silo.client(), &data.display().to_string(), job, entries, &Made::default()).await;
    silo.shutdown().await?;
    report
}

/// The whole file, before anything else is done.
fn entries(job: &Job) -> Result<Vec<Entry>, Failure> {
    input::read(&job.file).map_err(Failure::Input)
}

fn conclude(report: &Report) -> ExitCode {
    say(report);
    exit_code(report)
}

fn exit_code(report: &Report) -> ExitCode {
    if report.adds_up() { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

#[expect(clippy::print_stdout, reason = "the help, the report and what runs where are what this program is for")]
fn say(what: impl std::fmt::Display) {
    println!("{what}");
}
