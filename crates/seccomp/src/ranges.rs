//! What happens to each number of an architecture, as ranges of numbers that are treated alike.

use crate::architecture::{Architecture, Width};
use crate::multiplexed::{self, Case};
use crate::rules::{Rule, Rules};
use crate::table::{ARM_PRIVATE, Row, X32_BIT};
use crate::verdict::Verdict;

/// What happens to the calls of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The same for all, whatever the arguments are.
    Answer(Verdict),
    /// Rules to try one after the other, then the default.
    Try {
        /// How wide the calls' arguments are.
        width: Width,
        /// The rules.
        attempts: Vec<Attempt>,
    },
}

/// A rule to try for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The rule's place among all.
    pub(crate) rule: usize,
    /// The call is one case of this number: that takes the place of the rule's own conditions.
    pub(crate) case: Option<Case>,
}

/// The numbers from `first` to the next range's.
#[derive(Debug)]
pub(crate) struct Range {
    /// The first number.
    pub(crate) first: u32,
    /// What happens to them.
    pub(crate) outcome: Outcome,
}

/// All numbers' ranges, of architectures that share a code. Never empty; the first begins at 0.
pub(crate) fn ranges(rules: &Rules, members: &[Architecture]) -> Vec<Range> {
    let mut ranges = Ranges { list: Vec::with_capacity(128) };
    let mut unnamed = Verdict::KILL_PROCESS;
    ranges.push(0, Outcome::Answer(Verdict::KILL_PROCESS));
    for &member in members.iter().filter(|&&member| member != Architecture::X32) {
        unnamed = ranges.extend(rules, member, 0);
    }
    if members.contains(&Architecture::X32) {
        unnamed = ranges.extend(rules, Architecture::X32, X32_BIT);
    } else if members.contains(&Architecture::X86_64) {
        ranges.push(X32_BIT, Outcome::Answer(Verdict::KILL_PROCESS));
    }
    // Not an x32 call, though it has the bit: the number -1, for no call at all.
    ranges.push(u32::MAX, Outcome::Answer(unnamed));
    ranges.list
}

/// Ranges in ascending order, where neighbours differ.
struct Ranges {
    list: Vec<Range>,
}

impl Ranges {
    /// Lets `outcome` hold from `first` on.
    fn push(&mut self, first: u32, outcome: Outcome) {
        if self.list.last().is_some_and(|last| last.first == first) {
            self.list.pop();
        }
        if self.list.last().is_none_or(|last| last.outcome != outcome) {
            self.list.push(Range { first, outcome });
        }
    }

    /// Adds an architecture's calls, whose numbers begin at `base`; tells what others get.
    fn extend(&mut self, rules: &Rules, architecture: Architecture, base: u32) -> Verdict {
        let private = if architecture == Architecture::Arm { ARM_PRIVATE } else { u32::MAX };
        let calls = Calls::collect(rules, architecture, private);
        let (common, special) =
            calls.list.split_at(calls.list.partition_point(|call| call.number < private));

        self.push(base, Outcome::Answer(rules.default));
        self.push_calls(rules, common, architecture.width());
        let mut unnamed = rules.default;
        if let (Some(unknown), Some(last)) = (rules.unknown, calls.last) {
            self.push(last + 1, Outcome::Answer(unknown));
            unnamed = unknown;
        }
        if private != u32::MAX {
            self.push(private, Outcome::Answer(rules.default));
            self.push_calls(rules, special, architecture.width());
        }
        unnamed
    }

    fn push_calls(&mut self, rules: &Rules, calls: &[Call], width: Width) {
        let mut rest = calls;
        for calls in calls.chunk_by(|one, other| one.number == other.number) {
            let Some(first) = calls.first() else { continue };
            rest = rest.get(calls.len()..).unwrap_or_default();
            self.push(first.number, outcome(rules, calls, width));
            // What comes after is the default, unless it is spoken of itself.
            let next = first.number + 1;
            if rest.first().is_none_or(|call| call.number != next) {
                self.push(next, Outcome::Answer(rules.default));
            }
        }
    }
}

/// What the rules for one number come to.
fn outcome(rules: &Rules, calls: &[Call], width: Width) -> Outcome {
    match calls.first() {
        Some(call) if !call.conditional => Outcome::Answer(
            rules.list.get(call.attempt.rule).map_or(rules.default, |rule| rule.verdict),
        ),
        _ => {
            let mut attempts: Vec<Attempt> = calls.iter().map(|call| call.attempt).collect();
            attempts.dedup();
            Outcome::Try { width, attempts }
        }
    }
}

/// That a rule speaks of a number.
#[derive(Clone, Copy)]
struct Call {
    number: u32,
    /// Whether arguments decide; calls without go first.
    conditional: bool,
    /// Whether the rule itself has conditions, which cannot be seen in a case.
    hidden: bool,
    attempt: Attempt,
}

/// The largest place of a call among those of a profile: a document of the size that a runtime
/// reads cannot name as many.
const LARGEST_INDEX: u64 = (1 << 30) - 1;

/// All calls of an architecture that rules speak of.
struct Calls {
    /// In the order of numbers and then of precedence.
    list: Vec<Call>,
    /// The last one that the profile names at all, below the private ones.
    last: Option<u32>,
}

impl Calls {
    fn collect(rules: &Rules, architecture: Architecture, private: u32) -> Self {
        let mut calls = Self { list: Vec::with_capacity(512), last: None };
        for (index, rule) in rules.list.iter().enumerate() {
            for row in &rule.rows {
                calls.add(rule, index, row, architecture, private);
            }
        }
        // The order of what is equal otherwise is the profile's: numbers that say all of it are
        // sorted much faster than what they stand for.
        let mut keys: Vec<u64> = calls
            .list
            .iter()
            .zip(0..=LARGEST_INDEX)
            .map(|(call, index)| {
                let class = u64::from(call.conditional) << 1 | u64::from(call.hidden);
                u64::from(call.number) << 32 | class << 30 | index
            })
            .collect();
        keys.sort_unstable();
        calls.list = keys
            .iter()
            .filter_map(|key| calls.list.get((key & LARGEST_INDEX) as usize).copied())
            .collect();
        calls
    }

    fn add(
        &mut self,
        rule: &Rule,
        index: usize,
        row: &Row,
        architecture: Architecture,
        private: u32,
    ) {
        let conditional = !rule.alternatives.is_empty();
        if let Some(number) = row.number(architecture) {
            if number < private {
                self.last = self.last.max(Some(number));
            }
            if !rule.redundant {
                let attempt = Attempt { rule: index, case: None };
                self.list.push(Call { number, conditional, hidden: false, attempt });
            }
        }
        if architecture != Architecture::X86
            || rule.redundant
            || (conditional && rule.verdict.lets_pass())
        {
            return;
        }
        if let Some((number, case)) = multiplexed::case(row.name(), architecture) {
            let attempt = Attempt { rule: index, case: Some(case) };
            self.list.push(Call { number, conditional: true, hidden: conditional, attempt });
        }
    }
}
