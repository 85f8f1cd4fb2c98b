//! buildah `--runtime berth-runtime`: the commands of a build.

use std::process::Command;

use berth_testkit::{Finished, peers, require};

use crate::place::{IMAGE, Place, finish, runtime};

const DOCKERFILE: &str = "FROM berth.local/demo:latest\n\
    ENV WORD=built\n\
    RUN echo $WORD by $(id -u) > /made && mkdir /kept\n\
    WORKDIR /kept\n\
    USER 1000\n\
    RUN id -u > /tmp/who\n\
    CMD [\"cat\", \"/made\", \"/tmp/who\"]\n";

#[track_caller]
fn buildah(place: &Place, arguments: &[&str]) -> Finished {
    let mut command = Command::new("buildah");
    command.args(["--root", &place.text("root"), "--runroot", &place.text("run")]);
    command.args(["--storage-driver", "overlay"]);
    finish(command.args(arguments))
}

#[test]
fn buildah_builds_an_image() {
    let place = require!(Place::new("buildah"));
    let runtime = require!(runtime());
    let skopeo = require!(peers::find("skopeo"));
    let storage =
        format!("containers-storage:[overlay@{}+{}]{IMAGE}", place.text("root"), place.text("run"));
    let archive = format!("oci-archive:{}", place.archive().display());
    finish(Command::new(skopeo).args(["--insecure-policy", "copy", "--quiet", &archive, &storage]))
        .success();
    let context = place.path("context");
    std::fs::create_dir(&context).expect("a directory can be made");
    std::fs::write(context.join("Dockerfile"), DOCKERFILE).expect("a file can be written");
    let parent = format!("/{}", place.parent);
    buildah(
        &place,
        &[
            "build",
            "--isolation",
            "oci",
            "--runtime",
            &runtime,
            "--network",
            "none",
            "--cgroup-parent",
            &parent,
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=4096:4096",
            "--pull-never",
            "--tag",
            "built",
            &place.text("context"),
        ],
    )
    .success();
    let container = buildah(&place, &["from", "--pull-never", "built"]).success();
    let run = |command: &[&str]| {
        let options = ["run", "--isolation", "oci", "--runtime", &runtime, "--network", "none"];
        buildah(&place, &[&options[..], &[&container, "--"], command].concat())
    };
    assert_eq!(run(&["cat", "/made", "/tmp/who"]).success(), "built by 0\n1000");
    run(&["sh", "-c", "exit 6"]).failure(6);
    buildah(&place, &["rm", &container]).success();
}
