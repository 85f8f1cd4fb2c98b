//! fetch: prints what an `http://` URL serves (RFC 9112, one request and no redirects).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::options::{self, Options};
use crate::outcome::{Failure, Outcome};

/// `fetch [-i] [-o FILE] [-t SECONDS] URL`; -i also prints the answer's head.
pub fn run(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "io:t:")?;
    let [url] = options.operands.as_slice() else { return Err(Failure::usage("wanted: URL")) };
    let url = url.to_str().ok_or_else(|| Failure::usage("the URL is not text"))?;
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(Failure::usage(format!("{url}: only http:// is supported")));
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let seconds = options.value('t').map_or(Ok(30), |text| options::number(text, 10))?;
    let time_out = Duration::from_secs(u64::from(seconds.max(1)));
    let connection = connect(authority, time_out)
        .map_err(|error| Failure::file(format!("connect to {authority}"), &error))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: berth-fetch\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    (&connection).write_all(request.as_bytes())?;
    let mut input = BufReader::new(connection);
    let head = read_head(&mut input)?;
    let mut output: Box<dyn Write> = match options.value('o') {
        Some(path) => Box::new(File::create(path).map_err(|error| Failure::file(path, &error))?),
        None => Box::new(io::stdout().lock()),
    };
    if options.has('i') {
        output.write_all(head.text.as_bytes())?;
    }
    if head.chunked {
        copy_chunks(&mut input, &mut *output)?;
    } else if let Some(length) = head.length {
        let copied = io::copy(&mut input.take(length), &mut *output)?;
        if copied < length {
            return Err(Failure::new(1, format!("{url}: only {copied} of {length} bytes came")));
        }
    } else {
        io::copy(&mut input, &mut *output)?;
    }
    output.flush()?;
    if (200..300).contains(&head.status) {
        Ok(0)
    } else {
        Err(Failure::new(1, format!("{url}: the server answered {}", head.status)))
    }
}

/// Connects to the first address that answers.
fn connect(authority: &str, time_out: Duration) -> io::Result<TcpStream> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, digits)) if !digits.ends_with(']') => match digits.parse() {
            Ok(port) => (host, port),
            Err(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a port")),
        },
        _ => (authority, 80),
    };
    let mut last = io::Error::new(
        io::ErrorKind::NotFound,
        "unknown host (only addresses and the names in /etc/hosts are known)",
    );
    for address in addresses(host) {
        match TcpStream::connect_timeout(&SocketAddr::new(address, port), time_out) {
            Ok(connection) => {
                connection.set_read_timeout(Some(time_out))?;
                return Ok(connection);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The addresses of a host. The C library's resolver is not used: in a static program it would
/// need shared objects of its own version.
fn addresses(host: &str) -> Vec<IpAddr> {
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = literal.parse() {
        return vec![address];
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut found: Vec<IpAddr> = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        if words.any(|name| name.eq_ignore_ascii_case(host)) {
            found.extend(address);
        }
    }
    if found.is_empty() && host.eq_ignore_ascii_case("localhost") {
        found.push(Ipv4Addr::LOCALHOST.into());
    }
    found
}

/// What matters of an answer's head.
struct Head {
    status: u16,
    length: Option<u64>,
    chunked: bool,
    text: String,
}

/// Reads the head of an answer.
fn read_head(input: &mut impl BufRead) -> Result<Head, Failure> {
    let bad = || Failure::new(1, "the answer is not HTTP");
    let mut lines = input.take(64 << 10);
    let mut head = Head { status: 0, length: None, chunked: false, text: String::new() };
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Err(bad());
        }
        head.text += &line;
        let field = line.trim_end();
        if head.status == 0 {
            let status = field.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
            head.status = status.and_then(|status| status.parse().ok()).ok_or_else(bad)?;
            continue;
        }
        if field.is_empty() {
            return Ok(head);
        }
        let Some((key, value)) = field.split_once(':') else { return Err(bad()) };
        match key.to_ascii_lowercase().as_str() {
            "content-length" => head.length = Some(value.trim().parse().map_err(|_| bad())?),
            "transfer-encoding" => head.chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
}

/// Copies a chunked body.
fn copy_chunks(input: &mut impl BufRead, output: &mut dyn Write) -> Result<(), Failure> {
    let bad = || Failure::new(1, "the answer's chunks are broken");
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| bad())?;
        if size == 0 {
            return Ok(());
        }
        if io::copy(&mut input.take(size), output)? < size {
            return Err(bad());
        }
        line.clear();
        input.read_line(&mut line)?;
    }
}
