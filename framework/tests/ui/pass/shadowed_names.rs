//! What is generated names everything by its full path.
#![allow(dead_code, non_camel_case_types)]

use grange::{Turn, entity};

struct Option;
struct Result;
struct Vec;
struct String;
struct Box;
struct Some;
struct Ok;
struct Err;
struct None;
struct Clone;
struct Default;
struct From;
struct Future;
struct Reference;
struct Method;
struct Send;
mod core {}
mod std {}

#[entity(idle = "1s", mailbox = 3, placement = "local")]
#[derive(::std::default::Default, serde::Serialize, serde::Deserialize)]
struct Account {
    balance: ::std::primitive::u32,
}

#[entity]
impl Account {
    async fn balance(&self) -> ::std::primitive::u32 {
        self.balance
    }
    async fn pay(&mut self, turn: &mut Turn<Self>) -> ::std::result::Result<(), ::std::string::String> {
        turn.send(turn.me().balance().then(turn.me().paid()));
        ::std::result::Result::Ok(())
    }
    async fn paid(&mut self, outcome: grange::Outcome<::std::primitive::u32>) {
        drop(outcome);
    }
}

mod primitives {
    struct str;
    struct u64;
    struct bool;

    #[grange::entity(volatile)]
    #[derive(Default)]
    struct Room;

    #[grange::entity]
    impl Room {
        async fn enter(&self) {}
    }
}

fn main() {}
