/// The candidate that was probably meant: at most a third of its letters are wrong.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let (distance, candidate) =
        candidates.iter().map(|candidate| (distance(word, candidate), *candidate)).min_by_key(|near| near.0)?;
    (distance <= candidate.len().max(word.len()).div_ceil(3)).then_some(candidate)
}

/// How many letters must be inserted, removed or replaced to make one word the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
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

    #[test]
    fn the_distance_counts_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
