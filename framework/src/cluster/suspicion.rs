use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::cluster::{Probed, Table};
use crate::store::{Incarnation, Member};

/// How long a silo whose host refuses connections must have missed its renewals to be dead, in ms.
pub(crate) const REFUSED_MS: u64 = 1_500;
/// The same for one that says nothing, or answers and does not renew: it may be cut off, paused or stuck.
pub(crate) const SILENT_MS: u64 = 5_000;
/// After a disturbance, nobody is declared dead for so long who was not seen to renew since.
const QUIET_MS: u64 = 5_000;
/// A longer time between two of my own renewals means that the store was away, or I was.
const GAP_MS: u64 = 1_000;
/// By how much the store's clock may differ from mine between two of my own renewals before it was set.
const JUMP_MS: u64 = 500;
/// How long a broken connection is reason enough to look closely.
const HINT_MS: u64 = 2_500;
/// Looks at addresses that are on their way at the same time.
const PROBES_MAX: usize = 16;

/// Whom this silo suspects to be dead, and on what evidence.
///
/// Values in, values out: it asks nobody and reads no clock. Times are of this machine's boot clock, ages come from the
/// store, and each is only ever compared with its own kind.
#[derive(Debug)]
pub(crate) struct Suspicions {
    me: Incarnation,
    suspects: BTreeMap<Incarnation, Suspect>,
    /// My last renewal.
    renewal: Option<Renewal>,
    disturbed: (u64, Disturbance),
    /// Who was seen to have renewed, since the disturbance.
    fresh: BTreeSet<Incarnation>,
    /// More than half of the others are overdue.
    crowd: bool,
}

/// A renewal that the store confirmed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renewal {
    /// When it was sent.
    pub(crate) sent: u64,
    /// When the answer was there.
    pub(crate) answered: u64,
    /// By the store's clock, somewhere between the two.
    pub(crate) now: u64,
}

/// Why the ages that the store tells are no evidence for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// I have just come, and don't know what was before.
    Joined,
    /// The store was away, or I was: everybody's renewals may have been missed.
    Gap,
    /// The store's clock was set: all ages are wrong by as much.
    Jump,
    /// More than half of the others seem to be gone at once: it is more likely me, or the store.
    Crowd,
}

#[derive(Debug, Default)]
struct Suspect {
    /// For how long it had not renewed, at my last renewal; `None`: it was not overdue.
    missed: Option<u64>,
    finding: Option<Finding>,
    probing: bool,
    hinted: Option<u64>,
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missed = self.missed.unwrap_or_default();
        let found = match self.finding {
            None => "its address was not looked at",
            Some(Finding::Refused) => "its host refuses connections at its address",
            Some(Finding::Succeeded) => "a younger silo answers at its address",
            Some(Finding::Unclear) => "what is at its address does not say that it lives",
        };
        write!(f, "its lease was not renewed for {missed} ms, and {found}")
    }
}

/// What looks at a suspect's address amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// Its host refuses connections.
    Refused,
    /// A silo that joined later answers at its address.
    Succeeded,
    /// Neither: silence, or it answers itself and yet does not renew.
    Unclear,
}

impl Finding {
    fn missed_ms(self) -> u64 {
        match self {
            Self::Refused | Self::Succeeded => REFUSED_MS,
            Self::Unclear => SILENT_MS,
        }
    }
}

impl Suspicions {
    /// Of a silo that joined at this time.
    pub(crate) fn new(me: Incarnation, now: u64) -> Self {
        Self {
            me,
            suspects: BTreeMap::new(),
            renewal: None,
            disturbed: (now, Disturbance::Joined),
            fresh: BTreeSet::new(),
            crowd: false,
        }
    }

    /// My renewal was confirmed, and these had not renewed for so long. Says what has just disturbed the evidence.
    pub(crate) fn renewed(
        &mut self,
        renewal: Renewal,
        overdue: &[(Incarnation, u64)],
        table: &Table,
    ) -> Option<Disturbance> {
        let others: BTreeSet<_> =
            table.living().map(|member| member.incarnation).filter(|who| *who != self.me).collect();
        let overdue: BTreeMap<_, _> = overdue.iter().copied().filter(|(who, _)| others.contains(who)).collect();
        let disturbance = self.disturbance(renewal, others.len(), overdue.len());
        if let Some(disturbance) = disturbance {
            self.disturbed = (renewal.answered, disturbance);
            self.fresh.clear();
        }
        self.renewal = Some(renewal);
        self.fresh.retain(|who| others.contains(who));
        self.fresh.extend(others.iter().filter(|who| !overdue.contains_key(who)));
        for (who, suspect) in &mut self.suspects {
            suspect.missed = overdue.get(who).copied();
        }
        for (who, missed) in overdue {
            self.suspects.entry(who).or_default().missed = Some(missed);
        }
        self.suspects.retain(|who, suspect| {
            let hinted = suspect.hinted.is_some_and(|at| renewal.answered.saturating_sub(at) < HINT_MS);
            others.contains(who) && (suspect.missed.is_some() || hinted)
        });
        disturbance
    }

    fn disturbance(&mut self, renewal: Renewal, others: usize, overdue: usize) -> Option<Disturbance> {
        let crowded = std::mem::replace(&mut self.crowd, overdue >= 2 && overdue * 2 > others);
        let before = self.renewal?;
        let (least, most) =
            (renewal.sent.saturating_sub(before.answered), renewal.answered.saturating_sub(before.sent));
        let moved = renewal.now.checked_sub(before.now);
        if moved.is_none_or(|moved| moved + JUMP_MS < least || moved > most + JUMP_MS) {
            Some(Disturbance::Jump)
        } else if renewal.answered.saturating_sub(before.answered) > GAP_MS {
            Some(Disturbance::Gap)
        } else if self.crowd && !crowded {
            Some(Disturbance::Crowd)
        } else {
            None
        }
    }

    /// A connection to it broke: worth a look, and no evidence.
    pub(crate) fn hint(&mut self, who: Incarnation, table: &Table, now: u64) {
        if who != self.me && table.status(who).is_some_and(|status| status.lives()) {
            self.suspects.entry(who).or_default().hinted = Some(now);
        }
    }

    /// Whether there is reason to look often.
    pub(crate) fn any(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Whose addresses are to be looked at now: each will be answered with [`probed`](Self::probed).
    pub(crate) fn choose_probes(&mut self, table: &Table) -> Vec<(Incarnation, String)> {
        let room = PROBES_MAX.saturating_sub(self.suspects.values().filter(|suspect| suspect.probing).count());
        let idle = table
            .living()
            .filter(|member| self.suspects.get(&member.incarnation).is_some_and(|suspect| !suspect.probing));
        let mut idle: Vec<&Member> = idle.collect();
        // Who was never looked at comes first, so that many silent ones don't keep it from its turn.
        idle.sort_by_key(|member| {
            self.suspects.get(&member.incarnation).is_some_and(|suspect| suspect.finding.is_some())
        });
        idle.truncate(room);
        let chosen: Vec<_> = idle.into_iter().map(|member| (member.incarnation, member.address.clone())).collect();
        for (who, _) in &chosen {
            self.suspects.entry(*who).or_default().probing = true;
        }
        chosen
    }

    /// What was found at a suspect's address.
    pub(crate) fn probed(&mut self, who: Incarnation, probed: Probed, table: &Table) {
        let Some(suspect) = self.suspects.get_mut(&who) else { return };
        suspect.probing = false;
        suspect.finding = Some(match probed {
            Probed::Refused => Finding::Refused,
            Probed::Answers(other) if succeeds(other, who, table) => Finding::Succeeded,
            Probed::Answers(_) | Probed::Silent => Finding::Unclear,
        });
    }

    /// Who is to be declared dead now, right after a renewal, and by what measure: the store checks it again.
    pub(crate) fn condemned(&self) -> Vec<(Incarnation, u64)> {
        let now = self.renewal.map_or(0, |renewal| renewal.answered);
        let (since, disturbance) = self.disturbed;
        let condemned = self.suspects.iter().filter_map(|(who, suspect)| {
            let finding = suspect.finding?;
            let missed_ms = finding.missed_ms();
            // A newcomer need not wait to succeed an older life of itself: it is that one's address that it has.
            let known = self.fresh.contains(who)
                || now.saturating_sub(since) >= QUIET_MS
                || (disturbance == Disturbance::Joined && finding == Finding::Succeeded);
            (known && suspect.missed? >= missed_ms).then_some((*who, missed_ms))
        });
        let mut condemned: Vec<_> = condemned.collect();
        condemned.sort_unstable();
        condemned
    }

    /// What is known, for the log.
    pub(crate) fn evidence(&self, who: Incarnation) -> String {
        self.suspects.get(&who).map_or_else(String::new, Suspect::to_string)
    }
}

/// Whether a silo has taken another's place: its row has the same address, and joined later. Anything else that answers
/// there may be a mistake of the network.
fn succeeds(other: Incarnation, who: Incarnation, table: &Table) -> bool {
    let members = &table.roster().members;
    let place = |of: Incarnation| members.iter().enumerate().find(|(_, member)| member.incarnation == of);
    place(other)
        .zip(place(who))
        .is_some_and(|((later, new), (earlier, old))| later > earlier && new.address == old.address)
}
