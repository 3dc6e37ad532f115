/// What every commit of an entity rewrites: how the record stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// 0: never committed, and then nothing of it is on disk.
    pub(super) version: u64,
    /// The commit that made this version: the same one, sent again, is answered `Done`.
    pub(super) commit: u128,
    /// Of the claim under which it was made.
    pub(super) epoch: u64,
    /// Its entry in the agenda.
    pub(super) wake: Option<u64>,
}

// The first byte is the format of what follows. Another one is refused, never guessed at.
const FORMAT: u8 = 1;
const LENGTH: usize = 1 + 8 + 16 + 8 + 1 + 8;

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(FORMAT);
        bytes.extend(self.version.to_be_bytes());
        bytes.extend(self.commit.to_be_bytes());
        bytes.extend(self.epoch.to_be_bytes());
        bytes.push(u8::from(self.wake.is_some()));
        bytes.extend(self.wake.unwrap_or(0).to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
        let (format, rest) = bytes.split_first()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (commit, rest) = rest.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (has_wake, wake) = rest.split_first()?;
        let wake = u64::from_be_bytes(wake.try_into().ok()?);
        (*format == FORMAT && *has_wake <= 1).then(|| Self {
            version: u64::from_be_bytes(*version),
            commit: u128::from_be_bytes(*commit),
            epoch: u64::from_be_bytes(*epoch),
            wake: (*has_wake == 1).then_some(wake),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_as_it_was_written() {
        for wake in [None, Some(0), Some(u64::MAX)] {
            let head = Head { version: 3, commit: 1 << 100, epoch: 5, wake };
            assert_eq!(Head::decode(&head.encode()), Some(head));
        }
    }

    #[test]
    fn another_format_is_not_read() {
        let mut bytes = Head::default().encode();
        bytes[0] = FORMAT + 1;
        assert_eq!(Head::decode(&bytes), None);
        assert_eq!(Head::decode(&bytes[1..]), None);
    }
}
