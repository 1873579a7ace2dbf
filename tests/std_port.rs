//! Programs as one writes them with std, of which only the `use` lines were changed.
//!
//! They are compiled with both sets of lines, so that the rest is proven to be the same text.

/// The text of the programs; what it uses is imported around it.
macro_rules! programs {
    () => {
        pub(crate) fn echo_over_tcp() -> io::Result<String> {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let addr: SocketAddr = listener.local_addr()?;
            let server = spawn(move || -> io::Result<u64> {
                let (stream, _peer) = listener.accept()?;
                stream.set_nodelay(true)?;
                let mut lines = 0;
                let mut writer = stream.try_clone()?;
                for line in BufReader::new(stream).lines() {
                    writeln!(writer, "{}", line?.to_uppercase())?;
                    lines += 1;
                }
                Ok(lines)
            });
            let mut stream = TcpStream::connect(addr)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.write_all(b"hello\nworld\n")?;
            stream.shutdown(Shutdown::Write)?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            assert_eq!(server.join().unwrap()?, 2);
            Ok(text)
        }

        pub(crate) fn datagrams() -> io::Result<usize> {
            let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
            a.connect(b.local_addr()?)?;
            a.send(b"datagram")?;
            let mut buf = [0; 64];
            let (n, from) = b.recv_from(&mut buf)?;
            assert_eq!(from, a.local_addr()?);
            let (c, d) = UnixDatagram::pair()?;
            c.send(&buf[..n])?;
            d.recv(&mut buf)
        }

        pub(crate) fn local_sockets(dir: &Path) -> io::Result<String> {
            let path = dir.join("socket");
            let listener = UnixListener::bind(&path)?;
            let client = spawn(move || -> io::Result<()> {
                let mut stream = UnixStream::connect(path)?;
                stream.write_all(b"local")
            });
            let mut text = String::new();
            for stream in listener.incoming().take(1) {
                stream?.read_to_string(&mut text)?;
            }
            client.join().unwrap()?;
            Ok(text)
        }

        pub(crate) fn files_and_processes(dir: &Path) -> io::Result<String> {
            fs::create_dir_all(dir.join("deep/er"))?;
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(dir.join("deep/er/file"))?;
            file.write_all(b"one\ntwo\n")?;
            file.seek(SeekFrom::Start(0))?;
            drop(file);
            let names: io::Result<Vec<_>> =
                fs::read_dir(dir.join("deep"))?.map(|e| Ok(e?.file_name())).collect();
            assert_eq!(names?, ["er"]);
            let file = File::open(dir.join("deep/er/file"))?;
            assert_eq!(file.metadata()?.len(), 8);
            let mut child =
                Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let mut input = child.stdin.take().unwrap();
            io::copy(&mut BufReader::new(file), &mut input)?;
            drop(input);
            let output = child.wait_with_output()?;
            assert!(output.status.success());
            fs::remove_dir_all(dir.join("deep"))?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }

        pub(crate) fn named_and_scoped() -> io::Result<usize> {
            let mut words = vec!["one", "two"];
            let owned = words.clone();
            let builder = Builder::new().name("owner".into()).stack_size(1 << 17);
            let count = builder.spawn(move || owned.len())?.join().unwrap();
            let letters = scope(|s| -> io::Result<usize> {
                let builder = Builder::new().name(format!("borrows {}", words[0]));
                let first = builder.spawn_scoped(s, || words[0].len())?;
                let second = s.spawn(|| words[1].len());
                Ok(first.join().unwrap() + second.join().unwrap())
            })?;
            words.push("three");
            Ok(count + letters + words.len())
        }
    };
}

mod with_std {
    use std::fs::{self, File, OpenOptions};
    use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
    use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
    use std::os::unix::fs::OpenOptionsExt;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::thread::{Builder, scope, spawn};
    use std::time::Duration;

    programs!();
}

mod with_cede {
    use cede::fs::{self, File, OpenOptions};
    use cede::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
    use cede::os::unix::fs::OpenOptionsExt;
    use cede::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use cede::process::{Command, Stdio};
    use cede::{Builder, scope, spawn};
    use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
    use std::path::Path;
    use std::time::Duration;

    programs!();
}

#[test]
fn programs_do_the_same_with_both_sets_of_use_lines() {
    let dir = std::env::temp_dir().join(format!("cede-port-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let std_s = (
        with_std::echo_over_tcp().unwrap(),
        with_std::datagrams().unwrap(),
        with_std::local_sockets(&dir).unwrap(),
        with_std::files_and_processes(&dir).unwrap(),
        with_std::named_and_scoped().unwrap(),
    );
    std::fs::remove_file(dir.join("socket")).unwrap();
    let cede_s = cede::run(|| {
        (
            with_cede::echo_over_tcp().unwrap(),
            with_cede::datagrams().unwrap(),
            with_cede::local_sockets(&dir).unwrap(),
            with_cede::files_and_processes(&dir).unwrap(),
            with_cede::named_and_scoped().unwrap(),
        )
    });
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(cede_s.unwrap(), std_s);
    assert_eq!(std_s, ("HELLO\nWORLD\n".into(), 8, "local".into(), "one\ntwo\n".into(), 11));
}
