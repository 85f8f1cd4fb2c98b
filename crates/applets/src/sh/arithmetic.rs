//! Arithmetic expansion (POSIX 2.6.4): the integer expressions of C, with assignment.

use super::Shell;
use crate::outcome::Failure;

/// Binary operators by level, the loosest first. Longer ones stand before their prefixes.
const LEVELS: [&[&str]; 10] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

/// Evaluates an expression in which parameters are expanded already.
pub fn evaluate(text: &[u8], shell: &mut Shell) -> Result<i64, Failure> {
    let text = String::from_utf8_lossy(text).into_owned();
    let mut reader = Reader { rest: &text, shell, skip: 0 };
    reader.blanks();
    if reader.rest.is_empty() {
        return Ok(0);
    }
    let value = reader.assignment()?;
    if !reader.rest.is_empty() {
        return Err(Failure::usage(format!("arithmetic: unexpected {}", reader.rest)));
    }
    Ok(value)
}

/// What is left of an expression.
struct Reader<'a> {
    rest: &'a str,
    shell: &'a mut Shell,
    /// How many enclosing operands are not evaluated, as after `0 &&`.
    skip: usize,
}

impl<'a> Reader<'a> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes an operator when it comes next.
    fn take(&mut self, operator: &str) -> bool {
        let Some(after) = self.rest.strip_prefix(operator) else { return false };
        // `a & b` is not the start of `a && b`, `a < b` not that of `a << b`, and so on.
        let longer = match operator {
            "&" | "|" | "<" | ">" => after.starts_with(operator) || after.starts_with('='),
            "<<" | ">>" | "+" | "-" | "*" | "/" | "%" | "^" => after.starts_with('='),
            "=" => after.starts_with('='),
            _ => false,
        };
        if longer {
            return false;
        }
        self.rest = after;
        self.blanks();
        true
    }

    /// The name that comes next, if any.
    fn name(&self) -> &'a str {
        let rest = self.rest;
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest.find(|c: char| !letter(c)).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default();
        if name.starts_with(|c: char| c.is_ascii_digit()) { "" } else { name }
    }

    fn assignment(&mut self) -> Result<i64, Failure> {
        let name = self.name();
        if !name.is_empty() {
            let before = self.rest;
            self.rest = self.rest.get(name.len()..).unwrap_or_default();
            self.blanks();
            for operator in ["=", "+=", "-=", "*=", "/=", "%=", "<<=", ">>=", "&=", "|=", "^="] {
                if !self.take(operator) {
                    continue;
                }
                let right = self.assignment()?;
                let value = match operator.strip_suffix('=') {
                    Some("") | None => right,
                    Some(operator) => self.apply(operator, self.variable(name)?, right)?,
                };
                if self.skip == 0 {
                    self.shell.assign(name.as_bytes(), value.to_string().into_bytes())?;
                }
                return Ok(value);
            }
            self.rest = before;
        }
        self.ternary()
    }

    fn ternary(&mut self) -> Result<i64, Failure> {
        let condition = self.binary(0)?;
        if !self.take("?") {
            return Ok(condition);
        }
        self.skip += usize::from(condition == 0);
        let then = self.assignment()?;
        self.skip -= usize::from(condition == 0);
        if !self.take(":") {
            return Err(Failure::usage("arithmetic: missing :"));
        }
        self.skip += usize::from(condition != 0);
        let otherwise = self.ternary()?;
        self.skip -= usize::from(condition != 0);
        Ok(if condition != 0 { then } else { otherwise })
    }

    fn binary(&mut self, level: usize) -> Result<i64, Failure> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        'more: loop {
            for operator in *operators {
                if !self.take(operator) {
                    continue;
                }
                let skipped = match *operator {
                    "&&" => left == 0,
                    "||" => left != 0,
                    _ => false,
                };
                self.skip += usize::from(skipped);
                let right = self.binary(level + 1)?;
                left = self.apply(operator, left, right)?;
                self.skip -= usize::from(skipped);
                continue 'more;
            }
            return Ok(left);
        }
    }

    fn apply(&self, operator: &str, left: i64, right: i64) -> Result<i64, Failure> {
        if matches!(operator, "/" | "%") && right == 0 {
            if self.skip > 0 {
                return Ok(0);
            }
            return Err(Failure::usage("arithmetic: division by zero"));
        }
        // A shift counts modulo the width, as the processor does it.
        let shift = (right & 63) as u32;
        Ok(match operator {
            "||" => i64::from(left != 0 || right != 0),
            "&&" => i64::from(left != 0 && right != 0),
            "|" => left | right,
            "^" => left ^ right,
            "&" => left & right,
            "==" => i64::from(left == right),
            "!=" => i64::from(left != right),
            "<=" => i64::from(left <= right),
            ">=" => i64::from(left >= right),
            "<" => i64::from(left < right),
            ">" => i64::from(left > right),
            "<<" => left.wrapping_shl(shift),
            ">>" => left.wrapping_shr(shift),
            "+" => left.wrapping_add(right),
            "-" => left.wrapping_sub(right),
            "*" => left.wrapping_mul(right),
            "/" => left.wrapping_div(right),
            _ => left.wrapping_rem(right),
        })
    }

    fn unary(&mut self) -> Result<i64, Failure> {
        for operator in ["-", "+", "~", "!"] {
            if let Some(after) = self.rest.strip_prefix(operator) {
                self.rest = after;
                self.blanks();
                let value = self.unary()?;
                return Ok(match operator {
                    "-" => value.wrapping_neg(),
                    "~" => !value,
                    "!" => i64::from(value == 0),
                    _ => value,
                });
            }
        }
        if self.take("(") {
            let value = self.assignment()?;
            if !self.take(")") {
                return Err(Failure::usage("arithmetic: missing )"));
            }
            return Ok(value);
        }
        let name = self.name();
        if !name.is_empty() {
            self.rest = self.rest.get(name.len()..).unwrap_or_default();
            self.blanks();
            return self.variable(name);
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (digits, after) = self.rest.split_at(end);
        if digits.is_empty() {
            let what = if self.rest.is_empty() { "the end" } else { self.rest };
            return Err(Failure::usage(format!("arithmetic: unexpected {what}")));
        }
        self.rest = after;
        self.blanks();
        number(digits)
    }

    /// A variable's value; an unset one counts as 0.
    fn variable(&self, name: &str) -> Result<i64, Failure> {
        let value = self.shell.value(name.as_bytes()).unwrap_or_default();
        let value = String::from_utf8_lossy(value);
        let value = value.trim();
        match (value.strip_prefix('-'), value) {
            (_, "") => Ok(0),
            (Some(digits), _) => number(digits).map(i64::wrapping_neg),
            (None, digits) => number(digits),
        }
    }
}

/// Reads a number: decimal, 0x hexadecimal, or 0 octal.
fn number(text: &str) -> Result<i64, Failure> {
    let parsed = if let Some(digits) = text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        i64::from_str_radix(digits, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        i64::from_str_radix(text, 8)
    } else {
        text.parse()
    };
    parsed.map_err(|_| Failure::usage(format!("arithmetic: {text} is not a number")))
}
