//! Containers from birth to removal, through the engine's public interface.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{ATTACHED, DETACHED, drain, eventually, once, request, run, start};
use berth_engine::request::{Resources, RestartPolicy, StdinMode};
use berth_engine::view::{ContainerStatus, Stopped};
use berth_engine::{
    AttachEvent, EngineError as _, ErrorKind, ExecRequest, ListFilter, LogsOptions, RemoveOptions,
    Signal, StartOptions, StopOptions, Streams, WaitCondition,
};

#[test]
fn a_container_runs_and_leaves_nothing() {
    with_engine!(|engine, scratch| {
        let command = ["sh", "-c", "echo out; echo err >&2; exit 7"];
        let running = engine.run(once(&command), ATTACHED).await.unwrap();
        let id = running.created.id.clone();
        let (out, err, status) = drain(&running.attachment.unwrap()).await;
        assert_eq!((out.as_str(), err.as_str(), status.code), ("out\n", "err\n", Some(7)));
        scratch.assert_nothing_left(&BTreeSet::from([id.as_str()]));
        let all = ListFilter { all: true, ..ListFilter::default() };
        assert!(engine.list(all).await.unwrap().is_empty());
    });
}

#[test]
fn a_command_that_is_not_there_is_127_and_one_that_cannot_be_executed_126() {
    with_engine!(|engine, scratch| {
        for (command, kind, code) in [
            ("nosuch", ErrorKind::CommandNotFound, 127),
            ("/etc", ErrorKind::CommandNotExecutable, 126),
        ] {
            let error = engine.run(once(&[command]), ATTACHED).await.unwrap_err();
            assert_eq!((error.kind(), error.kind().exit_code()), (kind, code), "{error}");
            scratch.assert_nothing_left(&BTreeSet::new());
        }
        // Without --rm it stays, created, and says why.
        engine.run(request(&["nosuch"]), ATTACHED).await.unwrap_err();
        let all = ListFilter { all: true, ..ListFilter::default() };
        let list = engine.list(all).await.unwrap();
        assert_eq!(list[0].state.status, ContainerStatus::Created);
        assert!(list[0].state.error.as_ref().unwrap().contains("nosuch"));
    });
}

#[test]
fn a_container_in_the_background_is_seen_asked_and_stopped() {
    with_engine!(|engine, scratch| {
        let mut wanted = request(&["sleep", "1000"]);
        wanted.name = Some("web".to_owned());
        wanted.resources = Resources { memory: Some(64 << 20), ..Resources::default() };
        let id = start(&engine, wanted).await;
        let list = engine.list(ListFilter::default()).await.unwrap();
        assert_eq!((list.len(), list[0].state.status), (1, ContainerStatus::Running));
        let inspect = engine.inspect("web", true).await.unwrap();
        assert_eq!(inspect["Id"], id.as_str());
        assert_eq!(inspect["State"]["Running"], true);
        assert_eq!(inspect["HostConfig"]["Memory"], 64 << 20);
        let top =
            engine.top(&id[..12], &["pid".into(), "hpid".into(), "args".into()]).await.unwrap();
        assert_eq!(top.rows[0][0], "1");
        assert_eq!(top.rows[0][1], inspect["State"]["Pid"].to_string());
        assert_eq!(top.rows[0][2], "sleep 1000");
        let stats = engine.stats(&["web".to_owned()]).await.unwrap();
        assert_eq!((stats[0].memory_limit, stats[0].pids), (64 << 20, 1));
        engine.pause("web").await.unwrap();
        assert_eq!(engine.state("web").await.unwrap().status, ContainerStatus::Paused);
        engine.pause("web").await.unwrap_err();
        engine.unpause("web").await.unwrap();
        let error = engine.remove("web", RemoveOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let stop = StopOptions { timeout: Some(0), signal: None };
        assert_eq!(engine.stop("web", stop).await.unwrap(), Stopped::Now);
        assert_eq!(engine.stop("web", stop).await.unwrap(), Stopped::Already);
        let state = engine.state("web").await.unwrap();
        assert_eq!((state.status, state.exit_code), (ContainerStatus::Exited, Some(137)));
        assert!(crate::support::cgroups(&id).is_empty());
        engine.start("web", StartOptions::default()).await.unwrap();
        assert_eq!(engine.state("web").await.unwrap().status, ContainerStatus::Running);
        engine.restart("web", stop).await.unwrap();
        engine.kill("web", Signal::KILL).await.unwrap();
        let waited = engine.wait("web", WaitCondition::Stopped).await.unwrap();
        assert_eq!(waited.exit_code, Some(137));
        engine.remove("web", RemoveOptions::default()).await.unwrap();
    });
}

#[test]
fn a_stop_signal_is_given_time_and_is_enough() {
    with_engine!(|engine, scratch| {
        let mut wanted = request(&["sleep", "1000"]);
        wanted.init = true;
        let id = start(&engine, wanted).await;
        eventually("the init has started the command", async || {
            engine.top(&id, &[]).await.unwrap().rows.len() == 2
        })
        .await;
        let begin = std::time::Instant::now();
        engine.stop(&id, StopOptions { timeout: Some(8), signal: None }).await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(5), "the signal was passed on by the init");
        assert_eq!(engine.state(&id).await.unwrap().exit_code, Some(143));
    });
}

#[test]
fn standard_input_flows_however_much_it_is() {
    with_engine!(|engine, scratch| {
        let mut wanted = once(&["wc", "-c"]);
        wanted.stdin = StdinMode::Once;
        let running = engine.run(wanted, ATTACHED).await.unwrap();
        let attachment = running.attachment.unwrap();
        let bytes = vec![b'x'; 3 << 20];
        let write = async {
            attachment.send_stdin(&bytes).await.unwrap();
            attachment.close_stdin().await.unwrap();
        };
        let ((), (out, _, status)) = tokio::join!(write, drain(&attachment));
        assert_eq!((out.trim(), status.code), ("3145728", Some(0)));
    });
}

#[test]
fn output_is_complete_however_much_it_is() {
    with_engine!(|engine, scratch| {
        let (out, _, status) = run(&engine, once(&["head", "-c", "4000000", "/dev/zero"])).await;
        assert_eq!((out.len(), status.code), (4_000_000, Some(0)));
    });
}

#[test]
fn commands_are_executed_in_a_running_container() {
    with_engine!(|engine, scratch| {
        let id = start(&engine, request(&["sleep", "1000"])).await;
        let mut exec =
            ExecRequest::new(vec!["sh".into(), "-c".into(), "id -u; pwd; env; exit 3".into()]);
        exec.user = Some("guest".to_owned());
        exec.workdir = Some("/tmp".into());
        exec.env = vec![("A".to_owned(), "b c".to_owned())];
        let session = engine.exec(&id, exec).await.unwrap();
        let (out, _, status) = drain(&session.attachment.unwrap()).await;
        assert!(out.starts_with("1000\n/tmp\n"), "{out}");
        assert!(out.contains("A=b c\n") && out.contains("HOME=/home/guest\n"), "{out}");
        assert_eq!(status.code, Some(3));
        let mut exec = ExecRequest::new(vec!["cat".into()]);
        exec.attach = Some(Streams::ALL);
        let attachment = engine.exec(&id, exec).await.unwrap().attachment.unwrap();
        attachment.send_stdin(b"through").await.unwrap();
        attachment.close_stdin().await.unwrap();
        assert_eq!(drain(&attachment).await.0, "through");
        let error = engine.exec(&id, ExecRequest::new(vec!["nosuch".into()])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CommandNotFound);
        let mut exec = ExecRequest::new(vec!["sh".into(), "-c".into(), "touch /done".into()]);
        exec.attach = None;
        assert!(engine.exec(&id, exec).await.unwrap().attachment.is_none());
        eventually("the detached command has run", async || {
            engine.stat_path(&id, std::path::Path::new("/done")).await.is_ok()
        })
        .await;
        engine.stop(&id, StopOptions { timeout: Some(0), signal: None }).await.unwrap();
        let error = engine.exec(&id, ExecRequest::new(vec!["true".into()])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    });
}

#[test]
fn a_terminal_is_one_and_takes_a_size() {
    with_engine!(|engine, scratch| {
        let mut wanted =
            once(&["sh", "-c", "test -t 0 && echo terminal; read line; echo got $line"]);
        wanted.tty = true;
        wanted.stdin = StdinMode::Once;
        let size = Some(berth_engine::TerminalSize { rows: 20, columns: 70 });
        let running = engine.run(wanted, StartOptions { size, ..ATTACHED }).await.unwrap();
        let attachment = running.attachment.unwrap();
        attachment.send_stdin(b"hello\n").await.unwrap();
        let (out, _, status) = drain(&attachment).await;
        assert!(out.contains("got hello"), "{out}");
        assert_eq!(status.code, Some(0));
    });
}

#[test]
fn logs_are_kept_and_followed() {
    with_engine!(|engine, scratch| {
        let command = ["sh", "-c", "echo one; echo two >&2; sleep 0.3; echo three"];
        let id = start(&engine, request(&command)).await;
        let options = LogsOptions { follow: true, ..LogsOptions::default() };
        let mut stream = engine.logs(&id, options).await.unwrap();
        let mut lines = Vec::new();
        while let Some(line) = stream.next().await.unwrap() {
            lines.push((line.is_stderr, String::from_utf8(line.content).unwrap()));
        }
        let expected = [(false, "one\n"), (true, "two\n"), (false, "three\n")];
        let expected = expected.map(|(err, text)| (err, text.to_owned()));
        // The two streams are two pipes: their order among each other is not told.
        lines[..2].sort();
        assert_eq!(lines, expected);
        let options = LogsOptions { tail: Some(1), ..LogsOptions::default() };
        let mut stream = engine.logs(&id, options).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().content, b"three\n");
        assert!(stream.next().await.unwrap().is_none());
    });
}

#[test]
fn a_restart_policy_is_kept_until_somebody_stops_it() {
    with_engine!(|engine, scratch| {
        let mut wanted = request(&["sh", "-c", "exit 3"]);
        wanted.restart = RestartPolicy::OnFailure { max: Some(2) };
        let id = start(&engine, wanted).await;
        let waited = engine.wait(&id, WaitCondition::Stopped).await.unwrap();
        assert_eq!(waited.exit_code, Some(3));
        assert_eq!(engine.state(&id).await.unwrap().restarts, 2);
        let mut wanted = request(&["sleep", "0.1"]);
        wanted.restart = RestartPolicy::Always;
        let id = start(&engine, wanted).await;
        eventually("it has been restarted", async || engine.state(&id).await.unwrap().restarts > 0)
            .await;
        engine.stop(&id, StopOptions { timeout: Some(0), signal: None }).await.unwrap();
        assert_eq!(engine.state(&id).await.unwrap().status, ContainerStatus::Exited);
    });
}

#[test]
fn a_second_client_attaches_and_detaches() {
    with_engine!(|engine, scratch| {
        let mut wanted = request(&["cat"]);
        wanted.stdin = StdinMode::Open;
        let id = start(&engine, wanted).await;
        let first = engine.attach(&id, Streams::ALL).await.unwrap();
        let second = engine.attach(&id, Streams::OUTPUT).await.unwrap();
        first.send_stdin(b"both\n").await.unwrap();
        for attachment in [&first, &second] {
            assert_eq!(
                attachment.next().await.unwrap(),
                Some(AttachEvent::Stdout(b"both\n".to_vec()))
            );
        }
        second.detach().await.unwrap();
        first.close_stdin().await.unwrap();
        assert_eq!(drain(&first).await.2.code, Some(0));
    });
}

#[test]
fn waiting_for_a_container_that_removes_itself_tells_its_exit_code() {
    with_engine!(|engine, scratch| {
        let id = start(&engine, once(&["sh", "-c", "sleep 0.3; exit 5"])).await;
        let waited = engine.wait(&id, WaitCondition::Stopped).await.unwrap();
        assert_eq!(waited.exit_code, Some(5));
        eventually("it is gone", async || engine.resolve(&id).await.is_err()).await;
    });
}

#[test]
fn a_container_killed_for_memory_says_so() {
    with_engine!(|engine, scratch| {
        let mut wanted = request(&["sh", "-c", "tail -c 200000000 /dev/zero"]);
        wanted.resources.memory = Some(16 << 20);
        let (_, _, status) = run(&engine, wanted).await;
        assert!(status.oom_killed);
    });
}

#[test]
fn a_name_in_use_is_refused_and_replaced_when_told() {
    with_engine!(|engine, scratch| {
        let mut wanted = request(&["sleep", "1000"]);
        wanted.name = Some("one".to_owned());
        wanted.stop_timeout = Some(0);
        let first = start(&engine, wanted.clone()).await;
        let error = engine.run(wanted.clone(), DETACHED).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.hints()[0].contains("--replace"));
        wanted.replace = true;
        let second = start(&engine, wanted).await;
        assert_ne!(first, second);
        assert!(engine.resolve(&first).await.is_err());
    });
}

#[test]
fn many_containers_start_at_once() {
    with_engine!(|engine, scratch| {
        // The image is there before, so that nobody waits for its layers.
        run(&engine, once(&["true"])).await;
        let mut tasks = Vec::new();
        for number in 0..16 {
            // An engine each, as separate commands have it.
            let engine = scratch.engine();
            tasks.push(async move {
                let command = format!("echo {number}; exit {number}");
                let (out, _, status) = run(&engine, once(&["sh", "-c", &command])).await;
                (out.trim().to_owned(), status.code)
            });
        }
        let handles: Vec<_> = tasks
            .into_iter()
            .map(|task| {
                tokio::task::spawn_blocking(move || {
                    tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap()
                        .block_on(task)
                })
            })
            .collect();
        for (number, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.await.unwrap(), (number.to_string(), Some(number as i32)));
        }
    });
}

#[test]
fn a_foreign_runtime_is_remembered_with_its_container() {
    let runc = ["/usr/sbin/runc", "/usr/bin/runc"]
        .into_iter()
        .find(|path| std::path::Path::new(path).is_file());
    let Some(runc) = runc else {
        eprintln!("SKIPPED: runc is not installed");
        return;
    };
    with_engine!(|engine, scratch| {
        let config = berth_engine::EngineConfig { runtime: runc.to_owned(), ..scratch.config() };
        let foreign = berth_engine::Engine::open(config).unwrap();
        let (out, _, status) = run(&foreign, once(&["sh", "-c", "echo out; exit 6"])).await;
        assert_eq!((out.as_str(), status.code), ("out\n", Some(6)));
        let error = foreign.run(once(&["nosuch"]), ATTACHED).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CommandNotFound);
        let id = start(&foreign, request(&["sleep", "1000"])).await;
        let states = scratch.run().join("runtime-runc");
        assert!(states.join(&id).exists());
        // Another engine, with another default, knows what made it.
        let session = engine.exec(&id, ExecRequest::new(vec!["id".into(), "-u".into()])).await;
        assert_eq!(drain(&session.unwrap().attachment.unwrap()).await.0, "0\n");
        let options = RemoveOptions { force: true, timeout: Some(0), ..RemoveOptions::default() };
        engine.remove(&id, options).await.unwrap();
        assert_eq!(std::fs::read_dir(&states).unwrap().count(), 0);
    });
}
