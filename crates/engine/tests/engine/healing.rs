//! What is left when somebody is killed, and what the next command makes of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::support::{DETACHED, eventually, once, request, start};
use berth_engine::view::ContainerStatus;
use berth_engine::{Engine, ListFilter, PruneOptions, RemoveOptions, StartOptions, StopOptions};
use rustix::process::{Pid, Signal, kill_process};

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

async fn monitor_of(engine: &Engine, id: &str) -> i32 {
    engine.state(id).await.unwrap().monitor_pid.unwrap()
}

#[test]
fn a_container_whose_monitor_was_killed_is_adopted() {
    with_engine!(|engine, scratch| {
        let id = start(&engine, request(&["sleep", "1000"])).await;
        let monitor = monitor_of(&engine, &id).await;
        let pid = engine.state(&id).await.unwrap().pid;
        kill(monitor);
        eventually("another monitor has it", async || {
            let state = engine.state(&id).await.unwrap();
            assert_eq!((state.status, state.pid), (ContainerStatus::Running, pid));
            state.monitor_pid.is_some_and(|now| now != monitor)
        })
        .await;
        engine.stop(&id, StopOptions { timeout: Some(0), signal: None }).await.unwrap();
        assert_eq!(engine.state(&id).await.unwrap().status, ContainerStatus::Exited);
    });
}

#[test]
fn a_container_that_died_with_its_monitor_is_exited_and_starts_again() {
    with_engine!(|engine, scratch| {
        let id = start(&engine, request(&["sleep", "1000"])).await;
        let state = engine.state(&id).await.unwrap();
        kill(state.monitor_pid.unwrap());
        kill(state.pid.unwrap());
        eventually("it is seen to be gone", async || {
            engine.state(&id).await.unwrap().status == ContainerStatus::Exited
        })
        .await;
        // A new monitor may have come just in time to be told by the kernel.
        let code = engine.state(&id).await.unwrap().exit_code;
        assert!(matches!(code, None | Some(137)), "{code:?}");
        eventually("it is cleaned up after", async || crate::support::cgroups(&id).is_empty())
            .await;
        engine.start(&id, StartOptions::default()).await.unwrap();
        assert_eq!(engine.state(&id).await.unwrap().status, ContainerStatus::Running);
    });
}

#[test]
fn a_restart_policy_is_taken_up_after_the_monitor() {
    with_engine!(|engine, scratch| {
        // One that runs when its monitor dies with it, and one in the pause before a restart.
        let mut wanted = request(&["sleep", "1000"]);
        wanted.restart = berth_engine::request::RestartPolicy::Always;
        let runs = start(&engine, wanted).await;
        let mut wanted = request(&["sh", "-c", "exit 3"]);
        wanted.restart = berth_engine::request::RestartPolicy::OnFailure { max: Some(5) };
        let pauses = start(&engine, wanted).await;
        let state = engine.state(&runs).await.unwrap();
        kill(state.monitor_pid.unwrap());
        kill(state.pid.unwrap());
        eventually("it runs again", async || {
            let now = engine.state(&runs).await.unwrap();
            now.status == ContainerStatus::Running && now.restarts == 1
        })
        .await;
        eventually("it waits to be started again", async || {
            let now = engine.state(&pauses).await.unwrap();
            now.status == ContainerStatus::Restarting && now.restarts >= 2
        })
        .await;
        kill(monitor_of(&engine, &pauses).await);
        eventually("its restarts are counted to the end", async || {
            let now = engine.state(&pauses).await.unwrap();
            now.status == ContainerStatus::Exited && now.restarts == 5 && now.exit_code == Some(3)
        })
        .await;
        engine.stop(&runs, StopOptions { timeout: Some(0), signal: None }).await.unwrap();
        assert_eq!(engine.state(&runs).await.unwrap().status, ContainerStatus::Exited);
    });
}

#[test]
fn a_killed_init_has_its_exit_code() {
    with_engine!(|engine, scratch| {
        let id = start(&engine, request(&["sleep", "1000"])).await;
        kill(engine.state(&id).await.unwrap().pid.unwrap());
        eventually("its end is recorded", async || {
            let state = engine.state(&id).await.unwrap();
            state.status == ContainerStatus::Exited && state.exit_code == Some(137)
        })
        .await;
    });
}

#[test]
fn a_reboot_leaves_containers_exited_and_takes_those_with_rm() {
    with_engine!(|engine, scratch| {
        let id = start(&engine, request(&["sleep", "1000"])).await;
        let gone = start(&engine, once(&["sleep", "1000"])).await;
        // What a reboot does: everything ends at once, and tmpfs forgets.
        for id in [&id, &gone] {
            let state = engine.state(id).await.unwrap();
            kill(state.monitor_pid.unwrap());
            kill(state.pid.unwrap());
        }
        let states = [&id, &gone].map(|id| scratch.run().join("containers").join(id));
        for run in &states {
            std::fs::remove_dir_all(run).unwrap();
        }
        let database = rusqlite::Connection::open(scratch.root().join("berth.db")).unwrap();
        database
            .execute_batch(
                "UPDATE containers SET launch = json_set(launch, '$.boot_id', 'before');
                 UPDATE meta SET value = 'before' WHERE key = 'boot_id';",
            )
            .unwrap();
        let engine = scratch.engine();
        let list = engine.list(ListFilter { all: true, ..ListFilter::default() }).await.unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].state.status, ContainerStatus::Exited);
        assert_eq!(list[0].state.exit_code, None);
        engine.start(&id, StartOptions::default()).await.unwrap();
        assert_eq!(engine.state(&id).await.unwrap().status, ContainerStatus::Running);
    });
}

#[test]
fn prune_mends_what_nobody_has_looked_at() {
    with_engine!(|engine, scratch| {
        let lost = start(&engine, request(&["sleep", "1000"])).await;
        let orphan = start(&engine, request(&["sleep", "1000"])).await;
        let state = engine.state(&lost).await.unwrap();
        kill(state.monitor_pid.unwrap());
        kill(state.pid.unwrap());
        kill(monitor_of(&engine, &orphan).await);
        // A directory, a volume and a lock of containers that there never were.
        let strange = "f".repeat(64);
        for place in ["run/containers", "run/locks", "root/containers", "root/volumes"] {
            std::fs::create_dir_all(scratch.path().join(place).join(&strange)).unwrap();
        }
        std::fs::remove_dir(scratch.run().join("locks").join(&strange)).unwrap();
        std::fs::write(scratch.run().join("locks").join(&strange), "").unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let pruned = engine.system_prune(PruneOptions::default()).await.unwrap();
        let said = pruned.healed.join("\n");
        assert!(said.contains("has a new monitor"), "{said}");
        assert!(said.contains("had ended without being cleaned up after"), "{said}");
        assert!(said.contains("removed the files of volume"), "{said}");
        for place in ["run/containers", "run/locks", "root/containers", "root/volumes"] {
            assert!(!scratch.path().join(place).join(&strange).exists(), "{place}");
        }
        assert_eq!(engine.state(&orphan).await.unwrap().status, ContainerStatus::Running);
        assert_eq!(engine.state(&lost).await.unwrap().status, ContainerStatus::Exited);
        let everything =
            PruneOptions { containers: true, volumes: true, images: true, ..Default::default() };
        let pruned = engine.system_prune(everything).await.unwrap();
        assert_eq!(pruned.containers, [lost]);
    });
}

/// The part of a process that is killed at some moment: it creates, runs and removes containers.
pub fn victim_child() {
    let Some(order) = std::env::var_os(crate::support::VICTIM) else { return };
    let order = order.into_string().unwrap();
    let (directory, monitor) = order.split_once(':').unwrap();
    let engine =
        Engine::open(crate::support::config(Path::new(directory), Path::new(monitor))).unwrap();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        loop {
            crate::support::run(&engine, once(&["true"])).await;
            let id = engine.run(request(&["sleep", "1000"]), DETACHED).await.unwrap().created.id;
            engine.stop(&id, StopOptions { timeout: Some(0), signal: None }).await.unwrap();
            engine.remove(&id, RemoveOptions::default()).await.unwrap();
        }
    });
}

/// Containers that were recorded in the database, ever.
fn ids(scratch: &crate::support::Scratch) -> BTreeSet<String> {
    let text = std::fs::read_to_string(scratch.run().join("events")).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|event| Some(event["id"].as_str()?.to_owned()))
        .collect()
}

#[test]
fn a_command_killed_at_any_moment_leaves_nothing_that_prune_does_not_take() {
    with_engine!(|engine, scratch| {
        crate::support::run(&engine, once(&["true"])).await;
        let order =
            format!("{}:{}", scratch.path().display(), scratch.config().monitor.unwrap().display());
        for round in 0..40_u64 {
            let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "victim_child"])
                .env(crate::support::VICTIM, &order)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            // Moments that are spread over a few hundred milliseconds, differently in each round.
            let wait = 15 + round * 37 % 260;
            tokio::time::sleep(Duration::from_millis(wait)).await;
            victim.kill().unwrap();
            victim.wait().unwrap();
            if round % 3 == 0 {
                kill_some_monitor(&engine).await;
            }
            // Somebody else, such as a monitor's clean-up, may be about to bring a removal to its end.
            eventually("removals come to their end", async || {
                let all = ListFilter { all: true, ..ListFilter::default() };
                let list = engine.list(all).await.unwrap();
                !list.iter().any(|container| container.state.status == ContainerStatus::Removing)
            })
            .await;
        }
        eventually("what ended is cleaned up", async || {
            engine.system_prune(PruneOptions::default()).await.unwrap();
            let list =
                engine.list(ListFilter { all: true, ..ListFilter::default() }).await.unwrap();
            !list.iter().any(|container| container.remove)
        })
        .await;
        let list = engine.list(ListFilter { all: true, ..ListFilter::default() }).await.unwrap();
        for container in list {
            let options = RemoveOptions { force: true, volumes: true, timeout: Some(0) };
            engine.remove(&container.id, options).await.unwrap();
        }
        engine.system_prune(PruneOptions::default()).await.unwrap();
        let ids = ids(&scratch);
        assert!(ids.len() > 10, "the victims came to do something: {}", ids.len());
        scratch.assert_nothing_left(&ids.iter().map(String::as_str).collect());
    });
}

async fn kill_some_monitor(engine: &Engine) {
    let list = engine.list(ListFilter::default()).await.unwrap();
    if let Some(pid) = list.first().and_then(|container| container.state.monitor_pid) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
}
