use grange::prelude::*;

/// A list to which each operation adds its own id: what was done twice is in it twice.
#[entity]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Once {
    ids: Vec<Uuid>,
}

#[entity]
impl Once {
    /// Adds the id, and says at which place it is: no two operations get the same answer.
    pub async fn add(&mut self, id: Uuid) -> u64 {
        self.ids.push(id);
        self.ids.len() as u64 - 1
    }

    /// A read.
    pub async fn ids(&self) -> Vec<Uuid> {
        self.ids.clone()
    }
}
