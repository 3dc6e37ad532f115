//! The store on Redis keeps the contract, on real servers, whatever happens to them.

mod redis_server;
mod store_common;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use grange::store::{
    Beat, Committed, Field, Joined, Partitions, RedisMutant as Mutant, RedisOptions, RedisStore, Refusal, Store,
    StoreError, Trim,
};
use grange::testing::conformance;
use redis_server::{PATIENCE, RedisServer};
use store_common::{claim, commit, id, try_claim};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// From anywhere: it waits on a thread of its own.
fn connect(options: RedisOptions) -> RedisStore {
    let connecting = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(RedisStore::connect(options))
    };
    std::thread::scope(|scope| scope.spawn(connecting).join().unwrap()).unwrap()
}

/// New stores on one server, each empty, since it has a cluster's name of its own.
fn stores(options: RedisOptions) -> impl Fn() -> Arc<RedisStore> {
    let number = Cell::new(0);
    move || {
        number.set(number.get() + 1);
        Arc::new(connect(options.clone().cluster(format!("test-{}", number.get()))))
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let server = RedisServer::start(&[]).await;
    let make = stores(RedisOptions::new(server.url()));
    conformance::all(&make).await;
    conformance::members::all(|| make()).await;
}

#[tokio::test]
async fn it_keeps_the_contract_on_a_redis_cluster() {
    let servers = redis_server::cluster().await;
    let make = stores(RedisOptions::new(servers[1].url()).partitions(64));
    conformance::all(&make).await;
    conformance::members::all(|| make()).await;
}

/// Silos' clocks differ: a token of one whose clock is ahead would be above all that come after a lost tail.
#[tokio::test]
async fn fence_tokens_go_by_the_servers_clock() {
    const YEAR_2100_MS: u64 = 4_102_444_800_000;
    let server = RedisServer::start(&[]).await;
    let store = stores(RedisOptions::new(server.url()))();
    let ahead = claim(&*store, &id("a"), YEAR_2100_MS).await;
    assert!(ahead.fence.epoch < YEAR_2100_MS, "{:?}", ahead.fence);
    let behind = claim(&*store, &id("a"), 1).await;
    assert!(behind.fence.epoch > ahead.fence.epoch, "{:?} after {:?}", behind.fence, ahead.fence);
}

/// Asks until the answer is one to go on with.
async fn eventually<T>(ask: impl AsyncFn() -> Result<T, StoreError>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < until, "{error:?}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn done(store: &RedisStore, commit: grange::store::Commit) {
    assert_eq!(store.commit(commit).await.unwrap(), Committed::Done);
}

fn reason<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    answer.unwrap_err().to_string()
}

#[tokio::test]
async fn a_claim_and_a_commit_are_one_command_each() {
    let server = RedisServer::start(&[]).await;
    let store = connect(RedisOptions::new(server.url()));
    let count = || (server.calls("evalsha"), server.calls("zadd"), server.calls("hset"));
    let before = count();
    let record = claim(&store, &id("a"), 1).await;
    let claimed = count();
    // A look at the life of the data, once a second, may come in between.
    assert!((before.0 + 1..=before.0 + 2).contains(&claimed.0) && claimed.2 == before.2 + 1, "{before:?} {claimed:?}");
    done(&store, grange::store::Commit { wake: Some(7), ..commit(&record, &id("a"), "s") }).await;
    let committed = count();
    assert!((claimed.0 + 1..=claimed.0 + 2).contains(&committed.0), "{claimed:?} {committed:?}");
    assert_eq!((committed.1, committed.2), (claimed.1 + 1, claimed.2 + 1));
}

#[tokio::test]
async fn tombstones_are_deleted() {
    let server = RedisServer::start(&[]).await;
    let store = connect(RedisOptions::new(server.url()).partitions(1));
    let record = claim(&store, &id("a"), 1).await;
    for number in 0..200 {
        let puts = vec![(Field::Outbox(number), "m".into())];
        let removes = number.checked_sub(1).map(Field::Outbox).into_iter().collect();
        done(&store, grange::store::Commit { version: number, puts, removes, ..commit(&record, &id("a"), "s") }).await;
    }
    let key = "grange:{default:0}:e:6:Entitya";
    let length = || server.command::<u64>(&["HLEN", key]);
    assert!(length() < 100, "{}", length());
    let trim = Trim {
        id: id("a"),
        fence: record.fence,
        generation: record.generation,
        version: 200,
        removes: vec![Field::Outbox(199)],
        wake: None,
    };
    assert!(store.trim(trim).await.unwrap());
    // Owner, nonce, epoch, version, commit, state.
    assert_eq!(length(), 6, "{:?}", server.command::<Vec<String>>(&["HKEYS", key]));
}

#[tokio::test]
async fn reading_random_ids_leaves_nothing() {
    let server = RedisServer::start(&[]).await;
    let store = connect(RedisOptions::new(server.url()));
    let before: u64 = server.command(&["DBSIZE"]);
    for number in 0..20 {
        let record = claim(&store, &id(&number.to_string()), 1).await;
        store.release(id(&number.to_string()), record.fence).await.unwrap();
    }
    assert_eq!(server.command::<u64>(&["DBSIZE"]), before);
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_given_again() {
    let server = RedisServer::start(&[]).await;
    let store = connect(RedisOptions::new(server.url()));
    let record = claim(&store, &id("a"), 1).await;
    for version in 0..5 {
        server.command::<()>(&["SCRIPT", "FLUSH"]);
        let wake = Some(version);
        done(&store, grange::store::Commit { version, wake, ..commit(&record, &id("a"), "s") }).await;
        assert_eq!(store.due(Partitions::All, 9, 9).await.unwrap().len(), 1);
    }
    assert_eq!((store.stats().commits, store.lives()), (5, 0));
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let mut server = RedisServer::durable().await;
    let store = connect(RedisOptions::new(server.url()));
    let mut acknowledged = 0;
    for round in 0..3 {
        let record = eventually(async || try_claim(&store, &id("a"), 1).await).await;
        assert!(record.version >= acknowledged, "{} of {acknowledged} in round {round}", record.version);
        let versions = record.version..record.version + 50;
        let commits = versions.map(|version| grange::store::Commit { version, ..commit(&record, &id("a"), "s") });
        let waiting: Vec<_> = commits.map(|commit| store.commit(commit)).collect();
        for (at, answer) in waiting.into_iter().enumerate() {
            if at == 25 {
                server.kill();
            }
            if let Ok(Committed::Done) = answer.await {
                acknowledged = record.version + at as u64 + 1;
            }
        }
        server.run().await;
    }
    let record = eventually(async || try_claim(&store, &id("a"), 1).await).await;
    assert!(record.version >= acknowledged);
    assert_eq!(store.lives(), 3);
}

#[tokio::test]
async fn a_restart_begins_a_new_life_and_refuses_what_is_of_the_old() {
    let mut server = RedisServer::durable().await;
    let store = connect(RedisOptions::new(server.url()));
    let old = claim(&store, &id("a"), 1).await;
    done(&store, commit(&old, &id("a"), "s")).await;
    server.kill();
    server.run().await;
    let next = grange::store::Commit { version: 1, ..commit(&old, &id("a"), "t") };
    let answer = eventually(async || store.commit(next.clone()).await).await;
    assert_eq!(answer, Committed::Refused(Refusal::Generation));
    assert_eq!(store.lives(), 1);
    let new = claim(&store, &id("a"), 1).await;
    assert_ne!(new.generation, old.generation);
    assert_eq!((new.generation, new.version), (store.generation(&id("a")), 1));
    done(&store, grange::store::Commit { version: 1, ..commit(&new, &id("a"), "t") }).await;
}

#[tokio::test]
async fn an_emptied_redis_begins_a_new_life_and_goes_on() {
    let server = RedisServer::start(&[]).await;
    let store = connect(RedisOptions::new(server.url()));
    let members = store.members().unwrap();
    let silo = conformance::members::member(1);
    members.join(silo.clone(), members.partitions()).await.unwrap();
    let old = claim(&store, &id("a"), 1).await;
    done(&store, commit(&old, &id("a"), "s")).await;
    server.command::<()>(&["FLUSHALL"]);
    // Who does nothing is told, too.
    let until = Instant::now() + PATIENCE;
    while store.lives() == 0 {
        assert!(Instant::now() < until, "no new life was seen");
        sleep(Duration::from_millis(10)).await;
    }
    let next = grange::store::Commit { version: 1, ..commit(&old, &id("a"), "t") };
    assert_eq!(store.commit(next).await.unwrap(), Committed::Refused(Refusal::Superseded));
    let new = claim(&store, &id("a"), 1).await;
    assert_eq!((new.version, new.state.clone(), store.lives()), (0, None, 1));
    assert_ne!(new.generation, old.generation);
    done(&store, commit(&new, &id("a"), "t")).await;
    assert_eq!(members.beat(silo.incarnation).await.unwrap(), Beat::Dead);
    let again = members.join(conformance::members::member(2), members.partitions()).await.unwrap();
    assert!(matches!(again, Joined::Done { .. }));
    // At once, with no look in between.
    server.command::<()>(&["FLUSHALL"]);
    assert_eq!(claim(&store, &id("a"), 1).await.version, 0);
    assert_eq!(store.lives(), 2);
}

#[tokio::test]
async fn a_full_redis_refuses_commits_and_still_cleans_up() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]).await;
    let store = connect(RedisOptions::new(server.url()));
    let record = claim(&store, &id("a"), 1).await;
    let puts = vec![(Field::Outbox(1), "m".into())];
    done(&store, grange::store::Commit { puts, wake: Some(3), ..commit(&record, &id("a"), "s") }).await;
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let next = grange::store::Commit { version: 1, wake: Some(2), ..commit(&record, &id("a"), "t") };
    let refused = store.commit(next.clone()).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    assert!(reason(refused).contains("maxmemory"));
    let trim = |wake| Trim {
        id: id("a"),
        fence: record.fence,
        generation: record.generation,
        version: 1,
        removes: vec![Field::Outbox(1)],
        wake,
    };
    assert!(store.trim(trim(Some(1))).await.unwrap());
    assert!(store.trim(trim(None)).await.unwrap());
    let other = claim(&store, &id("b"), 1).await;
    store.release(id("b"), other.fence).await.unwrap();
    assert_eq!(claim(&store, &id("a"), 2).await.fields.len(), 0);
    let members = store.members().unwrap();
    let silo = conformance::members::member(1);
    members.join(silo.clone(), members.partitions()).await.unwrap();
    assert!(matches!(members.beat(silo.incarnation).await.unwrap(), Beat::Alive { .. }));
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    let record = claim(&store, &id("a"), 3).await;
    done(&store, grange::store::Commit { version: 1, ..commit(&record, &id("a"), "t") }).await;
}

#[tokio::test]
async fn a_replica_is_refused() {
    let server = RedisServer::start(&[]).await;
    let other = RedisServer::start(&[]).await;
    let store = connect(RedisOptions::new(server.url()));
    let record = claim(&store, &id("a"), 1).await;
    server.command::<()>(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    let until = Instant::now() + PATIENCE;
    for _ in 0..3 {
        let refused = store.commit(commit(&record, &id("a"), "s")).await;
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
        assert!(reason(refused).contains("replica"));
    }
    let fresh = RedisStore::connect(RedisOptions::new(server.url())).await;
    assert!(reason(fresh).contains("name the primary"));
    server.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    while try_claim(&store, &id("b"), 1).await.is_err() {
        assert!(Instant::now() < until, "it does not come back");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_redis_that_is_away_fails_calls_at_once_and_comes_back_by_itself() {
    let mut server = RedisServer::durable().await;
    let store = connect(RedisOptions::new(server.url()));
    let record = claim(&store, &id("a"), 1).await;
    server.kill();
    let until = Instant::now() + PATIENCE;
    while store.verify(id("a"), record.fence).await.is_ok() {
        assert!(Instant::now() < until);
    }
    let asked = Instant::now();
    for _ in 0..100 {
        let failed = store.commit(commit(&record, &id("a"), "s")).await;
        assert!(matches!(failed, Err(StoreError::Failed { .. })), "{failed:?}");
        assert!(reason(failed).contains(&format!("127.0.0.1:{} can't be reached", server.port)));
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    server.run().await;
    eventually(async || try_claim(&store, &id("a"), 1).await).await;
    let members = store.members().unwrap();
    eventually(async || members.roster().await).await;
}

#[tokio::test]
async fn a_redis_that_stopped_answering_is_given_up() {
    let server = RedisServer::start(&[]).await;
    let store = connect(RedisOptions::new(server.url()).response_timeout(Duration::from_millis(200)));
    let record = claim(&store, &id("a"), 1).await;
    server.signal("STOP");
    let failed = timeout(PATIENCE, store.commit(commit(&record, &id("a"), "s"))).await.unwrap();
    assert!(reason(failed).contains("unknown"));
    // It may have been applied: the same one again tells.
    server.signal("CONT");
    let first = commit(&record, &id("a"), "s");
    let answer = eventually(async || store.commit(first.clone()).await).await;
    assert!(matches!(answer, Committed::Done | Committed::Refused(Refusal::Stale)), "{answer:?}");
}

/// An entity of a slot that this server of the cluster has.
fn held_by(server: &RedisServer) -> (grange::wire::EntityId, u16) {
    let held: Vec<(u16, u16, Vec<redis::Value>)> = server.command(&["CLUSTER", "SLOTS"]);
    let port = redis::Value::Int(server.port.into());
    let is_held =
        |slot: u16| held.iter().any(|(from, to, primary)| (*from..=*to).contains(&slot) && primary[1] == port);
    let slot_of = |id: &grange::wire::EntityId| {
        let key = format!("{{default:{}}}", id.partition(PARTITIONS));
        server.command::<u16>(&["CLUSTER", "KEYSLOT", &key])
    };
    let mut found = (0..1_000).map(|number| id(&number.to_string())).map(|id| (slot_of(&id), id));
    let (slot, id) = found.find(|(slot, _)| is_held(*slot)).expect("one of a thousand is there");
    (id, slot)
}

const PARTITIONS: u16 = 64;

#[tokio::test]
async fn a_server_of_a_redis_cluster_that_restarts_begins_a_new_life_of_its_own() {
    let mut servers = redis_server::cluster().await;
    let store = connect(RedisOptions::new(servers[0].url()).partitions(PARTITIONS));
    let ((there, _), (elsewhere, _)) = (held_by(&servers[2]), held_by(&servers[1]));
    let (old, other) = (claim(&store, &there, 1).await, claim(&store, &elsewhere, 1).await);
    done(&store, commit(&old, &there, "s")).await;
    servers[2].kill();
    let until = Instant::now() + PATIENCE;
    while store.verify(there.clone(), old.fence).await.is_ok() {
        assert!(Instant::now() < until, "it is not missed");
    }
    servers[2].run().await;
    let next = grange::store::Commit { version: 1, ..commit(&old, &there, "t") };
    let answer = eventually(async || store.commit(next.clone()).await).await;
    assert_eq!(answer, Committed::Refused(Refusal::Generation));
    assert_eq!(store.lives(), 1);
    let unmoved = eventually(async || store.commit(commit(&other, &elsewhere, "s")).await).await;
    assert_eq!(unmoved, Committed::Done);
    let new = claim(&store, &there, 2).await;
    assert_eq!((new.version, new.generation), (1, store.generation(&there)));
    done(&store, grange::store::Commit { version: 1, ..commit(&new, &there, "t") }).await;
}

#[tokio::test]
async fn a_slot_that_moves_to_another_server_is_followed() {
    let servers = redis_server::cluster().await;
    let store = connect(RedisOptions::new(servers[0].url()).partitions(PARTITIONS));
    let (there, slot) = held_by(&servers[2]);
    let old = claim(&store, &there, 1).await;
    done(&store, commit(&old, &there, "s")).await;
    redis_server::move_slot(&servers, slot, 2, 0);
    let new = eventually(async || try_claim(&store, &there, 2).await).await;
    assert_eq!((new.version, new.state.clone()), (1, Some("s".into())));
    // Another server is another life, as far as anybody can tell.
    assert_ne!(new.generation, old.generation);
    assert_eq!((new.generation, store.lives()), (store.generation(&there), 1));
    done(&store, grange::store::Commit { version: 1, ..commit(&new, &there, "t") }).await;
}

/// What docs/redis.md tells to give a user.
const ACL: &str = "resetchannels ~grange:{bank* +evalsha +script|load +info +hset +hget +hmget +hgetall +hdel +del \
    +zadd +zrem +zscore +zrange +zrangebyscore +time +cluster|slots +select +ping";

#[tokio::test]
async fn a_user_may_be_limited_to_what_is_needed() {
    let mut server = RedisServer::prepare(&["--requirepass", "for-the-test"]);
    server.password = Some("for-the-test".into());
    server.run().await;
    let rule = format!("ACL SETUSER grange on >se:cr@et {ACL}");
    server.command::<()>(&rule.split_whitespace().collect::<Vec<_>>());
    let options = RedisOptions::new(server.url()).user("grange").password("se:cr@et");
    let number = Cell::new(0);
    let make = || {
        number.set(number.get() + 1);
        Arc::new(connect(options.clone().cluster(format!("bank-{}", number.get()))))
    };
    conformance::all(make).await;
    conformance::members::all(|| make()).await;
    for (options, said) in [
        (options.clone().cluster("other"), "does not let this user"),
        (options.password("wrong"), "check the user and the password"),
        (RedisOptions::new(server.url()), "wants a password"),
        (RedisOptions::new("redis:/se:cr@et"), "can't be read"),
        (RedisOptions::new("redis://:se%3Acr%40et@127.0.0.1:1"), "can't be reached"),
        (RedisOptions::new(server.url()).cluster("a{b"), "name of a cluster"),
    ] {
        let shown = format!("{options:?}");
        let error = reason(RedisStore::connect(options).await);
        assert!(error.contains(said), "{error}");
        assert!(!error.contains("cr@et") && !error.contains("cr%40et") && !shown.contains("cr"), "{error} {shown}");
    }
}

#[tokio::test]
async fn redis_is_spoken_to_with_tls() {
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(ca, authority).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, &ca).unwrap();
    let mut server = RedisServer::prepare(&["--port", "0", "--tls-auth-clients", "no"]);
    server.encrypted = true;
    for (name, pem) in [("ca", ca.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem())] {
        std::fs::write(server.path(name), pem).unwrap();
    }
    for (argument, name) in [("--tls-ca-cert-file", "ca"), ("--tls-cert-file", "cert"), ("--tls-key-file", "key")] {
        let path = server.path(name);
        server.argue(&[argument, path.to_str().unwrap()]);
    }
    server.run().await;
    let options = RedisOptions::new(server.url());
    let store = connect(options.clone().certificate_authority(ca.pem()));
    let record = claim(&store, &id("a"), 1).await;
    done(&store, commit(&record, &id("a"), "s")).await;
    let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let error = reason(RedisStore::connect(options.certificate_authority(stranger.cert.pem())).await);
    assert!(error.contains("TLS"), "{error}");
}

/// Whether a check fails on a store whose scripts lack something.
fn fails<F: Future>(server: &RedisServer, mutants: &[Mutant], check: impl FnOnce(RedisStore) -> F + Send) -> bool {
    let options = RedisOptions::new(server.url()).cluster(Uuid::new_v4().to_string());
    let store = connect(mutants.iter().fold(options, |options, mutant| options.mutant(*mutant)));
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { check(store).await });
    };
    std::thread::scope(|scope| scope.spawn(run).join().is_err())
}

#[tokio::test]
async fn each_check_of_the_scripts_is_missed_when_it_is_left_out() {
    use conformance::{claims, commits, indexes, members};
    let server = RedisServer::start(&[]).await;
    macro_rules! caught_by {
        ($($mutant:ident: $check:path,)*) => {
            $(
                let check = |store: RedisStore| async move { $check(&store).await };
                assert!(!fails(&server, &[], check), "{} fails by itself", stringify!($check));
                let name = concat!(stringify!($check), " does not notice ", stringify!($mutant));
                assert!(fails(&server, &[Mutant::$mutant], check), "{name}");
            )*
        };
    }
    caught_by! {
        Taken: claims::a_claim_names_the_owner_to_others,
        Commit: commits::a_repeated_commit_id_is_done_and_changes_nothing,
        Owner: commits::every_part_of_the_fence_counts,
        Nonce: claims::claiming_again_supersedes_the_older_claim,
        Generation: commits::another_generation_is_refused,
        Version: commits::a_refused_commit_changes_nothing,
        Overtaken: indexes::a_trim_that_a_commit_overtook_is_refused,
        Dead: members::dead_is_final,
        Revive: members::dead_is_final,
        Missed: members::a_silo_that_renews_is_not_declared_dead,
    }
}

#[tokio::test]
async fn no_commit_is_applied_that_the_agenda_does_not_name() {
    let server = RedisServer::start(&[]).await;
    let check = |store: RedisStore| async move {
        let record = claim(&store, &id("a"), 1).await;
        let woken = grange::store::Commit { wake: Some(5), ..commit(&record, &id("a"), "s") };
        // Somebody tidied the agenda in between, and again, and again.
        assert!(reason(store.commit(woken).await).contains("agenda"));
        assert_eq!(claim(&store, &id("a"), 2).await.version, 0);
    };
    assert!(!fails(&server, &[Mutant::Hint], check));
    assert!(fails(&server, &[Mutant::Hint, Mutant::Agenda], check));
}
