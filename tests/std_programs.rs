//! Whole programs as one writes them with std, of which only the `use` lines were changed: a file
//! server, a chat, a parallel grep, and a log processor made of pipes.
//!
//! Their text is compiled with both sets of lines, and must give the same answers with both.

/// The text of the programs; what it uses is imported around it.
macro_rules! programs {
    () => {
        // ---- a server of files, HTTP/1.0, with a pool of workers

        static REQUESTS: LazyLock<Mutex<Vec<String>>> = LazyLock::new(|| Mutex::new(Vec::new()));

        fn answer(mut stream: TcpStream, root: &Path) -> io::Result<()> {
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request)?;
            let mut words = request.split_whitespace();
            let (Some("GET"), Some(path)) = (words.next(), words.next()) else {
                return write!(stream, "HTTP/1.0 400 Bad Request\r\n\r\n");
            };
            REQUESTS.lock().unwrap().push(path.to_string());
            match File::open(root.join(path.trim_start_matches('/'))) {
                Ok(mut file) => {
                    let length = file.metadata()?.len();
                    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
                    io::copy(&mut file, &mut stream)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    write!(stream, "HTTP/1.0 404 Not Found\r\n\r\n")?;
                }
                Err(error) => write!(stream, "HTTP/1.0 500 Oops\r\n\r\n{error}")?,
            }
            stream.shutdown(Shutdown::Both)
        }

        pub(crate) fn file_server(dir: &Path) -> io::Result<Vec<String>> {
            DirBuilder::new().recursive(true).mode(0o700).create(dir.join("www/deep"))?;
            fs::write(dir.join("www/index"), "the index")?;
            fs::write(dir.join("www/deep/page"), "a page")?;
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            let addr = listener.local_addr()?;
            let (queue, jobs) = mpsc::sync_channel::<TcpStream>(4);
            let jobs = Arc::new(Mutex::new(jobs));
            let root: Arc<Path> = dir.join("www").into();
            let workers: Vec<_> = (0..3)
                .map(|_| {
                    let (jobs, root) = (Arc::clone(&jobs), Arc::clone(&root));
                    let worker = move || -> usize {
                        let mut served = 0;
                        loop {
                            let job = jobs.lock().unwrap().recv();
                            let Ok(stream) = job else { return served };
                            answer(stream, &root).unwrap();
                            served += 1;
                        }
                    };
                    let builder = thread::Builder::new().name("worker".into());
                    builder.stack_size(256 * 1024).spawn(worker).unwrap()
                })
                .collect();
            let paths = ["/index", "/deep/page", "/none", "/index"];
            let acceptor = thread::spawn(move || {
                for stream in listener.incoming().take(paths.len()) {
                    queue.send(stream.unwrap()).unwrap();
                }
            });
            let answers = paths.map(|path| {
                let mut stream = TcpStream::connect(addr).unwrap();
                write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            });
            acceptor.join().unwrap();
            assert_eq!(workers[0].thread().name(), Some("worker"));
            let served: usize = workers.into_iter().map(|w| w.join().unwrap()).sum();
            assert_eq!(served, paths.len());
            assert_eq!(*REQUESTS.lock().unwrap(), paths);
            Ok(answers.into())
        }

        // ---- a chat: a thread per reader, one that writes to all, and a ctrl-c that is a flag

        #[derive(Default)]
        struct Room {
            members: RwLock<HashMap<SocketAddr, TcpStream>>,
            said: Mutex<usize>,
            silence: Condvar,
            closed: AtomicBool,
        }

        pub(crate) fn chat() -> io::Result<String> {
            let room = Arc::new(Room::default());
            let listener = TcpListener::bind("localhost:0")?;
            let addr = listener.local_addr()?;
            let (lines, inbox) = mpsc::channel::<(SocketAddr, String)>();
            let writer = thread::spawn({
                let room = Arc::clone(&room);
                move || {
                    for (from, line) in inbox {
                        for (addr, mut member) in room.members.read().unwrap().iter() {
                            if *addr != from {
                                writeln!(member, "{line}").unwrap();
                            }
                        }
                        *room.said.lock().unwrap() += 1;
                        room.silence.notify_all();
                    }
                    room.closed.store(true, Ordering::Release);
                }
            });
            let acceptor = thread::spawn({
                let room = Arc::clone(&room);
                move || -> io::Result<()> {
                    let mut readers = Vec::new();
                    for _ in 0..3 {
                        let (stream, peer) = listener.accept()?;
                        room.members.write().unwrap().insert(peer, stream.try_clone()?);
                        let lines = lines.clone();
                        readers.push(thread::spawn(move || {
                            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                                if lines.send((peer, line)).is_err() {
                                    break;
                                }
                            }
                        }));
                    }
                    drop(lines);
                    readers.into_iter().for_each(|reader| reader.join().unwrap());
                    Ok(())
                }
            });
            let mut members = Vec::new();
            for _ in 0..3 {
                members.push(TcpStream::connect(addr)?);
            }
            while room.members.read().unwrap().len() < members.len() {
                thread::yield_now();
            }
            writeln!(members[0], "hello")?;
            let said = room.said.lock().unwrap();
            let (said, late) = room
                .silence
                .wait_timeout_while(said, Duration::from_secs(20), |said| *said < 1)
                .unwrap();
            assert!(!late.timed_out() && *said == 1);
            drop(said);
            writeln!(members[1], "goodbye")?;
            let mut heard = String::new();
            let mut listener = BufReader::new(&members[2]);
            listener.read_line(&mut heard)?;
            listener.read_line(&mut heard)?;
            for member in &members {
                member.shutdown(Shutdown::Write)?;
            }
            acceptor.join().unwrap()?;
            writer.join().unwrap();
            assert!(room.closed.load(Ordering::Acquire));
            let room = Arc::into_inner(room).unwrap();
            assert_eq!(room.said.into_inner().unwrap(), 2);
            assert_eq!(room.members.into_inner().unwrap_or_else(PoisonError::into_inner).len(), 3);
            Ok(heard)
        }

        // ---- grep over a tree: threads of a scope that share a queue of files

        fn walk(dir: &Path, found: &mpsc::Sender<PathBuf>) -> io::Result<()> {
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                assert!(entry.ino() > 0);
                if entry.file_type()?.is_dir() {
                    walk(&entry.path(), found)?;
                } else {
                    found.send(entry.path()).map_err(io::Error::other)?;
                }
            }
            Ok(())
        }

        pub(crate) fn grep(dir: &Path) -> io::Result<Vec<String>> {
            let tree = dir.join("tree");
            for number in 0..20 {
                let dir = tree.join(format!("{}", number % 4));
                fs::create_dir_all(&dir)?;
                fs::write(dir.join(format!("{number}")), format!("a\nneedle {number}\nb\n"))?;
            }
            let (found, paths) = mpsc::channel();
            let paths = Mutex::new(paths);
            let hits = Mutex::new(Vec::new());
            let (files, most) = (AtomicUsize::new(0), OnceLock::new());
            let together = Barrier::new(3);
            let workers = thread::available_parallelism()?.get().min(1) + 2;
            thread::scope(|scope| {
                for number in 0..workers {
                    let work = || {
                        together.wait();
                        loop {
                            let next = paths.lock().unwrap().recv();
                            let Ok(path) = next else { break };
                            files.fetch_add(1, Ordering::Relaxed);
                            for line in BufReader::new(File::open(path).unwrap()).lines() {
                                let line = line.unwrap();
                                if line.contains("needle") {
                                    hits.lock().unwrap().push(line);
                                }
                            }
                        }
                        let _ = most.set(thread::current().id());
                    };
                    let builder = thread::Builder::new().name(format!("grep {number}"));
                    builder.spawn_scoped(scope, work).unwrap();
                }
                walk(&tree, &found).unwrap();
                drop(found);
            });
            assert!(most.get().is_some_and(|id| *id != thread::current().id()));
            assert_eq!(files.into_inner(), 20);
            let mut hits = hits.into_inner().unwrap();
            hits.sort();
            fs::remove_dir_all(&tree)?;
            Ok(hits)
        }

        // ---- a log processor: children in a row, one thread feeds them, one waits to be told

        pub(crate) fn log_processor(dir: &Path) -> io::Result<(String, String)> {
            let log = dir.join("log");
            let mut file = File::create(&log)?;
            file.lock()?;
            for number in 0..5_000 {
                let level = if number % 10 == 0 { "error" } else { "info" };
                writeln!(file, "{level} event {number}")?;
            }
            file.unlock()?;
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000))?;
            drop(file);
            assert_eq!(
                fs::metadata(&log)?.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap(),
                Duration::from_secs(1_000_000)
            );
            let mut grep = Command::new("grep")
                .arg("error")
                .stdin(File::open(&log)?)
                .stdout(Stdio::piped())
                .spawn()?;
            let errors = dir.join("errors");
            let mut tee = Command::new("tee");
            tee.arg(&errors).env("LC_ALL", "C").current_dir(dir).arg0("splitter");
            assert_eq!(tee.get_current_dir(), Some(dir));
            assert_eq!(tee.get_envs().count(), 1);
            let mut tee = tee.stdin(grep.stdout.take().unwrap()).stdout(Stdio::piped()).spawn()?;
            let mut count = Command::new("wc")
                .arg("-l")
                .stdin(Stdio::piped())
                .stdout(File::create(dir.join("count"))?)
                .spawn()?;
            let main = thread::current();
            let feeder = thread::spawn({
                let (mut from, mut to) = (tee.stdout.take().unwrap(), count.stdin.take().unwrap());
                move || {
                    let bytes = io::copy(&mut from, &mut to).unwrap();
                    main.unpark();
                    bytes
                }
            });
            thread::park();
            let bytes = feeder.join().unwrap();
            for child in [&mut grep, &mut tee, &mut count] {
                assert!(child.wait()?.success());
            }
            assert_eq!(fs::metadata(&errors)?.len(), bytes);
            let sorted = Command::new("sort").arg("-r").stdin(File::open(&errors)?).output()?;
            let last = String::from_utf8_lossy(&sorted.stdout).lines().next().unwrap().to_string();
            Ok((fs::read_to_string(dir.join("count"))?.trim().to_string(), last))
        }
    };
}

mod with_std {
    use std::collections::HashMap;
    use std::fs::{self, DirBuilder, File};
    use std::io::{self, BufRead, BufReader, Read, Write};
    use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
    use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
    use std::os::unix::process::CommandExt;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, OnceLock, PoisonError, RwLock, mpsc};
    use std::thread;
    use std::time::{Duration, SystemTime};

    programs!();
}

#[allow(unused_must_use, reason = "waits return a Result, which the text knows nothing of")]
mod with_cede {
    use cede::fs::{self, DirBuilder, File};
    use cede::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
    use cede::os::unix::fs::{DirBuilderExt, DirEntryExt};
    use cede::process::{Command, Stdio};
    use cede::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use cede::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, OnceLock, PoisonError, RwLock, mpsc};
    use cede::thread;
    use std::collections::HashMap;
    use std::io::{self, BufRead, BufReader, Read, Write};
    use std::path::{Path, PathBuf};
    use std::time::{Duration, SystemTime};

    programs!();
}

#[test]
fn programs_do_the_same_with_both_sets_of_use_lines() {
    macro_rules! results {
        ($programs:ident, $dir:expr) => {
            (
                $programs::file_server($dir).unwrap(),
                $programs::chat().unwrap(),
                $programs::grep($dir).unwrap(),
                $programs::log_processor($dir).unwrap(),
            )
        };
    }
    let dir = std::env::temp_dir().join(format!("cede-programs-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let std_s = results!(with_std, &dir);
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::create_dir(&dir).unwrap();
    let cede_s = cede::run(|| results!(with_cede, &dir));
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(cede_s.unwrap(), std_s);
    let (pages, heard, hits, (count, last)) = std_s;
    assert!(pages[1].ends_with("Content-Length: 6\r\n\r\na page"), "{pages:?}");
    assert_eq!(heard, "hello\ngoodbye\n");
    assert_eq!(hits.len(), 20);
    assert_eq!((count.as_str(), last.as_str()), ("500", "error event 990"));
}
