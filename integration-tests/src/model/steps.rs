use super::world::Late;
use super::{Protocol, SILOS, Weakness, World};

/// What may happen next. A number names a silo, if nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// As much time passes as a lease lasts.
    Tick,
    /// A silo renews its lease, and hears so at once.
    Beat(u8),
    /// A renewal arrives, and its answer does not yet.
    BeatUnanswered(u8),
    /// The answer to a renewal comes.
    BeatAnswered(u8),
    /// This incarnation is declared dead.
    Declare(u8),
    /// A process dies.
    Crash(u8),
    /// A silo joins as a new incarnation.
    Join(u8),
    /// A silo asks to own the entity, and hears the answer.
    Claim(u8),
    /// … and does not wait for it: the request is late, or lost.
    ClaimLate(u8),
    /// … and the answer is lost.
    ClaimUnheard(u8),
    /// The commit that a silo has sent arrives, and the silo hears the answer.
    Commit(u8),
    /// … does not arrive while the silo waits: it is late, or lost.
    CommitLate(u8),
    /// … arrives, and the answer is lost.
    CommitUnheard(u8),
    /// The calls that wait at a silo go to the owner that was named.
    Route(u8),
    /// The next call that waits at a silo runs.
    Run(u8),
    /// A silo gives its claim back.
    Release(u8),
    /// The first, second, … of the requests for which nobody waits arrives.
    Arrive(u8),
    /// The store begins a new life; perhaps without its last commit.
    Restart {
        /// Its last commit is lost.
        is_torn: bool,
    },
    /// A silo sees that the store began a new life, and joins as a new incarnation.
    Learn(u8),
}

impl Step {
    /// Whether it happens in the end, if it can: the rest is misfortune, or somebody's choice.
    fn is_owed(self, world: &World) -> bool {
        match self {
            Self::Crash(_) | Self::Release(_) | Self::Arrive(_) | Self::Restart { .. } => false,
            Self::BeatUnanswered(_) | Self::ClaimLate(_) | Self::ClaimUnheard(_) => false,
            Self::CommitLate(_) | Self::CommitUnheard(_) => false,
            Self::Declare(who) => world.host(who).is_none(),
            _ => true,
        }
    }
}

impl Protocol {
    /// Whether nobody has anything to do, unless a misfortune happens.
    pub(super) fn is_quiet(&self, world: &World) -> bool {
        !self.possible(world).into_iter().any(|step| step.is_owed(world))
    }

    pub(super) fn possible(&self, world: &World) -> Vec<Step> {
        let mut steps = Vec::new();
        if world.now < self.bounds.ticks {
            steps.push(Step::Tick);
        }
        (0..SILOS as u8).for_each(|silo| self.steps_of_member(world, silo, &mut steps));
        (0..SILOS as u8).for_each(|silo| self.steps_of_work(world, silo, &mut steps));
        let declared = world.store.rows().filter(|(who, lives)| *lives && self.may_declare(world, *who));
        steps.extend(declared.map(|(who, _)| Step::Declare(who)));
        steps.extend((0..world.late.len() as u8).map(Step::Arrive));
        if world.left.restarts > 0 {
            steps.push(Step::Restart { is_torn: false });
            steps.extend(world.before.iter().map(|_| Step::Restart { is_torn: true }));
        }
        steps
    }

    fn steps_of_member(&self, world: &World, number: u8, steps: &mut Vec<Step>) {
        let silo = world.silo(number);
        if !silo.is_member() {
            return steps.push(Step::Join(number));
        }
        if silo.generation != world.store.generation() {
            if world.has_stake(number) || world.waiting(number).is_some() {
                steps.push(Step::Learn(number));
            }
        } else if silo.renewal.is_some() {
            steps.push(Step::BeatAnswered(number));
        } else if silo.lease != Some(world.now) && world.has_stake(number) {
            steps.push(Step::Beat(number));
            if world.left.losses > 0 {
                steps.push(Step::BeatUnanswered(number));
            }
        }
        // There must be time left to find that it is dead.
        if world.left.deaths > 0 && world.now < self.bounds.ticks && world.has_stake(number) {
            steps.push(Step::Crash(number));
        }
    }

    fn steps_of_work(&self, world: &World, number: u8, steps: &mut Vec<Step>) {
        let silo = world.silo(number);
        let waits = world.waiting(number).is_some();
        let may_fail = world.left.losses > 0;
        let Some(activation) = &silo.activation else {
            if waits && self.may_claim(world, number) {
                steps.push(Step::Claim(number));
                if may_fail {
                    steps.push(Step::ClaimLate(number));
                }
                if may_fail && would_be_granted(world, number) {
                    steps.push(Step::ClaimUnheard(number));
                }
            }
            if waits && silo.named.and_then(|owner| world.host(owner)).is_some_and(|host| host != number) {
                steps.push(Step::Route(number));
            }
            return;
        };
        if activation.flight.is_some() {
            steps.push(Step::Commit(number));
            if may_fail {
                steps.extend([Step::CommitLate(number), Step::CommitUnheard(number)]);
            }
        }
        if waits && !activation.is_leaving {
            steps.push(Step::Run(number));
        }
        if world.left.releases > 0 && activation.is_clean() {
            steps.push(Step::Release(number));
        }
    }

    fn may_claim(&self, world: &World, number: u8) -> bool {
        let silo = world.silo(number);
        let is_ready = silo.is_member() && silo.generation == world.store.generation();
        is_ready && silo.named.is_none_or(|owner| self.is_gone(world, number, owner))
    }

    /// Whether an owner may be taken over from: it must have no living row, in a table that was read after it was named.
    pub(super) fn is_gone(&self, world: &World, number: u8, owner: u8) -> bool {
        let looks_gone = !world.store.lives(owner)
            || self.lacks(Weakness::TakesFromTheLiving)
            || (self.lacks(Weakness::UnknownIsDead) && world.silo(number).known & (1 << owner) == 0);
        looks_gone && owner != world.incarnation(number)
    }

    /// It missed a renewal; and it is gone, or this is one of the deaths that may happen.
    fn may_declare(&self, world: &World, who: u8) -> bool {
        let may_die = |host| world.left.deaths > 0 && world.has_stake(host);
        world.host(who).is_none_or(may_die)
            && world.store.clone().declare_dead(who, world.now, !self.lacks(Weakness::DeclaredWithoutAMiss))
    }

    /// Takes one of the possible steps.
    pub(super) fn take(&self, world: &mut World, step: Step) {
        match step {
            Step::Tick => world.now += 1,
            Step::Beat(silo) => self.beat(world, silo),
            Step::BeatUnanswered(silo) => self.beat_unanswered(world, silo),
            Step::BeatAnswered(silo) => self.beat_answered(world, silo),
            Step::Declare(who) => self.declare(world, who),
            Step::Crash(silo) => world.crash(silo),
            Step::Join(silo) => self.join(world, silo),
            Step::Learn(silo) => self.renounce(world, silo),
            Step::Restart { is_torn } => world.restart(is_torn),
            Step::Claim(silo) => self.claim(world, silo),
            Step::ClaimLate(silo) => world.claim_late(silo),
            Step::ClaimUnheard(silo) => self.claim_unheard(world, silo),
            Step::Commit(silo) => self.commit(world, silo),
            Step::CommitLate(silo) => self.commit_late(world, silo),
            Step::CommitUnheard(silo) => self.commit_unheard(world, silo),
            Step::Route(silo) => world.route(silo),
            Step::Run(silo) => world.run(silo),
            Step::Release(silo) => self.release(world, silo),
            Step::Arrive(which) => self.arrive(world, which),
        }
    }

    fn arrive(&self, world: &mut World, which: u8) {
        let Some(late) = world.late.iter().nth(usize::from(which)).cloned() else { return };
        world.late.remove(&late);
        match late {
            Late::Claim { ticket, over } => {
                let _nobody_hears = world.store.claim(ticket, over, self.weakness);
            }
            Late::Commit(commit) => {
                self.apply(world, &commit);
            }
            Late::Release(ticket) => world.store.release(ticket),
        }
    }
}

/// A claim whose answer names another owner may as well be lost: nothing came of it.
fn would_be_granted(world: &World, number: u8) -> bool {
    let owner = world.store.owner();
    owner.is_none_or(|owner| Some(owner) == world.silo(number).named || owner == world.incarnation(number))
}
