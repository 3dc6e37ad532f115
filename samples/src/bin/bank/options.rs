use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;

pub(crate) const HELP: &str = "\
Makes the transfers of a CSV file between the accounts of a bank.

Usage: bank [OPTIONS] [FILE.csv]           the bank is in this process, and is kept in a directory
       bank silo [OPTIONS]                 one process of a bank that is several
       bank client [OPTIONS] [FILE.csv]    the same transfers, by a client of such a bank
       bank cluster [OPTIONS] [FILE.csv]   all of it: a redis-server, silos, the client; then stops them

FILE.csv has the columns id,from,to,amount; without it, 10,000 transfers between 1,000 accounts are
made that come with the sample. Each account is opened with 1,000. A transfer happens once, whatever
happens meanwhile: run the same file again and what was done stays done, the rest is finished.

Options of all but `silo`:
  --in-flight N        transfers under way at a time [default: 256]
  --journal FILE       append `id,outcome` for each transfer that has ended, synced before it is counted
  --balances FILE      write `account,balance` for every account at the end
  -h, --help           print this

Options of `bank`:
  --data DIR           where the bank is kept [default: ./bank-data]

Options of `bank silo`; where there is none, the environment is asked:
  --listen HOST:PORT   where it listens, port 0 for any [GRANGE_LISTEN]
  --advertise HOST:PORT   where others reach it, if not there [GRANGE_ADVERTISE]
  --redis URL          where everything is kept: redis://127.0.0.1:6379 [GRANGE_REDIS]
  --cluster NAME       the bank's name [GRANGE_CLUSTER; default: bank]
  --secret-file FILE   what silos and clients know, and nobody else [GRANGE_SECRET_FILE]

Options of `bank client`:
  --gateways LIST      silos to begin with, HOST:PORT,HOST:PORT [default: 127.0.0.1:7100]
  --cluster, --secret-file   as above

Options of `bank cluster`:
  --silos N            how many [default: 3]
  --kill               kill one with SIGKILL while it works, and start it again
  --redis-server FILE  the program [default: redis-server, on the PATH]

Exit status: 0 done; 1 failed, run it again to continue; 2 the options or the file are wrong, nothing
was done; 3 the money does not add up. Of `bank silo`: 0 told to end, and everything was given back; 1 it
did not start; 2 the options are wrong; 3 turns were cut off after 25 s; 4 a second signal ended it at once; 5 Redis was away, so that its\nentities go to others when its lease is over";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    /// A bank in this process.
    Local {
        data: PathBuf,
        job: Job,
    },
    Silo(SiloOptions),
    Client {
        gateways: Vec<String>,
        cluster: String,
        secret_file: Option<PathBuf>,
        job: Job,
    },
    Cluster(ClusterOptions, Job),
}

/// What a client does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) file: PathBuf,
    pub(crate) in_flight: usize,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) balances: Option<PathBuf>,
}

/// What a silo is told; what it isn't, the environment may know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SiloOptions {
    pub(crate) listen: Option<String>,
    pub(crate) advertise: Option<String>,
    pub(crate) redis: Option<String>,
    pub(crate) cluster: Option<String>,
    pub(crate) secret_file: Option<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClusterOptions {
    pub(crate) silos: usize,
    pub(crate) kill: bool,
    pub(crate) redis_server: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Local,
    Silo,
    Client,
    Cluster,
}

/// Reads the command line, without the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut arguments = arguments.into_iter().peekable();
    let verb = match arguments.peek().and_then(|first| first.to_str()) {
        Some("silo") => Verb::Silo,
        Some("client") => Verb::Client,
        Some("cluster") => Verb::Cluster,
        _ => Verb::Local,
    };
    if verb != Verb::Local {
        arguments.next();
    }
    let mut data = PathBuf::from("bank-data");
    let mut file = None;
    let mut job = Job { file: shipped(), in_flight: 256, journal: None, balances: None };
    let mut silo = SiloOptions::default();
    let mut gateways = vec!["127.0.0.1:7100".to_owned()];
    let mut cluster = ClusterOptions { silos: 3, kill: false, redis_server: "redis-server".into() };

    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),

            Long("data") if verb == Verb::Local => data = parser.value()?.into(),

            Long("listen") if verb == Verb::Silo => silo.listen = Some(parser.value()?.string()?),
            Long("advertise") if verb == Verb::Silo => silo.advertise = Some(parser.value()?.string()?),
            Long("redis") if verb == Verb::Silo => silo.redis = Some(parser.value()?.string()?),

            Long("gateways") if verb == Verb::Client => gateways = parser.value()?.parse_with(addresses)?,
            Long("cluster") if matches!(verb, Verb::Silo | Verb::Client) => {
                silo.cluster = Some(parser.value()?.string()?);
            }
            Long("secret-file") if matches!(verb, Verb::Silo | Verb::Client) => {
                silo.secret_file = Some(parser.value()?.into());
            }

            Long("silos") if verb == Verb::Cluster => cluster.silos = parser.value()?.parse_with(silos)?,
            Long("kill") if verb == Verb::Cluster => cluster.kill = true,
            Long("redis-server") if verb == Verb::Cluster => cluster.redis_server = parser.value()?.into(),

            Long("in-flight") if verb != Verb::Silo => job.in_flight = parser.value()?.parse_with(in_flight)?,
            Long("journal") if verb != Verb::Silo => job.journal = Some(parser.value()?.into()),
            Long("balances") if verb != Verb::Silo => job.balances = Some(parser.value()?.into()),
            Value(value) if verb != Verb::Silo && file.is_none() => file = Some(PathBuf::from(value)),

            other => return Err(other.unexpected()),
        }
    }
    job.file = file.unwrap_or(job.file);
    Ok(match verb {
        Verb::Local => Command::Local { data, job },
        Verb::Silo => Command::Silo(silo),
        Verb::Client => Command::Client {
            gateways,
            cluster: silo.cluster.or_else(|| variable("GRANGE_CLUSTER")).unwrap_or_else(|| CLUSTER.into()),
            secret_file: silo.secret_file.or_else(|| variable("GRANGE_SECRET_FILE").map(PathBuf::from)),
            job,
        },
        Verb::Cluster => Command::Cluster(cluster, job),
    })
}

/// The bank's name, where nobody gave it another.
pub(crate) const CLUSTER: &str = "bank";

/// What the environment says; nothing if it is empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The file that comes with the sample; by a short path, if this is the directory of the project.
fn shipped() -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/transfers.csv");
    let here = std::env::current_dir().unwrap_or_default();
    file.strip_prefix(here).map(Path::to_owned).unwrap_or(file)
}

fn in_flight(text: &str) -> Result<usize, &'static str> {
    // More would pass the default limit of calls that wait for one entity.
    text.parse().ok().filter(|number| (1..=1_000).contains(number)).ok_or("--in-flight must be from 1 to 1000")
}

fn silos(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|number| (1..=100).contains(number)).ok_or("--silos must be from 1 to 100")
}

fn addresses(text: &str) -> Result<Vec<String>, &'static str> {
    let addresses: Vec<String> = text.split(',').map(|address| address.trim().to_owned()).collect();
    let good =
        |address: &String| address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port));
    if addresses.iter().all(good) { Ok(addresses) } else { Err("--gateways must be HOST:PORT,HOST:PORT,…") }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Command, String> {
        parse(arguments.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_read() {
        let Ok(Command::Local { data, job }) = options(&["--in-flight=7", "a.csv", "--data", "d"]) else { panic!() };
        assert_eq!((job.in_flight, job.file, data), (7, "a.csv".into(), "d".into()));
        assert_eq!(options(&["a.csv", "-h"]), Ok(Command::Help));
        let Ok(Command::Silo(silo)) = options(&["silo", "--listen", "127.0.0.1:0", "--redis=redis://r"]) else {
            panic!()
        };
        assert_eq!((silo.listen, silo.redis), (Some("127.0.0.1:0".into()), Some("redis://r".into())));
        let Ok(Command::Client { gateways, cluster, job, .. }) =
            options(&["client", "--gateways", "a:1, b:2", "--cluster=c", "x.csv"])
        else {
            panic!()
        };
        assert_eq!((gateways, cluster, job.file), (vec!["a:1".into(), "b:2".into()], "c".into(), "x.csv".into()));
        let Ok(Command::Cluster(cluster, job)) = options(&["cluster", "--silos=2", "--kill", "x.csv"]) else {
            panic!()
        };
        assert_eq!((cluster.silos, cluster.kill, job.file), (2, true, "x.csv".into()));
        // A file of that name has a path.
        let Ok(Command::Local { job, .. }) = options(&["./silo"]) else { panic!() };
        assert_eq!(job.file, PathBuf::from("./silo"));
    }

    #[test]
    fn what_is_wrong_with_it_is_named() {
        for (arguments, expected) in [
            (vec!["--dat", "x"], "invalid option '--dat'"),
            (vec!["--data"], "missing argument for option '--data'"),
            (vec!["a.csv", "b.csv"], "unexpected argument \"b.csv\""),
            (vec!["--in-flight", "0"], "cannot parse argument \"0\": --in-flight must be from 1 to 1000"),
            (vec!["--redis", "redis://r"], "invalid option '--redis'"),
            (vec!["silo", "a.csv"], "unexpected argument \"a.csv\""),
            (vec!["silo", "--data", "d"], "invalid option '--data'"),
            (vec!["cluster", "--silos", "0"], "cannot parse argument \"0\": --silos must be from 1 to 100"),
            (
                vec!["client", "--gateways", "127.0.0.1"],
                "cannot parse argument \"127.0.0.1\": --gateways must be HOST:PORT,HOST:PORT,…",
            ),
        ] {
            assert_eq!(options(&arguments), Err(expected.into()));
        }
    }
}
