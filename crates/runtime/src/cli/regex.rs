//! Extended regular expressions (POSIX 1003.1, "Regular Expressions", 9.4), for `--regex`.
//!
//! An expression becomes a small program that is followed in all its branches at once, so that no
//! expression takes longer than its length times the text's. The C library's own costs more than
//! ten times as much code, most of it for what ids do not have: locales, wide characters, captures.

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Regex {
    program: Vec<Instruction>,
}

/// Bytes, a bit each.
type Set = [u64; 4];

/// A step. The next one follows, unless it says otherwise.
#[derive(Debug, Clone, Copy)]
enum Instruction {
    /// Takes a byte of the set.
    Take(Set),
    /// Goes on in both places.
    Split(usize, usize),
    /// Goes on there.
    Jump(usize),
    /// Goes on at the beginning of the text only.
    Begin,
    /// Goes on at the end of the text only.
    End,
    /// The text matches.
    Match,
}

/// An expression as it is written.
enum Node {
    Take(Set),
    Begin,
    End,
    Sequence(Vec<Node>),
    Either(Box<Node>, Box<Node>),
    Repeat(Box<Node>, u16, Option<u16>),
}

/// The most repetitions (RE_DUP_MAX).
const REPETITIONS: u16 = 255;
/// The longest program.
const LENGTH: usize = 20_000;
/// The most parentheses in each other.
const DEPTH: usize = 64;

/// Which bytes a class has.
type Class = fn(&u8) -> bool;

const CLASSES: &[(&str, Class)] = &[
    ("alnum", u8::is_ascii_alphanumeric),
    ("alpha", u8::is_ascii_alphabetic),
    ("blank", |b| matches!(b, b' ' | b'\t')),
    ("cntrl", u8::is_ascii_control),
    ("digit", u8::is_ascii_digit),
    ("graph", u8::is_ascii_graphic),
    ("lower", u8::is_ascii_lowercase),
    ("print", |b| matches!(b, b' '..=b'~')),
    ("punct", u8::is_ascii_punctuation),
    ("space", |b| matches!(b, b' ' | b'\t'..=b'\r')),
    ("upper", u8::is_ascii_uppercase),
    ("xdigit", u8::is_ascii_hexdigit),
];

impl Regex {
    /// Compiles an expression; the error says what is wrong with it.
    pub(crate) fn new(expression: &str) -> Result<Self, &'static str> {
        let mut parser = Parser { text: expression.as_bytes(), depth: 0 };
        let node = parser.alternatives()?;
        if !parser.text.is_empty() {
            return Err("there is a ) without a (");
        }
        let mut program = Vec::new();
        compile(&node, &mut program)?;
        program.push(Instruction::Match);
        Ok(Self { program })
    }

    /// Whether the expression is found anywhere in the text.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let mut now = Places::new(self.program.len());
        let mut next = Places::new(self.program.len());
        for at in 0..=text.len() {
            let edges = (at == 0, at == text.len());
            if self.reach(0, edges, &mut now) {
                return true;
            }
            let Some(&byte) = text.get(at) else { break };
            next.clear();
            for index in 0..now.list.len() {
                let Some(&place) = now.list.get(index) else { break };
                let takes = match self.program.get(place) {
                    Some(Instruction::Take(set)) => contains(set, byte),
                    _ => false,
                };
                if takes && self.reach(place + 1, (false, at + 1 == text.len()), &mut next) {
                    return true;
                }
            }
            std::mem::swap(&mut now, &mut next);
        }
        false
    }

    /// Adds a place and all that is reached from it without taking a byte; tells of a match.
    fn reach(&self, place: usize, edges: (bool, bool), places: &mut Places) -> bool {
        let mut open = vec![place];
        while let Some(place) = open.pop() {
            if !places.add(place) {
                continue;
            }
            match self.program.get(place) {
                Some(Instruction::Split(one, other)) => open.extend([*one, *other]),
                Some(Instruction::Jump(there)) => open.push(*there),
                Some(Instruction::Begin) if edges.0 => open.push(place + 1),
                Some(Instruction::End) if edges.1 => open.push(place + 1),
                Some(Instruction::Match) => return true,
                _ => {}
            }
        }
        false
    }
}

/// Places in a program, each once.
struct Places {
    list: Vec<usize>,
    known: Vec<bool>,
}

impl Places {
    fn new(length: usize) -> Self {
        Self { list: Vec::new(), known: vec![false; length] }
    }

    fn add(&mut self, place: usize) -> bool {
        match self.known.get_mut(place) {
            Some(known) if !*known => {
                *known = true;
                self.list.push(place);
                true
            }
            _ => false,
        }
    }

    fn clear(&mut self) {
        self.list.clear();
        self.known.fill(false);
    }
}

fn contains(set: &Set, byte: u8) -> bool {
    set.get(usize::from(byte >> 6)).is_some_and(|word| word >> (byte & 63) & 1 == 1)
}

fn insert(set: &mut Set, byte: u8) {
    if let Some(word) = set.get_mut(usize::from(byte >> 6)) {
        *word |= 1 << (byte & 63);
    }
}

fn one(byte: u8) -> Set {
    let mut set = [0; 4];
    insert(&mut set, byte);
    set
}

struct Parser<'t> {
    text: &'t [u8],
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.text.split_first()?;
        self.text = rest;
        Some(first)
    }

    /// Skips what is expected there, if it is.
    fn skip(&mut self, expected: &[u8]) -> bool {
        match self.text.strip_prefix(expected) {
            Some(rest) => {
                self.text = rest;
                true
            }
            None => false,
        }
    }

    fn alternatives(&mut self) -> Result<Node, &'static str> {
        let mut node = self.sequence()?;
        while self.skip(b"|") {
            node = Node::Either(Box::new(node), Box::new(self.sequence()?));
        }
        Ok(node)
    }

    fn sequence(&mut self) -> Result<Node, &'static str> {
        let mut nodes = Vec::new();
        while self.peek().is_some_and(|byte| byte != b'|' && byte != b')') {
            let mut node = self.atom()?;
            loop {
                let (least, most) = match self.peek() {
                    Some(b'*') => (0, None),
                    Some(b'+') => (1, None),
                    Some(b'?') => (0, Some(1)),
                    Some(b'{') => {
                        self.next();
                        let bounds = self.bounds().ok_or("a {…} is not {N}, {N,} or {N,M}")?;
                        node = Node::Repeat(Box::new(node), bounds.0, bounds.1);
                        continue;
                    }
                    _ => break,
                };
                self.next();
                node = Node::Repeat(Box::new(node), least, most);
            }
            nodes.push(node);
        }
        Ok(Node::Sequence(nodes))
    }

    fn atom(&mut self) -> Result<Node, &'static str> {
        Ok(match self.next() {
            Some(b'(') => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return Err("there are too many ( in each other");
                }
                let node = self.alternatives()?;
                self.depth -= 1;
                if !self.skip(b")") {
                    return Err("a ) is missing");
                }
                node
            }
            Some(b'[') => Node::Take(self.bracket().ok_or("a [ has no ] or is malformed")?),
            Some(b'.') => Node::Take([u64::MAX; 4]),
            Some(b'^') => Node::Begin,
            Some(b'$') => Node::End,
            Some(b'*' | b'+' | b'?' | b'{') => return Err("there is nothing to repeat"),
            Some(b'\\') => match self.next() {
                Some(byte) if byte.is_ascii_punctuation() => Node::Take(one(byte)),
                Some(_) => return Err("a \\ has to be followed by punctuation"),
                None => return Err("it ends in a \\"),
            },
            Some(byte) => Node::Take(one(byte)),
            None => Node::Sequence(Vec::new()),
        })
    }

    fn number(&mut self) -> Option<u16> {
        let length = self.text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.text.split_at_checked(length)?;
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        self.text = rest;
        Some(number)
    }

    /// What follows a `{`.
    fn bounds(&mut self) -> Option<(u16, Option<u16>)> {
        let least = if self.peek() == Some(b',') { 0 } else { self.number()? };
        let most = match (self.skip(b","), self.peek()) {
            (false, _) => Some(least),
            (true, Some(b'}')) => None,
            (true, _) => Some(self.number()?),
        };
        let sound = least <= most.unwrap_or(least) && most.unwrap_or(least) <= REPETITIONS;
        (self.skip(b"}") && sound).then_some((least, most))
    }

    /// What follows a `[`.
    fn bracket(&mut self) -> Option<Set> {
        let mut set = [0; 4];
        let negated = self.skip(b"^");
        let mut first = true;
        while first || self.peek() != Some(b']') {
            first = false;
            if self.skip(b"[:") {
                let end = self.text.iter().position(|&byte| byte == b':')?;
                let name = std::str::from_utf8(self.text.get(..end)?).ok()?;
                let (_, belongs) = CLASSES.iter().find(|(known, _)| *known == name)?;
                self.text = self.text.get(end..)?;
                if !self.skip(b":]") {
                    return None;
                }
                (0..=127).filter(belongs).for_each(|byte| insert(&mut set, byte));
                continue;
            }
            let from = self.member()?;
            let range = self.peek() == Some(b'-') && self.text.get(1) != Some(&b']');
            let to = if range && self.next().is_some() { self.member()? } else { from };
            if from > to {
                return None;
            }
            (from..=to).for_each(|byte| insert(&mut set, byte));
        }
        self.next();
        Some(if negated { set.map(|word| !word) } else { set })
    }

    /// A character in brackets, `[.c.]` and `[=c=]` among them.
    fn member(&mut self) -> Option<u8> {
        for (begin, end) in [(b"[.", b".]"), (b"[=", b"=]")] {
            if self.skip(begin) {
                let byte = self.next()?;
                return self.skip(end).then_some(byte);
            }
        }
        self.next()
    }
}

fn compile(node: &Node, program: &mut Vec<Instruction>) -> Result<(), &'static str> {
    if program.len() > LENGTH {
        return Err("it is too long");
    }
    match node {
        Node::Take(set) => program.push(Instruction::Take(*set)),
        Node::Begin => program.push(Instruction::Begin),
        Node::End => program.push(Instruction::End),
        Node::Sequence(nodes) => nodes.iter().try_for_each(|node| compile(node, program))?,
        Node::Either(first, second) => {
            let split = reserve(program);
            compile(first, program)?;
            let jump = reserve(program);
            set(program, split, Instruction::Split(split + 1, jump + 1));
            compile(second, program)?;
            let end = program.len();
            set(program, jump, Instruction::Jump(end));
        }
        Node::Repeat(node, least, most) => {
            for _ in 0..*least {
                compile(node, program)?;
            }
            match most {
                None => {
                    let split = reserve(program);
                    compile(node, program)?;
                    program.push(Instruction::Jump(split));
                    let end = program.len();
                    set(program, split, Instruction::Split(split + 1, end));
                }
                Some(most) => {
                    let splits: Vec<usize> = (*least..*most)
                        .map(|_| {
                            let split = reserve(program);
                            compile(node, program).map(|()| split)
                        })
                        .collect::<Result<_, _>>()?;
                    let end = program.len();
                    for split in splits {
                        set(program, split, Instruction::Split(split + 1, end));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Leaves room for an instruction that depends on what follows it.
fn reserve(program: &mut Vec<Instruction>) -> usize {
    program.push(Instruction::Match);
    program.len() - 1
}

/// Fills the room.
fn set(program: &mut [Instruction], place: usize, instruction: Instruction) {
    if let Some(slot) = program.get_mut(place) {
        *slot = instruction;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    const TEXTS: &[&str] = &[
        "", "a", "b", "c", "ab", "ba", "abc", "aab", "abab", "bca", "a.b", "web-1", "web-22",
        "db-1", "x+y", "^a", "a$", "A", "a{2}", "caab", "aaaa", "aaaaa", "]", "-", "cc", "abcabc",
    ];

    /// What grep -E finds among the texts.
    fn grep(expression: &str) -> Option<Vec<String>> {
        let mut child = Command::new("grep")
            .args(["-E", "-e", expression])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all((TEXTS.join("\n") + "\n").as_bytes()).ok()?;
        let output = child.wait_with_output().ok()?;
        if output.status.code() == Some(2) {
            return None;
        }
        Some(String::from_utf8(output.stdout).ok()?.lines().map(str::to_owned).collect())
    }

    fn compare(expression: &str) {
        let ours = Regex::new(expression).map(|regex| {
            TEXTS
                .iter()
                .filter(|text| regex.matches(text))
                .map(|&text| text.to_owned())
                .collect::<Vec<String>>()
        });
        assert_eq!(ours.ok(), grep(expression), "{expression}");
    }

    #[test]
    fn it_finds_what_grep_finds() {
        for expression in [
            "",
            "a",
            "^a$",
            "^$",
            "a|b",
            "^(a|b)+$",
            "a*",
            "^a*$",
            "^a+$",
            "^a?$",
            "a.b",
            "a\\.b",
            "^.$",
            "^..$",
            "[abc]",
            "^[^abc]",
            "^[a-c]+$",
            "[]]",
            "[^]]",
            "[a-]",
            "[-a]",
            "[[:digit:]]",
            "^[[:alpha:]]+-[[:digit:]]{2}$",
            "^web-",
            "^(web|db)-1$",
            "x\\+y",
            "\\^a",
            "a\\$",
            "a{2}",
            "^a{2,}$",
            "^a{2,3}$",
            "^a{0,1}$",
            "^(ab){2}$",
            "^(ab|a)*$",
            "(a|ab)(c|bca)$",
            "()a",
            "a||b",
            "^(|a)b$",
            "((a))",
            "(a*)*b",
            "^(a*|b)*$",
            "[[.a.]]",
            "[[=a=]b]",
            "a{2}{2}",
            "^a**$",
            "^abc|cab",
            "(^a|b$)",
            "a^b",
            "a$b",
            "[[:upper:][:digit:]]",
            "(",
            "(a",
            "[a",
            "[z-a]",
            "[[:moon:]]",
            "a\\",
        ] {
            compare(expression);
        }
    }

    #[test]
    fn it_finds_what_grep_finds_for_any_expression() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        for _ in 0..300 {
            let mut expression = String::new();
            let mut open = 0;
            for _ in 0..=next(8) {
                match next(9) {
                    0 => {
                        expression.push('(');
                        open += 1;
                    }
                    1 if open > 0 && expression.ends_with(char::is_alphanumeric) => {
                        expression.push_str(["a)", "b)*", "c)+", ")?"][next(4)]);
                        open -= 1;
                    }
                    2 => expression.push_str(["a|b", "b|", "[ab]|c"][next(3)]),
                    3 => expression.push_str(["a*", "b+", "c?", "[bc]{1,2}", ".{2}"][next(5)]),
                    _ => {
                        expression.push_str(["a", "b", "c", "ab", ".", "^", "$", "[a-c]"][next(8)]);
                    }
                }
            }
            expression.push_str(&")".repeat(open));
            compare(&expression);
        }
    }

    #[test]
    fn a_hostile_expression_is_refused_or_found_quickly() {
        let text = "a".repeat(255);
        let regex = Regex::new(&format!("^{}$", "(a*)*".repeat(40) + "b")).unwrap();
        assert!(!regex.matches(&text));
        for expression in
            ["((a{255}){255}){255}", &"(".repeat(100_000), "*a", "a{256}", "a{2,1}", "a{x}", "a)b"]
        {
            assert!(Regex::new(expression).is_err(), "{expression:.30}");
        }
    }
}
