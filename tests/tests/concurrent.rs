//! Many `berth` commands on one state at once.

use std::collections::BTreeSet;

use berth_testkit::{Scratch, require};

#[test]
fn thirty_two_commands_at_once_lose_and_double_nothing() {
    let scratch = require!(Scratch::new());
    std::thread::scope(|threads| {
        for number in 0..32 {
            let scratch = &scratch;
            threads.spawn(move || {
                let name = format!("n{number}");
                let said =
                    scratch.berth(&["run", "--name", &name, "demo", "echo", &name]).success();
                assert_eq!(said, name);
            });
        }
    });
    let names = scratch.berth(&["ps", "-a", "--format", "{{.Names}}"]).success();
    let names: Vec<&str> = names.lines().collect();
    assert_eq!(names.len(), 32);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 32);
    scratch.assert_clean();
}

#[test]
fn one_name_is_given_once() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["run", "--rm", "demo", "true"]).success();
    let codes: Vec<i32> = std::thread::scope(|threads| {
        let started: Vec<_> = (0..16)
            .map(|_| {
                let scratch = &scratch;
                threads.spawn(move || {
                    scratch.berth(&["create", "--name", "only", "demo", "true"]).code
                })
            })
            .collect();
        started.into_iter().map(|thread| thread.join().expect("a thread ends")).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| [0, 125].contains(code)), "{codes:?}");
    assert_eq!(scratch.ids().len(), 1);
    scratch.assert_clean();
}
