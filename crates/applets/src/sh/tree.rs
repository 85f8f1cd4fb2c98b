//! The syntax tree of the shell: what a script says, before anything is expanded.

/// Commands one after another.
pub type List = Vec<Item>;

/// A pipeline with those joined to it by `&&` and `||`.
#[derive(Debug, Clone)]
pub struct Item {
    /// The first pipeline.
    pub first: Pipeline,
    /// The others, each with its connector.
    pub rest: Vec<(Connector, Pipeline)>,
    /// Whether it ends in `&`.
    pub background: bool,
}

/// What joins two pipelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connector {
    /// `&&`
    And,
    /// `||`
    Or,
}

/// Commands joined by `|`.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Whether it starts with `!`.
    pub negated: bool,
    /// At least one.
    pub commands: Vec<Command>,
}

/// A command with its redirections.
#[derive(Debug, Clone)]
pub struct Command {
    /// What to do.
    pub kind: Kind,
    /// In the order written.
    pub redirections: Vec<Redirection>,
}

/// The kinds of command.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Assignments and words.
    Simple(Simple),
    /// `{ list; }`
    Group(List),
    /// `( list )`
    Subshell(List),
    /// `if ... then ... elif ... else ... fi`
    If {
        /// Conditions with what follows them.
        branches: Vec<(List, List)>,
        /// The list after `else`.
        otherwise: Option<List>,
    },
    /// `while ... do ... done`, or `until`.
    While {
        /// Whether the loop goes on while the condition fails.
        until: bool,
        /// The condition.
        condition: List,
        /// The body.
        body: List,
    },
    /// `for name in words; do ... done`
    For {
        /// The variable.
        name: Vec<u8>,
        /// The words; `None` stands for `"$@"`.
        words: Option<Vec<Word>>,
        /// The body.
        body: List,
    },
    /// `case word in ... esac`
    Case {
        /// What is matched.
        word: Word,
        /// Patterns with their lists.
        arms: Vec<(Vec<Word>, List)>,
    },
    /// `name() command`
    Function {
        /// The name.
        name: Vec<u8>,
        /// The body.
        body: Box<Command>,
    },
}

/// A simple command.
#[derive(Debug, Clone, Default)]
pub struct Simple {
    /// `name=word` before the command.
    pub assignments: Vec<(Vec<u8>, Word)>,
    /// The command's name and arguments.
    pub words: Vec<Word>,
}

/// A redirection.
#[derive(Debug, Clone)]
pub struct Redirection {
    /// The descriptor that is redirected.
    pub descriptor: i32,
    /// How.
    pub mode: Mode,
    /// The file's name, or the descriptor for a duplicate.
    pub target: Word,
}

/// How a redirection opens its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `<`
    Read,
    /// `>` and `>|`
    Write,
    /// `>>`
    Append,
    /// `<>`
    ReadWrite,
    /// `>&` and `<&`
    Duplicate,
}

/// A word: parts that are joined after expansion.
pub type Word = Vec<Part>;

/// A part of a word.
#[derive(Debug, Clone)]
pub enum Part {
    /// Text outside quotes.
    Plain(Vec<u8>),
    /// Text in quotes, or after a backslash.
    Quoted(Vec<u8>),
    /// A value to be put in.
    Value {
        /// Which.
        value: Value,
        /// Whether it stands in double quotes.
        quoted: bool,
    },
}

/// A value that an expansion puts in.
#[derive(Debug, Clone)]
pub enum Value {
    /// `$name` or `${name...}`
    Parameter {
        /// The parameter.
        name: Vec<u8>,
        /// What is done with it.
        operation: Operation,
    },
    /// `$(text)`
    Command(List),
    /// `$((text))`
    Arithmetic(Word),
}

/// What `${...}` does with its parameter.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Its value.
    Get,
    /// `${#name}`
    Length,
    /// `${name-word}` and the like.
    Replace {
        /// `-`, `=`, `+` or `?`.
        operator: u8,
        /// Whether an empty value counts as unset (`:`).
        empty_too: bool,
        /// The word.
        word: Word,
    },
    /// `${name#pattern}` and the like.
    Strip {
        /// `#` or `%`.
        operator: u8,
        /// Whether the longest match goes (the operator is doubled).
        longest: bool,
        /// The pattern.
        pattern: Word,
    },
}
