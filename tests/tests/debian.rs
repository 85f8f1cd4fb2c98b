//! A Debian root file system of several layers, made by Debian's own tools, loaded in both forms.

use berth_testkit::{Scratch, debian, require};

fn perl_counts_under_a_limit(scratch: &Scratch, image: &str) {
    let run = |options: &[&str], command: &[&str]| {
        let mut all =
            vec!["run", "--rm", "--network", "none", "--memory", "256m", "--pids-limit", "64"];
        all.extend(options);
        all.push(image);
        all.extend(command);
        scratch.berth(&all)
    };
    let packages = run(&[], &["apt", "list", "--installed"]).success();
    assert!(packages.contains("perl-base"), "{packages}");
    assert_eq!(
        run(&[], &["perl", "-e", "my $s = 0; $s += $_ for 1..1000; print $s"]).success(),
        "500500"
    );
    let refused = run(&["--memory", "24m"], &["perl", "-e", "my $x = 'x' x (200 * 1024 * 1024)"]);
    assert_eq!(refused.code, 137, "{}", refused.stderr);
    // The upper layers: a file added, one taken away, a directory taken away.
    let seen = run(&[], &["sh", "-c", "pwd; cat layer top; ls; ls -d /usr/share/doc"]);
    assert!(seen.stdout.starts_with("/opt/berth\nsecond\nthird\n"), "{}", seen.stdout);
    assert!(!seen.stdout.contains("gone"), "{}", seen.stdout);
    assert_ne!(seen.code, 0, "/usr/share/doc was taken away");
    // Set-user-id bits, owners and links came through.
    let mode = run(&[], &["stat", "-c", "%a %U", "/usr/bin/su"]).success();
    assert_eq!(mode, "4755 root");
    assert_eq!(run(&[], &["readlink", "/bin"]).success(), "usr/bin");
}

#[test]
fn a_debian_image_runs_from_an_oci_layout() {
    let scratch = require!(Scratch::new());
    let image = require!(debian::image());
    let source = format!("{}:latest", image.layout.display());
    let loaded = scratch.berth(&["load", "-i", image.layout.to_str().unwrap()]);
    let said = loaded.success();
    assert!(said.contains("latest"), "{source}: {said}");
    let images = scratch.berth(&["images", "-q", "--no-trunc"]).success();
    perl_counts_under_a_limit(&scratch, images.lines().next().unwrap_or_default());
    scratch.assert_clean();
}

#[test]
fn a_debian_image_runs_from_a_docker_archive() {
    let scratch = require!(Scratch::new());
    let image = require!(debian::image());
    let said = scratch.berth(&["load", "-i", image.docker_archive.to_str().unwrap()]).success();
    assert!(said.contains("debian-perl:latest"), "{said}");
    perl_counts_under_a_limit(&scratch, "debian-perl");
    scratch.assert_clean();
}
