//! Files and directories in a directory of their own.

mod support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};

use cede_fiber::fs::{self, File, OpenOptions};
use cede_fiber::{run, spawn};
use support::TempDir;

#[test]
fn files_are_read_written_and_moved_in() {
    let dir = TempDir::new("fs-file");
    run(|| {
        let path = dir.path("a");
        let mut file = File::create(&path).unwrap();
        // Longer than one hop to the pool carries.
        let content: Vec<u8> = (0..700_000_u32).map(|i| (i / 7) as u8).collect();
        file.write_all(&content).unwrap();
        file.sync_data().unwrap();
        file.sync_all().unwrap();
        assert_eq!(file.metadata().unwrap().len(), 700_000);
        let mut reader = File::open(&path).unwrap();
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        assert!(got == content);
        assert_eq!(reader.seek(SeekFrom::Start(70)).unwrap(), 70);
        let mut clone = reader.try_clone().unwrap();
        assert_eq!(clone.stream_position().unwrap(), 70, "a clone shares the position");
        let mut bytes = [0; 7];
        clone.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [10; 7]);
        file.set_len(3).unwrap();
        assert_eq!(fs::read(&path).unwrap(), &content[..3]);
        assert_eq!(reader.read(&mut bytes).unwrap(), 0);
        file.write_at(b"xyz", 1).unwrap();
        let read = OpenOptions::new().read(true).open(&path).unwrap().read_at(&mut bytes, 1);
        assert_eq!((read.unwrap(), &bytes[..3]), (3, &b"xyz"[..]));
        assert!((&reader).write(b"no").is_err(), "opened for reading");
    })
    .unwrap();
}

#[test]
fn options_and_permissions_are_std_s() {
    let dir = TempDir::new("fs-options");
    run(|| {
        let path = dir.path("log");
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o640);
        options.open(&path).unwrap().write_all(b"one\n").unwrap();
        options.open(&path).unwrap().write_all(b"two\n").unwrap();
        let lines: Vec<_> = BufReader::new(File::open(&path).unwrap()).lines().collect();
        assert_eq!(lines.into_iter().map(Result::unwrap).collect::<Vec<_>>(), ["one", "two"]);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode() & 0o600, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(mode(), 0o400);
        assert_eq!(File::create_new(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(File::open(dir.path("none")).unwrap_err().kind(), ErrorKind::NotFound);
    })
    .unwrap();
}

#[test]
fn directories_and_names() {
    let dir = TempDir::new("fs-dir");
    run(|| {
        let deep = dir.path("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        assert!(fs::create_dir(&deep).is_err());
        for i in 0..300 {
            fs::write(deep.join(format!("f{i}")), [i as u8]).unwrap();
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(&deep).unwrap() {
            let entry = entry.unwrap();
            assert!(entry.file_type().unwrap().is_file());
            assert_eq!(entry.path(), deep.join(entry.file_name()));
            names.push(entry.file_name().into_string().unwrap());
        }
        assert_eq!(names.len(), 300);
        let first = fs::read_dir(&deep).unwrap().next().unwrap().unwrap();
        assert_eq!(first.metadata().unwrap().len(), 1);
        let (file, other) = (deep.join("f7"), dir.path("other"));
        assert_eq!(fs::copy(&file, &other).unwrap(), 1);
        fs::rename(&other, dir.path("moved")).unwrap();
        assert!(!fs::exists(&other).unwrap() && fs::exists(dir.path("moved")).unwrap());
        fs::hard_link(&file, dir.path("hard")).unwrap();
        fs::symlink(&file, dir.path("soft")).unwrap();
        assert!(fs::symlink_metadata(dir.path("soft")).unwrap().is_symlink());
        assert_eq!(fs::read_link(dir.path("soft")).unwrap(), file);
        let real = fs::canonicalize(dir.path("soft")).unwrap();
        assert_eq!(real, std::fs::canonicalize(&file).unwrap());
        assert_eq!(fs::read_to_string(dir.path("hard")).unwrap(), "\u{7}");
        fs::remove_file(&file).unwrap();
        assert!(fs::remove_dir(&deep).is_err(), "not empty");
        fs::remove_dir_all(dir.path("a")).unwrap();
        assert_eq!(fs::read_dir(&deep).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(dir.path("bytes"), [0xff]).unwrap();
        assert_eq!(
            fs::read_to_string(dir.path("bytes")).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
    })
    .unwrap();
}

#[test]
fn outside_of_a_runtime_files_work_in_place() {
    let dir = TempDir::new("fs-outside");
    fs::write(dir.path("a"), "text").unwrap();
    let mut text = String::new();
    File::open(dir.path("a")).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
}

/// A file may go to another shard, and a pipe is read on the pool.
#[test]
fn what_blocks_parks_the_fiber_only() {
    let dir = TempDir::new("fs-fifo");
    let path = dir.path("fifo");
    let status = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(status.success());
    run(|| {
        let from = path.clone();
        let reader = spawn(move || {
            let mut text = String::new();
            File::open(from)?.read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(text)
        });
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        writer.write_all(b"through").unwrap();
        cede_fiber::sleep(std::time::Duration::from_millis(2)).unwrap();
        writer.write_all(b" a pipe").unwrap();
        drop(writer);
        assert_eq!(reader.join().unwrap().unwrap(), "through a pipe");
    })
    .unwrap();
}

/// A read that is cut short writes nothing into the buffer that its fiber had.
#[test]
fn reads_cut_short_leave_nothing_behind() {
    support::alone("reads_cut_short_leave_nothing_behind", || {
        let dir = TempDir::new("fs-cut");
        let path = dir.path("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        run(|| {
            let options = || OpenOptions::new().read(true).write(true).clone();
            let file = std::rc::Rc::new(options().open(&path).unwrap());
            // One read has begun and blocks its thread; the others wait for a place or a thread.
            let f = std::rc::Rc::clone(&file);
            support::cut_short("read", move || {
                let mut buf = [7; 16];
                let result = (&*f).read(&mut buf);
                assert_eq!(buf, [7; 16]);
                result
            });
            // Threads hang in a read that they had begun; by std, for no thread is left to write.
            let hanging = cede_fiber::blocking_metrics().threads;
            let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            writer.write_all(&vec![0; hanging * 16]).unwrap();
        })
        .unwrap();
    });
}

/// Whoever waits for a file's lock holds no thread of the pool, and gives up without getting it.
#[test]
fn file_locks_are_waited_for_and_given_up_without_a_thread() {
    let dir = TempDir::new("fs-lock");
    let path = dir.path("lock");
    fs::write(&path, "").unwrap();
    cede_fiber::Runtime::builder()
        .blocking_threads_max(1)
        .run(|| {
            let owner = File::open(&path).unwrap();
            owner.lock().unwrap();
            let waiters: Vec<_> = (0..5)
                .map(|_| {
                    let path = path.clone();
                    spawn(move || File::open(path)?.lock())
                })
                .collect();
            let late = File::open(&path).unwrap();
            let short = std::time::Duration::from_millis(5);
            let late_s = cede_fiber::with_deadline(short, || late.lock_shared());
            assert_eq!(late_s.unwrap_err().kind(), ErrorKind::TimedOut);
            waiters[0].cancel();
            // The pool's only thread is free for the owner.
            fs::write(dir.path("other"), "written").unwrap();
            assert!(!waiters[1].is_finished());
            owner.unlock().unwrap();
            let mut waiters = waiters.into_iter().map(|w| w.join().unwrap());
            assert!(cede_fiber::is_cancelled(&waiters.next().unwrap().unwrap_err()));
            assert!(waiters.all(|locked| locked.is_ok()));
            owner.lock_shared().unwrap();
            late.try_lock_shared().unwrap();
            assert!(matches!(late.try_lock(), Err(fs::TryLockError::WouldBlock)));
        })
        .unwrap();
    // Outside of a fiber the thread waits.
    File::open(&path).unwrap().lock().unwrap();
}
