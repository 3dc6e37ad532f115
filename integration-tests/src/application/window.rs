use std::collections::{BTreeMap, BTreeSet, VecDeque};

use grange::prelude::*;

/// How many of the last numbers a window keeps for each sender.
pub const KEPT: usize = 8;

/// How many missing numbers it remembers for each sender: enough to tell a late one from one that came twice.
const MISSING_MAX: usize = 256;

/// Watches the messages of each sender, as Wallaroo's sequence detector does: what is lost, comes twice, overtakes or is
/// damaged shows in the state.
#[entity]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Window {
    streams: BTreeMap<String, Stream>,
}

/// What a window saw of one sender.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// How many messages came.
    pub count: u64,
    /// The last numbers, in the order in which they came.
    pub last: VecDeque<u64>,
    /// The highest number.
    pub highest: u64,
    /// Numbers that were passed over and have not come since.
    pub missing: BTreeSet<u64>,
    /// Numbers that came after a higher one.
    pub reordered: u64,
    /// Numbers that came again.
    pub duplicated: u64,
    /// Messages that are not what was sent.
    pub corrupted: u64,
}

/// One numbered message, with a payload that its number and sender determine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    number: u64,
    payload: Vec<u8>,
}

impl Parcel {
    /// The message of this number.
    pub fn new(sender: &str, number: u64) -> Self {
        // Of different lengths, and different bytes: a mix-up of two messages shows.
        let length = 16 + number % 48;
        let mut hash = sender.bytes().fold(number ^ 0xCBF2_9CE4_8422_2325, mix);
        let payload = (0..length)
            .map(|_| {
                hash = mix(hash, 1);
                (hash >> 56) as u8
            })
            .collect();
        Self { number, payload }
    }
}

/// FNV-1a's step.
fn mix(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
}

impl Stream {
    /// Takes the next message.
    pub fn take(&mut self, sender: &str, parcel: &Parcel) {
        let number = parcel.number;
        self.count += 1;
        if *parcel != Parcel::new(sender, number) {
            self.corrupted += 1;
        }
        if number > self.highest {
            let passed_over = self.highest + 1..number;
            let room = MISSING_MAX.saturating_sub(self.missing.len());
            self.missing.extend(passed_over.take(room));
            self.highest = number;
        } else if self.missing.remove(&number) {
            self.reordered += 1;
        } else {
            self.duplicated += 1;
        }
        self.last.push_back(number);
        if self.last.len() > KEPT {
            self.last.pop_front();
        }
    }
}

#[entity]
impl Window {
    /// A message of this sender.
    pub async fn arrive(&mut self, sender: String, parcel: Parcel) {
        self.streams.entry(sender.clone()).or_default().take(&sender, &parcel);
    }

    /// What came, by sender.
    pub async fn streams(&self) -> BTreeMap<String, Stream> {
        self.streams.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(numbers: &[u64]) -> Stream {
        let mut stream = Stream::default();
        numbers.iter().for_each(|number| stream.take("a", &Parcel::new("a", *number)));
        stream
    }

    #[test]
    fn each_fault_has_its_own_count() {
        let good = stream(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!((good.count, good.highest, good.last.len()), (10, 10, KEPT));
        assert_eq!((good.missing.len(), good.reordered, good.duplicated, good.corrupted), (0, 0, 0, 0));
        assert_eq!(stream(&[1, 3]).missing.len(), 1);
        let late = stream(&[1, 3, 2]);
        assert_eq!((late.missing.len(), late.reordered, late.duplicated), (0, 1, 0));
        assert_eq!(stream(&[1, 2, 2]).duplicated, 1);
        assert_eq!(stream(&[1, 2, 1]).duplicated, 1);
        let mut mixed_up = stream(&[1]);
        mixed_up.take("a", &Parcel::new("b", 2));
        assert_eq!(mixed_up.corrupted, 1);
    }
}
