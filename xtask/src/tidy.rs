//! Rules that no lint knows, made executable: which crate may depend on which, and how large a room may get.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::command::{cargo_command, output};
use crate::tidy_source;

/// For each of our packages, the ones of ours that it may depend on (design: "Dependencies point
/// down only"). A package that is not named here is refused, so that a new crate is a decision.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("berth-spec", &[]),
    ("berth-applets", &[]),
    ("berth-embedded", &[]),
    ("berth-cgroup", &["berth-spec"]),
    ("berth-seccomp", &["berth-spec"]),
    ("berth-runtime", &["berth-spec", "berth-cgroup", "berth-seccomp"]),
    ("berth-monitor", &["berth-spec", "berth-cgroup", "berth-runtime"]),
    ("berth-image", &["berth-spec", "berth-seccomp"]),
    (
        "berth-engine",
        &[
            "berth-spec",
            "berth-cgroup",
            "berth-seccomp",
            "berth-runtime",
            "berth-monitor",
            "berth-image",
            "berth-embedded",
        ],
    ),
    ("berth", &["berth-engine", "berth-image", "berth-spec", "berth-runtime"]),
    ("berth-testkit", &["berth-spec"]),
    ("berth-tests", &["berth-spec", "berth-testkit", "berth-embedded"]),
    ("berth-benches", &["berth-spec", "berth-seccomp", "berth-testkit", "berth-embedded"]),
    ("xtask", &[]),
];

/// What test code may depend on besides: fakes and fixtures.
const TESTS_MAY_DEPEND_ON: &[&str] = &["berth-testkit", "berth-embedded", "berth-image"];

/// Runs every rule; prints each breach, and fails when there is one.
pub fn run() -> anyhow::Result<()> {
    let mut breaches = Vec::new();
    let metadata = output(&mut cargo_command(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("read cargo's metadata")?;
    let packages = metadata["packages"].as_array().context("cargo's metadata lists no packages")?;
    let ours: BTreeSet<&str> =
        packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let rules: BTreeMap<&str, &[&str]> = MAY_DEPEND_ON.iter().copied().collect();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        dependency_direction(name, package, &ours, &rules, &mut breaches);
        lint_table(name, package, &mut breaches)?;
    }
    for path in rust_files(Path::new("."))? {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        tidy_source::check(&path, &text, &mut breaches);
    }
    for breach in &breaches {
        eprintln!("tidy: {breach}");
    }
    if breaches.is_empty() {
        println!("tidy: {} packages keep the rules", packages.len());
        return Ok(());
    }
    bail!("{} breaches of the project's own rules", breaches.len())
}

fn dependency_direction(
    name: &str,
    package: &Value,
    ours: &BTreeSet<&str>,
    rules: &BTreeMap<&str, &[&str]>,
    breaches: &mut Vec<String>,
) {
    let Some(allowed) = rules.get(name) else {
        breaches.push(format!(
            "package {name} is not in the table of dependencies (xtask/src/tidy.rs)"
        ));
        return;
    };
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let other = dependency["name"].as_str().unwrap_or_default();
        let in_tests = dependency["kind"].as_str() == Some("dev");
        if ours.contains(other)
            && !allowed.contains(&other)
            && !(in_tests && TESTS_MAY_DEPEND_ON.contains(&other))
        {
            breaches.push(format!("package {name} must not depend on {other}"));
        }
    }
}

/// Every package takes the workspace's lints.
fn lint_table(name: &str, package: &Value, breaches: &mut Vec<String>) -> anyhow::Result<()> {
    let manifest = package["manifest_path"].as_str().context("a package has no manifest")?;
    let text = std::fs::read_to_string(manifest).with_context(|| format!("read {manifest}"))?;
    if !text.contains("[lints]\nworkspace = true") {
        breaches.push(format!("package {name} does not take the workspace's lints"));
    }
    Ok(())
}

/// Every Rust file of the tree.
fn rust_files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory)
            .with_context(|| format!("list {}", directory.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("list {}", directory.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && !name.starts_with("target") {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_against_the_direction_is_a_breach() {
        let package = serde_json::json!({"dependencies": [{"name": "berth-engine", "kind": null}]});
        let ours = BTreeSet::from(["berth-engine", "berth-image"]);
        let rules: BTreeMap<&str, &[&str]> = MAY_DEPEND_ON.iter().copied().collect();
        let mut breaches = Vec::new();
        dependency_direction("berth-image", &package, &ours, &rules, &mut breaches);
        assert_eq!(breaches, ["package berth-image must not depend on berth-engine"]);
    }

    #[test]
    fn the_table_itself_has_no_cycle() {
        let rules: BTreeMap<&str, &[&str]> = MAY_DEPEND_ON.iter().copied().collect();
        fn depth(name: &str, rules: &BTreeMap<&str, &[&str]>, seen: usize) -> usize {
            assert!(seen < 20, "a cycle through {name}");
            rules[name].iter().map(|other| depth(other, rules, seen + 1)).max().unwrap_or(0) + 1
        }
        for name in rules.keys() {
            depth(name, &rules, 0);
        }
    }
}
