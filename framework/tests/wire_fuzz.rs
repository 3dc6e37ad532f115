//! Bytes that nobody honest would send, for as long as `GRANGE_FUZZ_SECONDS` says (5), from `GRANGE_FUZZ_SEED` on.
//!
//! Half of them are honest conversations with something done to them, so that they come further than noise does.

use std::time::Duration;

use grange::testing::wire::{Side, feed, transcript};
use tokio::time::timeout;

#[test]
fn no_bytes_from_outside_do_harm() {
    let seconds = setting("GRANGE_FUZZ_SECONDS", 5);
    let first = setting("GRANGE_FUZZ_SEED", 1);
    // Time is virtual in each run: a deadline costs nothing. So real time is watched from a thread that has it.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let _ = stopped.recv_timeout(Duration::from_secs(seconds));
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (mut runs, mut accepted, mut messages) = (0u64, 0u64, 0u64);
    runtime.block_on(async {
        let said: Vec<Vec<u8>> = (0..20).map(|size| vec![size; usize::from(size) * 40]).collect();
        let honest = [transcript(Side::Dialer, &said).await, transcript(Side::Acceptor, &said).await];
        for (side, bytes) in [Side::Dialer, Side::Acceptor].into_iter().zip(&honest) {
            let fed = feed(side, bytes).await;
            assert!(fed.accepted && fed.messages == 20 && fed.ends == 1, "{side:?} refuses what is honest: {fed:?}");
        }
        while !watch.is_finished() {
            for seed in first + runs..first + runs + 100 {
                let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
                let (side, honest) =
                    if random.below(2) == 0 { (Side::Dialer, &honest[0]) } else { (Side::Acceptor, &honest[1]) };
                let bytes = random.bytes(honest);
                let Ok(fed) = timeout(Duration::from_secs(120), feed(side, &bytes)).await else {
                    panic!("{side:?} hangs: GRANGE_FUZZ_SEED={seed} GRANGE_FUZZ_SECONDS=1 repeats it");
                };
                let holds = fed.ends == u64::from(fed.accepted)
                    && (fed.accepted || fed.messages == 0)
                    && fed.answered.len() <= 2 * bytes.len() + 4096;
                assert!(holds, "{side:?}: {fed:?}: GRANGE_FUZZ_SEED={seed} GRANGE_FUZZ_SECONDS=1 repeats it");
                accepted += u64::from(fed.accepted);
                messages += fed.messages;
            }
            runs += 100;
        }
    });
    drop(stop);
    watch.join().unwrap();
    assert!(accepted > 0 && accepted < runs, "{accepted} of {runs} came through the handshake: nothing is tested so");
    eprintln!("{runs} runs, {accepted} through the handshake, {messages} messages");
    assert!(messages > 0, "no message came through in {runs} runs");
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Xorshift: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound.max(1)
    }

    fn bytes(&mut self, honest: &[u8]) -> Vec<u8> {
        if self.below(4) == 0 {
            let size = self.below(600);
            return (0..size).map(|_| self.next() as u8).collect();
        }
        let mut bytes = honest.to_vec();
        for _ in 0..=self.below(4) {
            self.mutate(&mut bytes);
        }
        bytes
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        // Behind the handshake more often than in it: a proof that is damaged ends the run.
        let early = self.below(4) == 0;
        let from = if early { 0 } else { bytes.len().min(200) };
        let at = from + self.below(bytes.len() - from);
        match self.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
            2 => {
                let wrong = self.next().to_be_bytes();
                bytes.iter_mut().skip(at).zip(wrong).for_each(|(byte, wrong)| *byte = wrong);
            }
            3 => bytes.insert(at.min(bytes.len()), self.next() as u8),
            4 => {
                let end = (at + self.below(100)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
            5 => {
                let again = bytes[at.min(bytes.len())..].to_vec();
                bytes.extend_from_slice(&again);
            }
            _ => {
                // A length that lies.
                let lie = [0, 15, 16, 4096, 65_536, 65_537, u32::MAX][self.below(7)].to_be_bytes();
                bytes.iter_mut().skip(at).zip(lie).for_each(|(byte, lie)| *byte = lie);
            }
        }
    }
}
