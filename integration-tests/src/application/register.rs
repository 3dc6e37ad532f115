use grange::prelude::*;

/// One value, read and written: it must look as if there was one copy of it.
#[entity]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Register {
    value: u64,
}

#[entity]
impl Register {
    /// Writes.
    pub async fn write(&mut self, value: u64) {
        self.value = value;
    }

    /// Reads.
    pub async fn read(&self) -> u64 {
        self.value
    }
}
