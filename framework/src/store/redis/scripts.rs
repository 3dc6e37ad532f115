//! What runs inside Redis.
//!
//! Each script checks first and then writes with at most one command: Redis does not roll a script back, and an
//! append-only file that was cut in the middle may hold half of one that wrote twice. Each is called by its digest,
//! and a version of grange brings its own, so that old and new ones don't meet.

/// A script, and the name that Redis knows it by.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) text: String,
    pub(super) digest: String,
}

impl Script {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), digest: redis::Script::new(text).get_hash().to_owned() }
    }
}

macro_rules! scripts {
    ($($name:ident),*) => {
        /// All of them.
        #[derive(Debug)]
        pub(super) struct Scripts {
            $(pub(super) $name: Script,)*
            /// Commits make their entries in the indexes first.
            pub(super) hints: bool,
        }

        impl Scripts {
            pub(super) fn new() -> Self {
                Self {
                    $($name: Script::new(include_str!(concat!("scripts/", stringify!($name), ".lua"))),)*
                    hints: true,
                }
            }

            pub(super) fn all(&self) -> impl Iterator<Item = &Script> {
                [$(&self.$name),*].into_iter()
            }

            #[cfg(feature = "testing")]
            fn all_mut(&mut self) -> impl Iterator<Item = &mut Script> {
                [$(&mut self.$name),*].into_iter()
            }
        }
    };
}

scripts!(
    life,
    claim,
    commit,
    trim,
    sweep,
    release,
    due,
    hint,
    settle,
    unlist,
    renew,
    join,
    beat,
    advance,
    declare_dead,
    place
);

/// A check that is left out of a script, to see which test notices.
#[cfg(feature = "testing")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// A claim is granted over a living owner.
    Taken,
    /// A commit that was applied is not recognised.
    Commit,
    /// A commit of another owner is applied.
    Owner,
    /// A commit of an older claim of the same owner is applied.
    Nonce,
    /// A commit of another life is applied.
    Generation,
    /// A commit over a version that it did not see is applied.
    Version,
    /// A trim that a later commit overtook is applied.
    Overtaken,
    /// A commit is applied without its entry in the agenda.
    Agenda,
    /// A commit is sent without making its entry in the agenda.
    Hint,
    /// A silo that is dead renews, or moves on.
    Dead,
    /// A silo that is dead joins again.
    Revive,
    /// A silo that renews is declared dead.
    Missed,
}

#[cfg(feature = "testing")]
impl Scripts {
    pub(super) fn without(mut self, mutant: Mutant) -> Self {
        let mark = format!("-- check: {}", format!("{mutant:?}").to_lowercase());
        self.hints &= mutant != Mutant::Hint;
        for script in self.all_mut() {
            let kept: Vec<&str> = script.text.lines().filter(|line| !line.ends_with(&mark)).collect();
            *script = Script::new(&kept.join("\n"));
        }
        self
    }
}
