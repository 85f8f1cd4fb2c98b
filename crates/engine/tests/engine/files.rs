//! Volumes, mounts and copies.

use std::path::Path;

use crate::support::{once, request, run, start};
use berth_engine::{
    ContainerRequest, CopyOptions, EngineError as _, ErrorKind, RemoveOptions, StopOptions, parse,
};

const SHELL: &str = "sh";

fn shell(text: &str) -> [&str; 3] {
    [SHELL, "-c", text]
}

fn wanted_with(volume: &str) -> ContainerRequest {
    let mut wanted = request(&["sleep", "1000"]);
    wanted.stop_timeout = Some(0);
    wanted.mounts = vec![parse::volume(&format!("{volume}:/etc"), Path::new("/")).unwrap()];
    wanted
}

#[test]
fn a_named_volume_outlives_its_containers_and_starts_with_the_images_content() {
    with_engine!(|engine, scratch| {
        let mut wanted = once(&shell("cat /etc/passwd > /dev/null && echo kept > /etc/mine"));
        wanted.mounts = vec![parse::volume("config:/etc", Path::new("/")).unwrap()];
        let (_, err, status) = run(&engine, wanted.clone()).await;
        assert_eq!((err.as_str(), status.code), ("", Some(0)));
        wanted.command = shell("cat /etc/mine").map(str::to_owned).to_vec();
        assert_eq!(run(&engine, wanted).await.0, "kept\n");
        let volumes = engine.volumes().await.unwrap();
        assert_eq!((volumes.len(), volumes[0].name.as_str()), (1, "config"));
        let id = start(&engine, ContainerRequest { remove: false, ..wanted_with("config") }).await;
        assert!(engine.volume_remove("config", false).await.is_err());
        engine.volume_remove("config", true).await.unwrap();
        assert!(engine.resolve(&id).await.is_err(), "with force its containers go, too");
        let error = engine.volume_remove("config", false).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn an_anonymous_volume_goes_with_its_container() {
    with_engine!(|engine, scratch| {
        let mut wanted = once(&shell("echo x > /data/x"));
        wanted.mounts = vec![parse::volume("/data", Path::new("/")).unwrap()];
        assert_eq!(run(&engine, wanted.clone()).await.2.code, Some(0));
        assert!(engine.volumes().await.unwrap().is_empty());
        wanted.remove = false;
        let (_, _, status) = run(&engine, wanted).await;
        assert_eq!(status.code, Some(0));
        let volume = engine.volumes().await.unwrap().remove(0);
        assert!(volume.anonymous);
        let error = engine.volume_remove(&volume.name, false).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let id = volume.used_by[0].clone();
        let options = RemoveOptions { volumes: true, ..RemoveOptions::default() };
        engine.remove(&id, options).await.unwrap();
        assert!(engine.volumes().await.unwrap().is_empty());
        assert!(!volume.path.exists());
    });
}

#[test]
fn binds_tmpfs_and_read_only_do_what_they_say() {
    with_engine!(|engine, scratch| {
        let host = scratch.path().join("host");
        std::fs::create_dir(&host).unwrap();
        std::fs::write(host.join("file"), "from the host").unwrap();
        let mut wanted = once(&shell(
            "cat /in/file; echo x > /in/y; echo x > /root/y; echo x > /t/y && echo t; echo x > /tmp/y && echo tmp",
        ));
        let bind = format!("{}:/in:ro", host.display());
        wanted.mounts = vec![
            parse::volume(&bind, Path::new("/")).unwrap(),
            parse::tmpfs("/t:size=1m").unwrap(),
        ];
        wanted.read_only = true;
        let (out, err, _) = run(&engine, wanted).await;
        assert_eq!(out, "from the hostt\ntmp\n");
        assert!(err.contains("/in/y: Read-only") && err.contains("/root/y: Read-only"), "{err}");
    });
}

#[test]
fn volumes_of_another_container_are_mounted_too() {
    with_engine!(|engine, scratch| {
        let mut wanted = request(&shell("echo shared > /data/x"));
        wanted.name = Some("owner".to_owned());
        wanted.mounts = vec![parse::volume("/data", Path::new("/")).unwrap()];
        run(&engine, wanted).await;
        let mut wanted = once(&shell("cat /data/x; echo y > /data/y"));
        wanted.volumes_from = vec!["owner:ro".to_owned()];
        let (out, err, _) = run(&engine, wanted).await;
        assert_eq!(out, "shared\n");
        assert!(err.contains("Read-only"), "{err}");
    });
}

#[test]
fn files_are_copied_into_and_out_of_running_and_stopped_containers() {
    with_engine!(|engine, scratch| {
        let host = scratch.path().join("host");
        std::fs::create_dir_all(host.join("tree/sub")).unwrap();
        std::fs::write(host.join("tree/sub/file"), "deep").unwrap();
        let mut wanted = request(&["sleep", "1000"]);
        wanted.mounts = vec![parse::volume("data:/data", Path::new("/")).unwrap()];
        let id = start(&engine, wanted).await;
        let options = CopyOptions::default();
        let tree = host.join("tree");
        for state in ["running", "stopped"] {
            let target = format!("/root/{state}");
            engine.copy_from_host(&tree, &id, Path::new(&target), options).await.unwrap();
            let volume = format!("/data/{state}");
            engine.copy_from_host(&tree, &id, Path::new(&volume), options).await.unwrap();
            for from in [target, volume.clone()] {
                let back = host.join(format!("back{}", from.replace('/', "-")));
                engine.copy_to_host(&id, Path::new(&from), &back, options).await.unwrap();
                assert_eq!(std::fs::read_to_string(back.join("sub/file")).unwrap(), "deep");
            }
            // The volume itself has it, not what is below it in the container's own files.
            let path = engine.volumes().await.unwrap()[0].path.join(state).join("sub/file");
            assert!(path.is_file());
            let mut archive = tar_of("streamed", b"bytes");
            archive.extend([0; 1024]);
            let input = Box::new(std::io::Cursor::new(archive));
            engine.copy_to(&id, Path::new("/root"), input, options).await.unwrap();
            let stat = engine.stat_path(&id, Path::new("/root/streamed")).await.unwrap();
            assert_eq!((stat.size, stat.name.as_str()), (5, "streamed"));
            let error = engine
                .copy_from_host(&tree, &id, Path::new("/none/there"), options)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            engine.stop(&id, StopOptions { timeout: Some(0), signal: None }).await.unwrap();
        }
        // It starts again with what was copied into it.
        engine.start(&id, berth_engine::StartOptions::default()).await.unwrap();
        let stat = engine.stat_path(&id, Path::new("/root/stopped/sub/file")).await.unwrap();
        assert_eq!(stat.size, 4);
    });
}

fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}
