use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::pin::pin;

use futures_util::future::{Either, join_all, select, try_join};
use grange::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::failure::Failure;
use crate::input::Entry;
use crate::options::{CLUSTER, ClusterOptions, Job};
use crate::report::Report;
use crate::run::{Made, run};
use crate::say;
use crate::server::Server;

/// How long a server may take to be ready, also on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// Longer than a silo takes to finish what it has.
const STOP: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(20);
/// Somebody else may take the port that was found free.
const PORTS_TRIED_MAX: usize = 5;

/// A whole cluster for one file: Redis, silos, a client; all of it is stopped at the end, however it ends.
pub(crate) async fn run_all(options: &ClusterOptions, job: &Job, entries: &[Entry]) -> Result<Report, Failure> {
    // Dropped last: its servers are gone before their directory.
    let directory = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
    let mut servers = Servers { redis: None, silos: Vec::new() };
    let ended = {
        let work = pin!(servers.work(options, job, entries, directory.path()));
        match select(work, pin!(told_to_end())).await {
            Either::Left((ended, _)) => ended,
            Either::Right(_) => Err(Failure::Interrupted),
        }
    };
    let stopped = servers.stop().await;
    let report = ended?;
    stopped?;
    say(format_args!("{} silos and Redis have stopped.", options.silos));
    Ok(report)
}

struct Servers {
    redis: Option<Server>,
    silos: Vec<SiloServer>,
}

/// A silo in a process of its own.
struct SiloServer {
    address: String,
    server: Server,
}

impl Servers {
    async fn work(
        &mut self,
        options: &ClusterOptions,
        job: &Job,
        entries: &[Entry],
        directory: &Path,
    ) -> Result<Report, Failure> {
        let redis = self.start_redis(&options.redis_server, directory).await?;
        say(format_args!("redis-server {redis} is ready, and keeps all in a directory of its own"));
        for number in 0..options.silos {
            let silo = start_silo(&format!("silo-{number}"), &redis, directory).await?;
            say(format_args!("silo {} is ready", silo.address));
            self.silos.push(silo);
        }
        let gateways: Vec<String> = self.silos.iter().map(|silo| silo.address.clone()).collect();
        let client = Client::connect(gateways).cluster(CLUSTER).await?;

        let made = Made::default();
        let place = format!("{} silos", options.silos);
        let run = run(client, &place, job, entries, &made);
        let report = if options.kill {
            let kill = kill_one(&mut self.silos, made.subscribe(), entries.len(), &redis, directory);
            try_join(run, kill).await?.0
        } else {
            run.await?
        };
        say(&report);
        Ok(report)
    }

    async fn start_redis(&mut self, program: &Path, directory: &Path) -> Result<String, Failure> {
        for attempt in 1.. {
            let port = free_port().map_err(Failure::file(directory))?;
            let mut command = Command::new(program);
            command.args(["--bind", "127.0.0.1", "--save", "", "--maxmemory-policy", "noeviction"]);
            // What was answered is on disk: Redis syncs before it answers.
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
            command.arg("--port").arg(port.to_string()).arg("--dir").arg(directory).arg("--logfile").arg("");
            let (server, output) =
                Server::start("redis-server", &mut command, directory).map_err(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => Failure::NoRedis(program.to_owned()),
                    _ => Failure::file(program)(error),
                })?;
            let server = self.redis.insert(server);
            // Its log: read, so that it is never held up by a pipe that is full, and shown if it does not start.
            let log = tokio::spawn(async move {
                let mut log = String::new();
                if let Some(mut output) = output {
                    let _ = output.read_to_string(&mut log).await;
                }
                log
            });
            let address = format!("127.0.0.1:{port}");
            let start = Instant::now();
            while !server.has_ended() && start.elapsed() < READY {
                if timeout(READY, is_answering(&address)).await.unwrap_or(false) {
                    return Ok(address);
                }
                sleep(LOOK).await;
            }
            let ended = server.has_ended();
            server.kill().await?;
            if ended && attempt < PORTS_TRIED_MAX {
                continue;
            }
            let said = log.await.unwrap_or_default();
            return Err(Failure::Server {
                what: format!("redis-server did not start; it said:\n{said}"),
                said: String::new(),
            });
        }
        unreachable!("the attempts are counted")
    }

    /// Silos first: what they give back is written to Redis.
    async fn stop(&mut self) -> Result<(), Failure> {
        let silos = join_all(self.silos.iter_mut().map(|silo| silo.server.stop(STOP))).await;
        let redis = match &mut self.redis {
            Some(redis) => redis.stop(STOP).await,
            None => Ok(()),
        };
        silos.into_iter().chain([redis]).collect()
    }
}

/// This program again, as a silo; ready.
async fn start_silo(name: &str, redis: &str, directory: &Path) -> Result<SiloServer, Failure> {
    let program = std::env::current_exe().map_err(Failure::file(Path::new("bank")))?;
    let mut command = Command::new(&program);
    command.args(["silo", "--listen", "127.0.0.1:0", "--cluster", CLUSTER, "--redis"]).arg(format!("redis://{redis}"));
    // Whatever the environment is meant for, it isn't for them.
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("GRANGE_") {
            command.env_remove(variable);
        }
    }
    let (mut server, output) = Server::start(name, &mut command, directory).map_err(Failure::file(&program))?;
    let mut line = String::new();
    let mut output = BufReader::new(output.ok_or_else(|| server.failed(format_args!("has no output")))?);
    if timeout(READY, output.read_line(&mut line)).await.is_err() {
        return Err(server.failed(format_args!("was not ready after {READY:?}")));
    }
    match line.strip_prefix("silo ").and_then(|rest| rest.strip_suffix(" is ready\n")) {
        Some(address) => Ok(SiloServer { address: address.to_owned(), server }),
        None => {
            let status = server.ended().await?;
            Err(server.failed(format_args!("did not start ({status})")))
        }
    }
}

/// Kills one of them at a random moment between the first and the second quarter of the work, and starts it again.
async fn kill_one(
    silos: &mut [SiloServer],
    mut made: watch::Receiver<usize>,
    transfers: usize,
    redis: &str,
    directory: &Path,
) -> Result<(), Failure> {
    let (random, other) = Uuid::new_v4().as_u64_pair();
    let moment = transfers / 4 + below(random, transfers / 4 + 1);
    let victim = below(other, silos.len());
    let Ok(made) = made.wait_for(|made| *made >= moment).await.map(|made| *made) else { return Ok(()) };
    let Some(silo) = silos.get_mut(victim) else { return Ok(()) };
    silo.server.kill().await?;
    say(format_args!("silo {} was killed, after {made} transfers", silo.address));
    *silo = start_silo(&format!("silo-{victim}-again"), redis, directory).await?;
    say(format_args!("silo {} is ready in its place", silo.address));
    Ok(())
}

fn below(random: u64, bound: usize) -> usize {
    usize::try_from(random % bound as u64).unwrap_or(0)
}

/// A port that nobody listens at now.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

async fn is_answering(redis: &str) -> bool {
    let ping = async {
        let mut stream = TcpStream::connect(redis).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer == *b"+PONG")
    };
    ping.await.unwrap_or(false)
}

/// Ctrl-C, or SIGTERM.
async fn told_to_end() {
    let interrupt = pin!(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    });
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let terminate = pin!(async {
            match signal(SignalKind::terminate()) {
                Ok(mut terminate) => drop(terminate.recv().await),
                Err(_) => std::future::pending().await,
            }
        });
        select(interrupt, terminate).await;
    }
    #[cfg(not(unix))]
    interrupt.await;
}
