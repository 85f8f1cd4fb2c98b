//! A profile's rules, checked and turned into verdicts and conditions.

use berth_spec::runtime::{LinuxSeccomp, LinuxSyscall, SeccompAction};

use crate::compile::CompileError;
use crate::condition::Condition;
use crate::table::{self, Row};
use crate::verdict::Verdict;

/// A profile's rules, understood.
pub(crate) struct Rules {
    /// What a call gets that no rule speaks of.
    pub(crate) default: Verdict,
    /// What calls beyond the last known one get, where that is not the default.
    pub(crate) unknown: Option<Verdict>,
    /// The rules, in the profile's order.
    pub(crate) list: Vec<Rule>,
}

/// One entry of a profile's `syscalls`.
pub(crate) struct Rule {
    /// The calls that some architecture has.
    pub(crate) rows: Vec<&'static Row>,
    /// What they get.
    pub(crate) verdict: Verdict,
    /// Conditions, of which one group must hold as a whole; none at all hold always.
    pub(crate) alternatives: Vec<Vec<Condition>>,
    /// Whether it says what the default says, and so nothing.
    pub(crate) redundant: bool,
}

impl Rules {
    /// Understands a profile.
    pub(crate) fn parse(profile: &LinuxSeccomp) -> Result<Self, CompileError> {
        if profile.default_action == SeccompAction::Notify {
            return Err(CompileError::NotifyByDefault);
        }
        let default = Verdict::new(profile.default_action, profile.default_errno_ret, &|| {
            "defaultErrnoRet".to_owned()
        })?;
        let mut list = Vec::with_capacity(profile.syscalls.len());
        for (index, entry) in profile.syscalls.iter().enumerate() {
            list.push(Rule::parse(index, entry, default)?);
        }
        Ok(Self {
            default,
            unknown: (!default.is_permissive() && default != Verdict::NO_SUCH_CALL)
                .then_some(Verdict::NO_SUCH_CALL),
            list,
        })
    }
}

impl Rule {
    fn parse(index: usize, entry: &LinuxSyscall, default: Verdict) -> Result<Self, CompileError> {
        let verdict =
            Verdict::new(entry.action, entry.errno_ret, &|| format!("syscalls[{index}].errnoRet"))?;
        let own = entry.names.iter().find(|name| matches!(name.as_str(), "write" | "sendmsg"));
        if let (Verdict::NOTIFY, Some(call)) = (verdict, own) {
            let field = format!("syscalls[{index}].action");
            return Err(CompileError::NotifyOfOwn { field, call: call.clone() });
        }
        let mut conditions = Vec::with_capacity(entry.args.len());
        for (number, argument) in entry.args.iter().enumerate() {
            conditions.push(Condition::new(argument, &|| {
                format!("syscalls[{index}].args[{number}].index")
            })?);
        }
        let mut alternatives: Vec<Vec<Condition>> = if share_an_argument(entry) {
            conditions.into_iter().map(|condition| vec![condition]).collect()
        } else {
            vec![conditions]
        };
        for alternative in &mut alternatives {
            alternative.retain(|condition| !condition.always_holds());
        }
        if alternatives.iter().any(Vec::is_empty) {
            alternatives.clear();
        }
        Ok(Self {
            rows: entry.names.iter().filter_map(|name| table::look_up(name)).collect(),
            verdict,
            alternatives,
            redundant: verdict == default,
        })
    }
}

fn share_an_argument(entry: &LinuxSyscall) -> bool {
    let mut seen = 0_u32;
    entry.args.iter().any(|argument| {
        let bit = 1_u32.checked_shl(argument.index).unwrap_or_default();
        let before = seen & bit != 0;
        seen |= bit;
        before
    })
}
