/// Before which time nobody has to be woken.
///
/// Entries are removed at the front of the agenda all the time, and fjall keeps what was removed until tables are
/// merged. A scan that began at the very front would walk over all of that.
#[derive(Debug, Default)]
pub(super) struct Front {
    from: u64,
    /// The earliest wake time that was written since the scan under way began.
    meanwhile: u64,
}

impl Front {
    /// A scan begins, at this time. There is only one at a time.
    pub(super) fn begin(&mut self) -> u64 {
        self.meanwhile = u64::MAX;
        self.from
    }

    /// The scan found this entry first, or none up to this time.
    pub(super) fn end(&mut self, first: u64) {
        self.from = first.min(self.meanwhile).max(self.from);
    }

    /// A batch was written that has this as its earliest wake time. Called before it is answered for: until then, a
    /// scan may miss it.
    pub(super) fn written(&mut self, wake: u64) {
        self.from = self.from.min(wake);
        self.meanwhile = self.meanwhile.min(wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_begins_where_the_last_one_found_something() {
        let mut front = Front::default();
        assert_eq!(front.begin(), 0);
        front.end(50);
        assert_eq!(front.begin(), 50);
    }

    #[test]
    fn what_is_written_during_a_scan_is_not_skipped_by_the_next() {
        let mut front = Front::default();
        front.begin();
        front.written(20);
        front.end(50);
        assert_eq!(front.begin(), 20);
        front.written(10);
        front.end(50);
        assert_eq!(front.begin(), 10);
    }
}
