/// Which entities there are.
#[derive(Debug, Clone)]
pub struct Population {
    /// Accounts.
    pub ledgers: Vec<String>,
    /// Senders.
    pub sources: Vec<String>,
    /// Their targets.
    pub windows: Vec<String>,
    /// Registers.
    pub registers: Vec<String>,
    /// Lists.
    pub lists: Vec<String>,
}

impl Population {
    /// So many accounts, and the others in proportion, with names that begin like this. Keys that are not plain are among them.
    pub fn new(prefix: &str, accounts: usize) -> Self {
        let names =
            |what: &str, count: usize| (0..count.max(2)).map(|number| format!("{prefix}{what}-{number}")).collect();
        let mut population = Self {
            ledgers: names("account", accounts),
            sources: names("source", accounts / 4),
            windows: names("window", accounts / 4),
            registers: names("register", accounts / 2),
            lists: names("list", accounts / 2),
        };
        // As a user could name them, to see what a store makes of it.
        if let Some(name) = population.lists.first_mut() {
            *name = format!("{prefix}list {{0}}:\u{0}\r\n/ü");
        }
        population
    }
}

impl Default for Population {
    fn default() -> Self {
        Self::new("", 24)
    }
}
