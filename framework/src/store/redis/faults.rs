//! What Redis says when it does not do what it was asked, and what to do about it.

use std::fmt::Display;

use redis::ServerError;

use crate::store::StoreError;

/// An error that Redis answered with.
pub(super) fn answered(server: &dyn Display, error: &ServerError) -> StoreError {
    let said = error.details().unwrap_or_default();
    let advice = match error.code() {
        "OOM" => "it has used up its maxmemory: raise it, or delete what nobody needs; claims and clean-up still work",
        "READONLY" => "it is a replica, or became one: name the primary in the URL",
        "MISCONF" => "it can't write to its disk: make room there, and look into its log",
        "NOREPLICAS" => "it has fewer replicas than its min-replicas-to-write asks for: start them",
        "NOPERM" => "its access control list does not let this user do that: see docs/redis.md for what is needed",
        "NOAUTH" => "it wants a password: put one in the URL, or use RedisOptions::password",
        "WRONGPASS" => "the user or the password is wrong",
        code => {
            let advice = match code {
                "CLUSTERDOWN" | "MASTERDOWN" => "; part of the Redis Cluster is down",
                "TRYAGAIN" | "MOVED" | "ASK" => "; slots are on the move between servers of the Redis Cluster",
                "LOADING" => "; it is still reading its data",
                "BUSY" => "; a script is running for too long",
                _ => "",
            };
            return failed(format!("Redis at {server} says: {code} {said}{advice}"));
        }
    };
    StoreError::Refused { reason: format!("Redis at {server}: {advice} ({} {said})", error.code()).into() }
}

pub(super) fn failed(reason: impl AsRef<str>) -> StoreError {
    StoreError::Failed { reason: reason.as_ref().into() }
}

/// An answer that no version of grange gives.
pub(super) fn unreadable(of: &dyn Display) -> StoreError {
    StoreError::Corrupt { path: of.to_string(), reason: "Redis holds something there that grange did not write".into() }
}
