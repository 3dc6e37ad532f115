//! grange as the peers are driven: a silo of one arbiter in one process, a client in another, one connection.

use benchmarks::subjects::Light;
use grange::{Client, Silo};
use peer_kit::{end_when_alone, rounds, say, work};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The silo's process.
pub(crate) fn serve() {
    let silo = Silo::builder().entity::<Light>().in_memory().workers(1).listen("127.0.0.1:0");
    runtime().block_on(async {
        let silo = silo.start().await.expect("a silo starts");
        end_when_alone();
        say(silo.address().expect("it listens"));
        std::future::pending::<()>().await;
    });
}

/// The client's.
pub(crate) fn ask(silo: &str) {
    runtime().block_on(async {
        let client = Client::connect([silo]).await.expect("a client connects");
        let mut rounds = rounds();
        say("ready");
        while let Some(round) = rounds.recv().await {
            let caller = |number| {
                let light = client.entity::<Light>(number);
                async move {
                    for _ in 0..round.each {
                        light.add(1).await.expect("answers");
                    }
                }
            };
            say(work(round, caller).await.as_nanos());
        }
    });
}
