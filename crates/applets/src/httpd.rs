//! httpd: a small HTTP/1.1 server (RFC 9112) for files, one thread a connection.
//!
//! It serves GET and HEAD below one directory, lists directories, and tells about itself at
//! `/status`. Paths are taken apart before they touch the file system: `..` is refused.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::options::{self, Options};
use crate::outcome::{Failure, Outcome};
use crate::{proc, sys, time};

/// What every connection knows.
struct Server {
    root: PathBuf,
    started: Instant,
    requests: AtomicU64,
}

/// An answer to a request.
struct Answer {
    status: &'static str,
    kind: &'static str,
    body: Body,
}

/// The body of an answer.
enum Body {
    Text(String),
    File(File, u64),
}

/// `httpd [-p PORT] [-b ADDRESS] [-r ROOT]`
pub fn run(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "p:r:b:f")?;
    let port = options.value('p').map_or(Ok(80), |port| options::number(port, 10))?;
    let port = u16::try_from(port).map_err(|_| Failure::usage("a port is at most 65535"))?;
    let address = match options.value('b').map(|text| text.to_string_lossy().parse()) {
        None => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        Some(Ok(address)) => SocketAddr::new(address, port),
        Some(Err(_)) => return Err(Failure::usage("-b wants an IP address")),
    };
    let root = options.value('r').unwrap_or("/www".as_ref());
    let root = fs::canonicalize(root).map_err(|error| Failure::file(root, &error))?;
    // A client that goes away must end its own connection only.
    sys::ignore_signal(sys::SIGPIPE);
    sys::end_on_signal(sys::SIGTERM);
    sys::end_on_signal(sys::SIGINT);
    let failed = |error: &io::Error| Failure::file(address.to_string(), error);
    let listener = TcpListener::bind(address).map_err(|error| failed(&error))?;
    let bound = listener.local_addr().map_err(|error| failed(&error))?;
    writeln!(io::stdout(), "serving {} on http://{bound}/", root.display())?;
    io::stdout().flush()?;
    let server = Arc::new(Server { root, started: Instant::now(), requests: AtomicU64::new(0) });
    for connection in listener.incoming() {
        let Ok(connection) = connection else { continue };
        let server = Arc::clone(&server);
        // A thread that can't be had drops the connection, which tells the client.
        let _ = std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
            // A connection's errors are the client's business.
            let _ = serve(&server, connection);
        });
    }
    Ok(0)
}

/// Answers requests on one connection until it closes.
fn serve(server: &Server, connection: TcpStream) -> io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    let peer = connection.peer_addr()?;
    let mut input = BufReader::new(connection.try_clone()?);
    let mut output = connection;
    while let Some(request) = read_request(&mut input)? {
        server.requests.fetch_add(1, Ordering::Relaxed);
        let answer = respond(server, &request);
        let mut log = io::stdout().lock();
        writeln!(log, "{peer} {} {} {}", request.method, request.target, answer.status)?;
        log.flush()?;
        drop(log);
        send(&mut output, &request, answer)?;
        if !request.keep_alive {
            return Ok(());
        }
    }
    Ok(())
}

/// The part of a request that matters here.
struct Request {
    method: String,
    target: String,
    keep_alive: bool,
}

/// Reads a request's head; `None` when the client has closed, or sent something that isn't one.
fn read_request(input: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = input.take(16 << 10);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        keep_alive: words.next() == Some("HTTP/1.1"),
    };
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let field = line.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            return Ok(Some(request));
        }
        match field.split_once(':').map(|(key, value)| (key, value.trim())) {
            Some(("connection", "close")) => request.keep_alive = false,
            // No method here takes a body, so one can't be skipped either.
            Some(("content-length", length)) if length != "0" => request.keep_alive = false,
            Some(("transfer-encoding", _)) => request.keep_alive = false,
            _ => {}
        }
    }
}

/// An answer of one line of text.
fn text(status: &'static str, message: &str) -> Answer {
    Answer { status, kind: "text/plain; charset=utf-8", body: Body::Text(format!("{message}\n")) }
}

/// Finds the answer to a request.
fn respond(server: &Server, request: &Request) -> Answer {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return text("405 Method Not Allowed", "only GET and HEAD are served here");
    }
    let path = request.target.split(['?', '#']).next().unwrap_or_default();
    if path == "/status" {
        return status_page(server);
    }
    let Some(relative) = decode(path) else {
        return text("400 Bad Request", "this path is not served");
    };
    let path = server.root.join(&relative);
    // A link may not lead out of the root.
    match fs::canonicalize(&path) {
        Ok(real) if real.starts_with(&server.root) => file_answer(&real, &request.target),
        Ok(_) => text("403 Forbidden", "this path is not served"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            text("403 Forbidden", "permission denied")
        }
        Err(_) => text("404 Not Found", "no such file"),
    }
}

/// Serves a file, or a directory by its index.html or a listing.
fn file_answer(path: &Path, target: &str) -> Answer {
    let file = if path.is_dir() { path.join("index.html") } else { path.to_owned() };
    let opened = File::open(&file).and_then(|file| Ok((file.metadata()?, file)));
    match opened {
        Ok((data, opened)) if data.is_file() => Answer {
            status: "200 OK",
            kind: media_type(&file),
            body: Body::File(opened, data.len()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_dir() => {
            listing(path, target)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            text("403 Forbidden", "permission denied")
        }
        _ => text("404 Not Found", "no such file"),
    }
}

/// A directory as a page of links.
fn listing(path: &Path, target: &str) -> Answer {
    let Ok(entries) = fs::read_dir(path) else {
        return text("403 Forbidden", "permission denied");
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.file_name().display())
        })
        .collect();
    names.sort();
    let title = escape(target);
    let mut page = format!("<!doctype html><title>{title}</title><h1>{title}</h1><ul>\n");
    for name in names {
        let name = escape(&name);
        page += &format!("<li><a href=\"{name}\">{name}</a>\n");
    }
    page += "</ul>\n";
    Answer { status: "200 OK", kind: "text/html; charset=utf-8", body: Body::Text(page) }
}

/// What the server knows of itself, as JSON.
fn status_page(server: &Server) -> Answer {
    let hostname = proc::hostname().unwrap_or_default();
    let body = format!(
        "{{\"hostname\":\"{}\",\"pid\":{},\"uptime_seconds\":{},\"requests\":{}}}\n",
        hostname.replace(['"', '\\'], "?"),
        std::process::id(),
        server.started.elapsed().as_secs(),
        server.requests.load(Ordering::Relaxed),
    );
    Answer { status: "200 OK", kind: "application/json", body: Body::Text(body) }
}

/// Turns a request's path into a relative one; `None` for one that climbs or isn't text.
fn decode(path: &str) -> Option<PathBuf> {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = rest.get(2..)?;
        } else {
            bytes.push(byte);
        }
    }
    if bytes.contains(&0) {
        return None;
    }
    let mut relative = PathBuf::new();
    for part in bytes.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            name => relative.push(std::ffi::OsStr::from_bytes(name)),
        }
    }
    Some(relative)
}

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' | '<' | '>' | '"' | '\'' => {
                // Writing to a string can't fail.
                let _ = write!(out, "&#{};", u32::from(letter));
            }
            other => out.push(other),
        }
    }
    out
}

/// A media type by the name's end.
fn media_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        _ => "application/octet-stream",
    }
}

/// Sends an answer.
fn send(output: &mut TcpStream, request: &Request, answer: Answer) -> io::Result<()> {
    let length = match &answer.body {
        Body::Text(text) => text.len() as u64,
        Body::File(_, length) => *length,
    };
    let date = time::Civil::from_seconds(i64::try_from(time::now().as_secs()).unwrap_or(0)).http();
    let connection = if request.keep_alive { "keep-alive" } else { "close" };
    let head = format!(
        "HTTP/1.1 {}\r\nDate: {date}\r\nServer: berth-httpd\r\nContent-Type: {}\r\n\
         Content-Length: {length}\r\nConnection: {connection}\r\n\r\n",
        answer.status, answer.kind,
    );
    output.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    match answer.body {
        Body::Text(text) => output.write_all(text.as_bytes()),
        Body::File(file, length) => {
            let sent = io::copy(&mut file.take(length), output)?;
            // A file that shrank leaves the client waiting, so the connection must end.
            if sent < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
        }
    }
}
