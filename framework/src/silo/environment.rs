//! A silo's settings from the environment, so that one binary serves a laptop and production.

use crate::silo::builder::SiloBuilder;

impl SiloBuilder {
    /// The settings that `read` knows, by the names of [`Silo::from_env`](crate::Silo::from_env).
    pub(crate) fn with_env(mut self, read: &dyn Fn(&str) -> Option<String>) -> Self {
        let stores = ["GRANGE_IN_MEMORY", "GRANGE_EMBEDDED", "GRANGE_REDIS"];
        let chosen: Vec<&str> =
            stores.into_iter().filter(|name| read(name).is_some_and(|value| value != "0")).collect();
        if chosen.len() > 1 {
            self.fault = Some(format!("{} are set, and a silo has one store: unset all but one", chosen.join(" and ")));
        }
        #[cfg(not(feature = "embedded"))]
        if read("GRANGE_EMBEDDED").is_some() {
            self.fault =
                Some("GRANGE_EMBEDDED is set, and this program was built without grange's feature `embedded`".into());
        }
        #[cfg(not(feature = "redis"))]
        if read("GRANGE_REDIS").is_some() {
            self.fault =
                Some("GRANGE_REDIS is set, and this program was built without grange's feature `redis`".into());
        }
        if read("GRANGE_IN_MEMORY").is_some_and(|value| value == "1") {
            self = self.in_memory();
        }
        #[cfg(feature = "embedded")]
        if let Some(path) = read("GRANGE_EMBEDDED") {
            self = self.embedded(path);
        }
        #[cfg(feature = "redis")]
        if let Some(url) = read("GRANGE_REDIS") {
            self = self.redis(url);
        }
        if let Some(name) = read("GRANGE_CLUSTER") {
            self = self.cluster(name);
        }
        if let Some(address) = read("GRANGE_LISTEN") {
            self = self.listen(address);
        }
        if let Some(address) = read("GRANGE_ADVERTISE") {
            self = self.advertise(address);
        }
        match self.security.clone().with_env(read) {
            Ok(security) => self.security = security,
            Err(fault) => self.fault = Some(fault),
        }
        self = self.number(read, "GRANGE_WEIGHT", Self::weight);
        self.number(read, "GRANGE_WORKERS", Self::workers)
    }

    fn number<N: std::str::FromStr>(
        mut self,
        read: &dyn Fn(&str) -> Option<String>,
        name: &str,
        set: impl FnOnce(Self, N) -> Self,
    ) -> Self {
        match read(name).map(|value| (value.parse(), value)) {
            None => self,
            Some((Ok(number), _)) => set(self, number),
            Some((Err(_), value)) => {
                self.fault = Some(format!("{name} is `{value}`: it must be a number, such as 4"));
                self
            }
        }
    }
}
