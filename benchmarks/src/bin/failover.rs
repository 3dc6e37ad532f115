//! How long the entities of a silo are away when it is killed with `kill -9`: three silos as processes on one Redis.
//!
//! `cargo xtask bench failover`

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use benchmarks::servers::{Fsync, Redis};
use benchmarks::subjects::{Counter, Home, Hopper};
use benchmarks::{Goal, Latencies, Options, Report, Role, Row, Table, Unit, Watch};
use futures_util::future::join_all;
use grange::prelude::*;

const SILOS: usize = 3;
const CLUSTER: &str = "failover";

/// Entities of the victim that are asked at each kill.
const ASKED: usize = 20;

/// How a program is told that it is a silo, and which.
const SILO: &str = "--silo";

fn main() {
    let options = Options::from_arguments();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let [flag, number] = &options.rest[..]
        && flag == SILO
    {
        return runtime.block_on(serve(number.parse().expect("a number")));
    }
    let mut report = Report::new("failover", options.clone());
    let table = runtime.block_on(table(&options, &mut report));
    report.show(table);
    report.finish();
}

/// Is a silo until it is killed.
async fn serve(number: u32) {
    let silo = Silo::from_env().entity::<Counter>().entity::<Hopper>().data(Home(number)).workers(1);
    let silo = silo.start().await.expect("starts");
    println!("{}", silo.address().expect("it listens"));
    silo.run_until_signal().await;
}

/// A silo as a process, killed when it is dropped.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(redis: &Redis, number: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([SILO, &number.to_string()]).stdout(Stdio::piped());
        command.env("GRANGE_REDIS", redis.url()).env("GRANGE_CLUSTER", CLUSTER).env("GRANGE_LISTEN", "127.0.0.1:0");
        let mut child = command.spawn().expect("a silo starts");
        let mut address = String::new();
        let said = child.stdout.take().expect("it is piped");
        BufReader::new(said).read_line(&mut address).expect("it says where it is");
        Self { child, address: address.trim().to_owned() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // `kill -9`; it may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn table(options: &Options, report: &mut Report) -> Table {
    let redis = Redis::start(Fsync::Always).await;
    report.fact(redis.description());
    let watch = Watch::begin();
    let mut silos: Vec<Process> = (0..SILOS).map(|number| Process::start(&redis, number)).collect();
    let kills = options.scale(15, 3);
    let (mut firsts, mut all) = (Vec::new(), Latencies::default());
    for kill in 0..kills {
        let victim = kill as usize % SILOS;
        let times = one_kill(&mut silos, victim, kill).await;
        times.iter().for_each(|time| all.record(*time));
        firsts.push(times.iter().max().expect("some were asked").as_secs_f64() * 1e3);
        silos[victim] = Process::start(&redis, victim);
        // It is given its share again.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let mut row = Row::new(Role::Grange, "the last answer of its entities after a kill", firsts);
    row.goal = Some(Goal::ValueAtMost(2_000.0));
    for (share, name) in [(0.5, "p50 of all, ms"), (0.99, "p99 of all, ms")] {
        row.cells.push((name.into(), all.quantile(share).as_secs_f64() * 1e3));
    }
    let mut table = Table::new("kill -9 of one of three silos", Unit::Millis, Vec::new());
    table.push(row);
    table.watched(&watch);
    table.note(format!(
        "{kills} kills, {ASKED} entities of the victim asked at each, idempotent, through the two that live"
    ));
    table
}

/// How long each of some entities of the victim was away.
async fn one_kill(silos: &mut [Process], victim: usize, kill: u64) -> Vec<Duration> {
    let others: Vec<String> =
        silos.iter().enumerate().filter(|(place, _)| *place != victim).map(|(_, silo)| silo.address.clone()).collect();
    let client = Client::connect(others).cluster(CLUSTER).await.expect("connects");
    let mut its = Vec::new();
    for number in 0.. {
        let entity = client.entity::<Hopper>(kill * 100_000 + number);
        if entity.home().await.expect("answers") as usize == victim {
            its.push(entity);
        }
        assert!(number < 10_000, "the victim got too few entities");
        if its.len() == ASKED {
            break;
        }
    }
    let _ = silos[victim].child.kill();
    let killed = Instant::now();
    let asks = its.iter().map(async |entity| {
        entity.hop(0, 0).idempotent(Uuid::now_v7()).await.expect("it answers elsewhere");
        killed.elapsed()
    });
    join_all(asks).await
}
