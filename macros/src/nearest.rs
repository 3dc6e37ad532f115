use strsim::levenshtein;

/// The candidate that was probably meant: at most a third of its letters are wrong.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let (distance, candidate) =
        candidates.iter().map(|candidate| (levenshtein(word, candidate), *candidate)).min_by_key(|near| near.0)?;
    (distance <= candidate.len().max(word.len()).div_ceil(3)).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &[&str] = &["name", "key", "volatile", "idle", "placement", "mailbox"];

    #[test]
    fn a_misspelt_word_is_recognised() {
        assert_eq!(nearest("volatil", WORDS), Some("volatile"));
        assert_eq!(nearest("Idle", WORDS), Some("idle"));
        assert_eq!(nearest("mail_box", WORDS), Some("mailbox"));
    }

    #[test]
    fn another_word_is_not() {
        assert_eq!(nearest("durable", WORDS), None);
        assert_eq!(nearest("x", WORDS), None);
    }
}
