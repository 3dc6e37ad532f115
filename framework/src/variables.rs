//! Variables of the environment, and what to say of those that nobody knows.

use std::sync::Once;

/// All that grange reads: silos and clients. `GRANGE_SEED` and the like are its own tests'.
const KNOWN: &[&str] = &[
    "GRANGE_ADVERTISE",
    "GRANGE_CLUSTER",
    "GRANGE_EMBEDDED",
    "GRANGE_GATEWAYS",
    "GRANGE_IN_MEMORY",
    "GRANGE_LISTEN",
    "GRANGE_REDIS",
    "GRANGE_SECRET_FILE",
    "GRANGE_TLS_CA",
    "GRANGE_TLS_CERT",
    "GRANGE_TLS_KEY",
    "GRANGE_WEIGHT",
    "GRANGE_WORKERS",
];

/// A variable of the environment; one that is empty counts as not set.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Says once, in the log, which variables of this process are meant for grange and are none of its.
pub(crate) fn warn_of_unknown() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for warning in names.filter_map(|name| unknown(&name)) {
            tracing::warn!(target: "grange", "{warning}");
        }
    });
}

/// What to say of this variable, if it looks like grange's and is not.
fn unknown(name: &str) -> Option<String> {
    if !name.starts_with("GRANGE_") || KNOWN.contains(&name) {
        return None;
    }
    let nearest = KNOWN.iter().min_by_key(|known| strsim::damerau_levenshtein(name, known))?;
    Some(match strsim::damerau_levenshtein(name, nearest) {
        0..=3 => format!("the variable {name} is set, and is not read: is {nearest} meant?"),
        _ => format!("the variable {name} is set, and is not read; those that are: {}", KNOWN.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_told_the_name_that_is_near() {
        for (wrong, right) in [("GRANGE_LISEN", "GRANGE_LISTEN"), ("GRANGE_GATEWAY", "GRANGE_GATEWAYS")] {
            assert!(unknown(wrong).is_some_and(|told| told.contains(&format!("is {right} meant?"))), "{wrong}");
        }
        assert!(unknown("GRANGE_COLOUR_SCHEME").is_some_and(|told| told.contains("GRANGE_LISTEN, GRANGE_REDIS")));
        assert_eq!(unknown("GRANGE_LISTEN"), None);
        assert_eq!(unknown("PATH"), None);
    }
}
