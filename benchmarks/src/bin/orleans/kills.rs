use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use benchmarks::{Report, Role, Row, Table, Unit};
use futures_util::future::join_all;
use grange::{CallError, Client};
use tokio::time::sleep;

use crate::entities::Ping;
use crate::silos::{Cluster, runtime};

const CALLERS: u64 = 100;
const SILOS: usize = 3;

/// Between two kills: longer than it takes until all is well again.
const QUIET: Duration = Duration::from_secs(5);

/// After it no call goes on waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pings go on while silos are killed.
pub(crate) fn measure(report: &mut Report) {
    const TITLE: &str = "pings while silos are killed (Orleans: DistributedTests, ping with a chaos agent)";
    if !report.options().wants(TITLE) {
        return;
    }
    let kills = report.options().scale(report.options().rounds.max(5) as u64, 3) as usize;
    let runtime = runtime();
    let seen = runtime.block_on(tokio::task::LocalSet::new().run_until(under_kills(kills)));
    let mut table = Table::new(TITLE, Unit::Millis, Vec::new());
    let name = "longest gap of any entity, each kill";
    let gaps = seen.gaps.iter().map(|gap| gap.as_secs_f64() * 1e3).collect();
    table.push(Row::new(Role::Grange, name, gaps));
    table.cell(name, "kills", kills as f64);
    table.cell(name, "answered", seen.answered as f64);
    for error in ["unknown", "unavailable", "timeout", "other"] {
        table.cell(name, error, seen.errors.get(error).copied().unwrap_or(0) as f64);
    }
    table.note(format!(
        "{SILOS} silos on Redis, {CALLERS} callers with an entity each, one plain ask after the other; `kill -9` every \
         {QUIET:?}, and another silo in its place. Unknown: it had started when its silo died, and is not asked again."
    ));
    report.show(table);
}

/// What the callers saw.
#[derive(Debug, Default)]
struct Seen {
    answered: u64,
    errors: BTreeMap<&'static str, u64>,
    /// The longest pause between two answers of one entity, since the last kill.
    gap: Duration,
    gaps: Vec<Duration>,
    has_ended: bool,
}

async fn under_kills(kills: usize) -> Seen {
    let mut cluster = Cluster::start(SILOS).await;
    let seen = Rc::new(RefCell::new(Seen::default()));
    let callers = (0..CALLERS).map(|key| tokio::task::spawn_local(call(cluster.client.clone(), key, seen.clone())));
    let callers: Vec<_> = callers.collect();
    sleep(QUIET).await;
    for kill in 0..kills {
        seen.borrow_mut().gap = Duration::ZERO;
        cluster.kill(kill);
        sleep(QUIET).await;
        let gap = seen.borrow().gap;
        seen.borrow_mut().gaps.push(gap);
        cluster.replace(kill);
        sleep(QUIET).await;
    }
    seen.borrow_mut().has_ended = true;
    join_all(callers).await;
    seen.take()
}

/// One caller: one ask after the other.
async fn call(client: Client, key: u64, seen: Rc<RefCell<Seen>>) {
    let (ping, mut last) = (client.entity::<Ping>(key), Instant::now());
    while !seen.borrow().has_ended {
        let answer = ping.run().timeout(PATIENCE).await;
        let mut seen = seen.borrow_mut();
        match answer {
            Ok(()) => {
                seen.answered += 1;
                seen.gap = seen.gap.max(last.elapsed());
                last = Instant::now();
            }
            Err(error) => *seen.errors.entry(name(&error)).or_default() += 1,
        }
    }
}

fn name(error: &CallError) -> &'static str {
    match error {
        CallError::Unknown { .. } => "unknown",
        CallError::Unavailable { .. } => "unavailable",
        CallError::Timeout => "timeout",
        _ => "other",
    }
}
