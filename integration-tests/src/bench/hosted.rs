use crate::bench::Store;
use crate::proxy::Proxy;
use crate::random::Random;
use crate::servers::SiloProcess;

/// A silo, and what is between it and the others.
#[derive(Debug)]
pub struct Hosted {
    /// Its process.
    pub silo: SiloProcess,
    /// On its way to the store.
    pub to_store: Option<Proxy>,
    /// Before its door: what it advertises.
    pub front: Option<Proxy>,
}

impl Hosted {
    pub(crate) fn proxies(
        listen: &str,
        store: &Store,
        wanted: bool,
        random: &mut Random,
    ) -> (Option<Proxy>, Option<Proxy>) {
        let mut proxy = |target: &str| wanted.then(|| Proxy::start(target, random.below(u64::MAX)));
        // Of several masters each knows the others by its own name: a proxy would be gone round.
        let to_store = match store {
            Store::Single(redis) => proxy(&redis.address()),
            Store::Masters(_) => None,
        };
        (to_store, proxy(listen))
    }

    /// The proxy on its way to the store.
    ///
    /// # Panics
    /// When the bench was planned without.
    pub fn to_store(&self) -> &Proxy {
        self.to_store.as_ref().expect("a plan with proxies")
    }

    /// The proxy before its door.
    ///
    /// # Panics
    /// When the bench was planned without.
    pub fn front(&self) -> &Proxy {
        self.front.as_ref().expect("a plan with proxies")
    }
}
