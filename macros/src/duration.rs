/// The units that a text such as `10m` may have, and how many ms each is.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// `"10m"` as ms. The error says what to write instead.
pub(crate) fn milliseconds(text: &str) -> Result<u64, String> {
    let number = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(number);
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("`{text}` is not a duration: {}", advice(number, unit)));
    };
    if number.is_empty() {
        return Err(format!("`{text}` is not a duration: write the number before the unit, such as \"10{unit}\""));
    }
    let milliseconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
    milliseconds.ok_or_else(|| format!("`{text}` is too long a duration: leave the argument out instead"))
}

fn advice(number: &str, unit: &str) -> String {
    const FORM: &str = "write a whole number and one of `ms`, `s`, `m`, `h`, `d`, such as \"10m\"";
    let meant = match unit.trim().to_ascii_lowercase().as_str() {
        "" if !number.is_empty() => "s",
        "ms" | "msec" | "millis" | "milliseconds" => "ms",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => return FORM.to_owned(),
    };
    if number.is_empty() { FORM.to_owned() } else { format!("did you mean \"{number}{meant}\"? {FORM}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        let read = ["250ms", "10s", "10m", "2h", "1d", "0s"].map(milliseconds);
        assert_eq!(read, [250, 10_000, 600_000, 7_200_000, 86_400_000, 0].map(Ok));
    }

    #[test]
    fn what_was_meant_is_said() {
        for (text, meant) in [("10", "\"10s\""), ("10 min", "\"10m\""), ("2 hours", "\"2h\""), ("5S", "\"5s\"")] {
            let error = milliseconds(text).unwrap_err();
            assert!(error.contains(&format!("did you mean {meant}?")), "{text}: {error}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "m", "ten minutes", "1.5h", "-1s", "1h30m", "99999999999999999999s", "999999999999999999d"] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
    }
}
