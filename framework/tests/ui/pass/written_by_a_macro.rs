//! An entity that a `macro_rules!` of the user's writes.
use grange::prelude::*;

macro_rules! counter {
    ($name:ident, $whole:ty, $key:ty, $step:ty, $reply:ty, $turn:ty, $outcome:ty) => {
        #[entity(key = $key)]
        #[derive(Default, Serialize, Deserialize)]
        struct $name {
            count: u64,
        }

        #[entity]
        impl $whole {
            async fn step(&mut self, step: $step, _turn: $turn) -> $reply {
                self.count += step;
                Ok(self.count)
            }
            async fn stepped(&mut self, outcome: $outcome) {
                drop(outcome);
            }
        }
    };
}

counter!(Counter, Counter, u64, u64, Result<u64, String>, &mut Turn<Counter>, Outcome<u64, String>);

fn main() {
    let _ = |client: Client| {
        let counter = client.entity::<Counter>(7);
        let _: grange::Call<Counter, u64, String> = counter.step(1);
        drop(counter.stepped());
    };
}
