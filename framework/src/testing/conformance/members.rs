//! Who is in the cluster, as checks that every store for several silos has to pass.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::store::{Beat, Joined, Member, Members, OVERDUE_MS, Status};

/// Runs every check, each on a new and empty table. Time passes while they run: real, or a test's own.
pub async fn all(make: impl Fn() -> Arc<dyn Members>) {
    a_silo_that_joined_is_in_the_table(&*make()).await;
    the_number_of_partitions_is_fixed(&*make()).await;
    a_status_goes_one_way(&*make()).await;
    whoever_is_not_in_the_table_is_dead(&*make()).await;
    dead_is_final(&*make()).await;
    a_silo_that_renews_is_not_declared_dead(&*make()).await;
    who_does_not_renew_is_overdue(&*make()).await;
    partitions_are_given_out_once_a_version(&*make()).await;
}

/// A silo of these checks.
pub fn member(number: u128) -> Member {
    Member {
        incarnation: Uuid::from_u128(number),
        address: format!("127.0.0.1:{}", 7_000 + number),
        weight: 1,
        kinds: vec!["Account".into(), "Order".into()],
        protocol: 1,
        build: "test".into(),
        status: Status::Joining,
        joined: 0,
    }
}

async fn join(members: &dyn Members, number: u128) -> (u64, u64) {
    match members.join(member(number), members.partitions()).await.unwrap() {
        Joined::Done { version, now } => (version, now),
        Joined::Partitions(partitions) => panic!("there are {partitions} partitions"),
    }
}

async fn beat(members: &dyn Members, number: u128) -> (u64, u64, Vec<(Uuid, u64)>) {
    match members.beat(Uuid::from_u128(number)).await.unwrap() {
        Beat::Alive { version, now, overdue } => (version, now, overdue),
        Beat::Dead => panic!("{number} is dead"),
    }
}

/// The table has those who joined, in that order; each change raises its version, which a renewal tells.
pub async fn a_silo_that_joined_is_in_the_table(members: &dyn Members) {
    let empty = members.roster().await.unwrap();
    assert_eq!((empty.members.len(), empty.slices.len()), (0, 0));
    let (first, now) = join(members, 2).await;
    let (second, _) = join(members, 1).await;
    assert!(empty.version < first && first < second, "{} {first} {second}", empty.version);
    let roster = members.roster().await.unwrap();
    assert_eq!(roster.version, second);
    let joined: Vec<u64> = roster.members.iter().map(|member| member.joined).collect();
    assert!(now <= joined[0] && joined[0] <= joined[1], "{now} {joined:?}");
    let expected = [(2, joined[0]), (1, joined[1])].map(|(number, joined)| Member { joined, ..member(number) });
    assert_eq!(roster.members, expected);
    let (version, later, overdue) = beat(members, 1).await;
    assert_eq!((version, overdue), (second, Vec::new()));
    assert!(later >= joined[1]);
}

/// It is what the first silo said, for all time.
pub async fn the_number_of_partitions_is_fixed(members: &dyn Members) {
    join(members, 1).await;
    let before = members.roster().await.unwrap();
    let refused = members.join(member(2), members.partitions() + 1).await.unwrap();
    assert_eq!(refused, Joined::Partitions(members.partitions()));
    assert_eq!(members.roster().await.unwrap(), before);
}

/// Joining, active, draining, left; never back.
pub async fn a_status_goes_one_way(members: &dyn Members) {
    let me = Uuid::from_u128(1);
    let (mut version, _) = join(members, 1).await;
    for status in [Status::Active, Status::Draining, Status::Left] {
        assert!(members.advance(me, status).await.unwrap());
        assert!(!members.advance(me, status).await.unwrap(), "it is {status:?} already");
        let roster = members.roster().await.unwrap();
        assert_eq!(roster.members[0].status, status);
        assert!(roster.version > version);
        version = roster.version;
        assert!(!members.advance(me, Status::Joining).await.unwrap());
        assert_eq!(members.beat(me).await.unwrap() == Beat::Dead, status == Status::Left);
    }
    assert!(!members.advance(me, Status::Active).await.unwrap());
    assert_eq!(members.roster().await.unwrap().version, version);
}

/// A silo whose row is gone, or that never had one, can't renew.
pub async fn whoever_is_not_in_the_table_is_dead(members: &dyn Members) {
    assert_eq!(members.beat(Uuid::from_u128(1)).await.unwrap(), Beat::Dead);
    assert!(!members.advance(Uuid::from_u128(1), Status::Active).await.unwrap());
    assert_eq!(members.roster().await.unwrap().members, []);
}

/// Whoever was declared dead never renews, moves on or joins again.
pub async fn dead_is_final(members: &dyn Members) {
    join(members, 1).await;
    let (dead, version) = (Uuid::from_u128(2), join(members, 2).await.0);
    assert!(members.declare_dead(dead, 0).await.unwrap());
    let roster = members.roster().await.unwrap();
    assert!(roster.version > version);
    assert_eq!(roster.members[1].status, Status::Dead);
    assert_eq!(members.beat(dead).await.unwrap(), Beat::Dead);
    assert!(!members.advance(dead, Status::Active).await.unwrap());
    assert!(members.declare_dead(dead, 1_000_000).await.unwrap(), "it is dead already");
    let _ = members.join(member(2), members.partitions()).await.unwrap();
    assert_eq!(members.beat(dead).await.unwrap(), Beat::Dead, "dead is final");
    assert_eq!(
        members.roster().await.unwrap().members.iter().map(|m| m.status).collect::<Vec<_>>(),
        [Status::Joining, Status::Dead]
    );
}

/// It has to have missed as many ms as are named.
pub async fn a_silo_that_renews_is_not_declared_dead(members: &dyn Members) {
    let (who, version) = (Uuid::from_u128(1), join(members, 1).await.0);
    assert!(!members.declare_dead(who, 1_500).await.unwrap());
    beat(members, 1).await;
    assert!(!members.declare_dead(who, 1_500).await.unwrap());
    assert_eq!(beat(members, 1).await.0, version);
}

/// Others are told of it, for as long as it lives, and how long it has been.
pub async fn who_does_not_renew_is_overdue(members: &dyn Members) {
    let silent = Uuid::from_u128(2);
    join(members, 1).await;
    join(members, 2).await;
    join(members, 3).await;
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    let late = loop {
        let (_, _, mut overdue) = beat(members, 1).await;
        beat(members, 3).await;
        overdue.retain(|(who, _)| *who != Uuid::from_u128(3));
        if let [(who, ms)] = overdue[..] {
            assert_eq!(who, silent);
            break ms;
        }
        assert!(tokio::time::Instant::now() < until, "nobody is overdue");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!((OVERDUE_MS..10_000).contains(&late), "{late}");
    assert!(!members.declare_dead(silent, 60_000).await.unwrap());
    assert!(members.declare_dead(silent, OVERDUE_MS).await.unwrap());
    assert!(beat(members, 1).await.2.iter().all(|(who, _)| *who != silent), "it is dead, not overdue");
}

/// Whoever read an older table changes nothing.
pub async fn partitions_are_given_out_once_a_version(members: &dyn Members) {
    let (version, _) = join(members, 1).await;
    let partitions = members.partitions();
    let slices = vec![(partitions / 2, Uuid::from_u128(1)), (partitions - partitions / 2, Uuid::from_u128(2))];
    assert!(members.place(version, slices.clone()).await.unwrap());
    assert!(!members.place(version, Vec::new()).await.unwrap());
    let roster = members.roster().await.unwrap();
    assert!(roster.version > version);
    assert_eq!(roster.slices, slices);
}
