//! httpd and fetch, over the loopback interface.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};

use crate::{Scratch, applet, out, run};

/// A server that ends with the test.
struct Server {
    child: Child,
    address: String,
    /// Keeps the pipe open that the server logs to.
    _log: BufReader<ChildStdout>,
}

impl Server {
    fn start(root: &Scratch) -> Self {
        let mut child = applet("httpd")
            .args(["-b", "127.0.0.1", "-p", "0", "-r", &root.path("")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap().trim_end().trim_end_matches('/');
        Self { child, address: address.to_owned(), _log: log }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn httpd_serves_files_listings_and_its_status() {
    let scratch = Scratch::new("httpd");
    scratch.write("page.html", "<p>hi");
    out("mkdir", &[&scratch.path("sub")]);
    scratch.write("sub/data", "12345");
    let server = Server::start(&scratch);
    assert_eq!(out("fetch", &[&server.url("/page.html")]), "<p>hi");
    assert_eq!(out("fetch", &[&server.url("/sub/data")]), "12345");
    assert!(out("fetch", &[&server.url("/")]).contains("<a href=\"sub/\">"));
    assert!(out("fetch", &[&server.url("/status")]).contains("\"requests\":4"));
    let head = out("fetch", &["-i", &server.url("/page.html")]);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/html"), "{head}");
    let ran = run("fetch", &[&server.url("/none")]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.error.contains("answered 404"), "{}", ran.error);
}

#[test]
fn httpd_serves_nothing_outside_its_root() {
    let scratch = Scratch::new("httpd-root");
    out("mkdir", &[&scratch.path("www")]);
    scratch.write("secret", "secret");
    std::os::unix::fs::symlink(scratch.path("secret"), scratch.path("www/link")).unwrap();
    let www = Scratch(scratch.0.join("www"));
    let server = Server::start(&www);
    for path in ["/../secret", "/%2e%2e/secret", "/link", "/%00"] {
        let mut connection = TcpStream::connect(&server.address).unwrap();
        write!(connection, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 40"), "{path}: {answer}");
        assert!(!answer.ends_with("secret"), "{path}: {answer}");
    }
}

#[test]
fn a_connection_serves_several_requests() {
    let scratch = Scratch::new("httpd-keep");
    scratch.write("a", "A");
    let server = Server::start(&scratch);
    let mut connection = TcpStream::connect(&server.address).unwrap();
    let two = "GET /a HTTP/1.1\r\nHost: x\r\n\r\nHEAD /a HTTP/1.1\r\nConnection: close\r\n\r\n";
    connection.write_all(two.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(answer.matches("Content-Length: 1").count(), 2, "{answer}");
}

#[test]
fn fetch_says_what_it_cannot_do() {
    assert_eq!(run("fetch", &["https://localhost/"]).code, Some(2));
    let ran = run("fetch", &["http://127.0.0.1:1/"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.error.contains("Connection refused"), "{}", ran.error);
    let ran = run("fetch", &["http://no.such.host.invalid/"]);
    assert!(ran.error.contains("unknown host"), "{}", ran.error);
}
