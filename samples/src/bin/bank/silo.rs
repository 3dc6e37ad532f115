use std::process::ExitCode;

use grange::SiloBuilder;
use grange::prelude::*;

use crate::account::Account;
use crate::failure::Failure;
use crate::options::{CLUSTER, SiloOptions, variable};
use crate::register::Register;
use crate::say;
use crate::transfer::Transfer;

/// A silo that hosts the bank, whatever else it is.
pub(crate) fn host(silo: SiloBuilder) -> SiloBuilder {
    silo.entity::<Account>().entity::<Transfer>().entity::<Register>()
}

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
    let mut silo = host(Silo::from_env());
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

#[cfg(test)]
mod tests {
    use grange::testing::TestCluster;

    use super::*;
    use crate::transfer::{Order, Status};

    // Several silos, one of which dies with money under way.
    #[grange::test]
    async fn money_arrives_whichever_silo_dies() -> grange::Result<()> {
        const LIMIT: Duration = Duration::from_secs(20);
        let mut bank = TestCluster::start(3, host).await?;
        let client = bank.client().clone();
        let names: Vec<String> = (0..12).map(|number| format!("account-{number}")).collect();
        for name in &names {
            client.entity::<Account>(name).open(100).await?;
        }
        for (number, pair) in names.windows(2).enumerate() {
            let order = Order { from: pair[0].clone(), to: pair[1].clone(), amount: 10 };
            client.entity::<Transfer>(format!("t{number}")).submit(order).await.expect("a transfer of its own");
        }
        bank.crash(1).await;
        bank.settled(LIMIT).await?;
        let mut balances = Vec::new();
        for name in &names {
            let statement = client.entity::<Account>(name).statement().idempotent(Uuid::now_v7()).await?;
            assert_eq!(statement.held, 0, "{name}");
            balances.push(statement.balance);
        }
        // The first one paid, the last one was paid, and each of the others was and did.
        assert_eq!((balances[0], balances[5], balances[11]), (90, 100, 110), "{balances:?}");
        let order = Order { from: names[0].clone(), to: names[1].clone(), amount: 10 };
        assert_eq!(client.entity::<Transfer>("t0").progress(order).await.expect("it is known"), Status::Done);
        bank.stop().await
    }
}
