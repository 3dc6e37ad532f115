use std::time::Duration;

use crate::harness::usage::{Usage, Watch};
use crate::{Case, Latencies, Options, Role, Sample};

/// How often a round that does not count is measured again before that is given up.
const AGAIN: usize = 3;

/// A case, and what it did in each round.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The case's name.
    pub name: String,
    /// What it is there for.
    pub role: Role,
    /// Its rounds. All cases that were measured in turn have as many.
    pub samples: Vec<Sample>,
    /// Rounds that did not count, and why.
    pub thrown_away: Vec<String>,
    /// Who else was busy while these cases were measured.
    pub(crate) usage: Usage,
}

impl Measured {
    /// The latencies of all its rounds.
    pub fn latencies(&self) -> Option<Latencies> {
        let mut all = self.samples.iter().filter_map(|sample| sample.latencies.as_ref());
        let first = all.next()?.clone();
        Some(all.fold(first, |mut sum, latencies| {
            sum.add(latencies);
            sum
        }))
    }
}

/// Measures the cases in turn, round after round, so that what drifts on the machine drifts for all of them. Before that each
/// of them is run until it is warm, and until it is known how many operations fill a round.
///
/// A round in which a case says that it does not count (its sender fell behind) is measured again, three times at most.
pub fn rounds(options: &Options, cases: Vec<Case<'_>>) -> Vec<Measured> {
    let mut cases = cases;
    let operations: Vec<u64> = cases.iter_mut().map(|case| calibrate(case, options.round())).collect();
    let mut measured: Vec<Measured> = cases.iter().map(empty).collect();
    let busy = Watch::begin();
    for _ in 0..options.rounds {
        for ((case, operations), measured) in cases.iter_mut().zip(&operations).zip(&mut measured) {
            one_round(case, *operations, measured);
        }
    }
    let usage = busy.end();
    measured.iter_mut().for_each(|measured| measured.usage = usage.clone());
    measured
}

fn empty(case: &Case<'_>) -> Measured {
    Measured {
        name: case.name.clone(),
        role: case.role,
        samples: Vec::new(),
        thrown_away: Vec::new(),
        usage: Usage::default(),
    }
}

fn one_round(case: &mut Case<'_>, operations: u64, measured: &mut Measured) {
    for _ in 0..=AGAIN {
        let sample = (case.run)(operations);
        match sample.thrown_away.clone() {
            None => return measured.samples.push(sample),
            Some(why) => {
                measured.thrown_away.push(why);
            }
        }
    }
}

/// How many operations of this case take about so long.
fn calibrate(case: &mut Case<'_>, round: Duration) -> u64 {
    let mut asked = 1;
    loop {
        let Sample { operations: done, elapsed, .. } = (case.run)(asked);
        if elapsed >= round / 4 {
            let more = round.as_secs_f64() / elapsed.as_secs_f64();
            return ((done as f64 * more) as u64).max(1);
        }
        // A case with a size of its own does no more, however often it is asked.
        if done < asked {
            return asked;
        }
        // Many callers do one each at least, which is more than was asked for.
        asked = done * 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Duration = Duration::from_millis(100);

    /// A case whose operations take a microsecond each, and of which there are at least so many.
    fn case(least: u64) -> Case<'static> {
        Case::grange("case", move |asked| {
            let operations = asked.max(least);
            Sample::new(operations, Duration::from_micros(operations))
        })
    }

    #[test]
    fn a_round_is_filled() {
        assert_eq!(calibrate(&mut case(1), ROUND), 100_000);
    }

    #[test]
    fn a_round_of_many_callers_is_filled() {
        assert_eq!(calibrate(&mut case(1_000), ROUND), 100_000);
    }

    #[test]
    fn a_case_with_a_size_of_its_own_ends_the_search() {
        let mut case = Case::grange("case", |_| Sample::new(10, Duration::from_micros(1)));
        assert_eq!(calibrate(&mut case, ROUND), 40);
    }
}
