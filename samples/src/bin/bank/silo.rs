use std::process::ExitCode;

use grange::prelude::*;
use samples::bank;

use crate::failure::Failure;
use crate::options::{CLUSTER, SiloOptions, variable};
use crate::say;

/// One process of the bank: until it is told to end.
pub(crate) async fn serve(options: SiloOptions) -> Result<ExitCode, Failure> {
    let SiloOptions { listen, advertise, redis, cluster, secret_file } = options;
    let has = |names: &[&str]| names.iter().any(|name| variable(name).is_some());
    if listen.is_none() && !has(&["GRANGE_LISTEN"]) {
        return Err(Failure::Untold("where to listen: say `--listen 127.0.0.1:7100`, or set GRANGE_LISTEN"));
    }
    if redis.is_none() && !has(&["GRANGE_REDIS", "GRANGE_EMBEDDED", "GRANGE_IN_MEMORY"]) {
        return Err(Failure::Untold("where Redis is: say `--redis redis://127.0.0.1:6379`, or set GRANGE_REDIS"));
    }
    let mut silo = bank::host(Silo::from_env());
    if let Some(cluster) = cluster.or_else(|| variable("GRANGE_CLUSTER").is_none().then(|| CLUSTER.to_owned())) {
        silo = silo.cluster(cluster);
    }
    if let Some(address) = listen {
        silo = silo.listen(address);
    }
    if let Some(address) = advertise {
        silo = silo.advertise(address);
    }
    if let Some(url) = redis {
        silo = silo.redis(url);
    }
    if let Some(file) = secret_file {
        silo = silo.secret_file(file);
    }
    let silo = silo.start().await?;
    say(format_args!("silo {} is ready", silo.address().unwrap_or_default()));
    Ok(silo.run_until_signal().await)
}
