//! The methods of std's types that have the same signature here, as the compiler sees them.
//!
//! The list is compiled twice, with std's `use` lines and with cede's. What is missing in it, because
//! it differs, is in the table of `docs/porting.md`.

/// Each line is a method with the type that it has in std.
macro_rules! signatures {
    () => {
        type Time = Option<Duration>;

        pub(crate) fn net() {
            let _: fn(&'static str) -> io::Result<TcpListener> = TcpListener::bind;
            let _: fn(&TcpListener) -> io::Result<SocketAddr> = TcpListener::local_addr;
            let _: fn(&TcpListener) -> io::Result<TcpListener> = TcpListener::try_clone;
            let _: fn(&TcpListener) -> io::Result<(TcpStream, SocketAddr)> = TcpListener::accept;
            let _: fn(&TcpListener) -> Incoming<'_> = TcpListener::incoming;
            let _: fn(&TcpListener, u32) -> io::Result<()> = TcpListener::set_ttl;
            let _: fn(&TcpListener) -> io::Result<u32> = TcpListener::ttl;
            let _: fn(&TcpListener) -> io::Result<Option<io::Error>> = TcpListener::take_error;
            let _: fn(&TcpListener, bool) -> io::Result<()> = TcpListener::set_nonblocking;

            let _: fn((&'static str, u16)) -> io::Result<TcpStream> = TcpStream::connect;
            let _: fn(&SocketAddr, Duration) -> io::Result<TcpStream> = TcpStream::connect_timeout;
            let _: fn(&TcpStream) -> io::Result<SocketAddr> = TcpStream::peer_addr;
            let _: fn(&TcpStream) -> io::Result<SocketAddr> = TcpStream::local_addr;
            let _: fn(&TcpStream, Shutdown) -> io::Result<()> = TcpStream::shutdown;
            let _: fn(&TcpStream) -> io::Result<TcpStream> = TcpStream::try_clone;
            let _: fn(&TcpStream, Time) -> io::Result<()> = TcpStream::set_read_timeout;
            let _: fn(&TcpStream, Time) -> io::Result<()> = TcpStream::set_write_timeout;
            let _: fn(&TcpStream) -> io::Result<Time> = TcpStream::read_timeout;
            let _: fn(&TcpStream) -> io::Result<Time> = TcpStream::write_timeout;
            let _: fn(&TcpStream, &mut [u8]) -> io::Result<usize> = TcpStream::peek;
            let _: fn(&TcpStream, bool) -> io::Result<()> = TcpStream::set_nodelay;
            let _: fn(&TcpStream) -> io::Result<bool> = TcpStream::nodelay;
            let _: fn(&TcpStream, u32) -> io::Result<()> = TcpStream::set_ttl;
            let _: fn(&TcpStream) -> io::Result<u32> = TcpStream::ttl;
            let _: fn(&TcpStream) -> io::Result<Option<io::Error>> = TcpStream::take_error;
            let _: fn(&TcpStream, bool) -> io::Result<()> = TcpStream::set_nonblocking;

            type Received = io::Result<(usize, SocketAddr)>;
            let _: fn(SocketAddr) -> io::Result<UdpSocket> = UdpSocket::bind;
            let _: fn(&UdpSocket, &mut [u8]) -> Received = UdpSocket::recv_from;
            let _: fn(&UdpSocket, &mut [u8]) -> Received = UdpSocket::peek_from;
            let _: fn(&UdpSocket, &[u8], SocketAddr) -> io::Result<usize> = UdpSocket::send_to;
            let _: fn(&UdpSocket) -> io::Result<SocketAddr> = UdpSocket::peer_addr;
            let _: fn(&UdpSocket) -> io::Result<SocketAddr> = UdpSocket::local_addr;
            let _: fn(&UdpSocket) -> io::Result<UdpSocket> = UdpSocket::try_clone;
            let _: fn(&UdpSocket, Time) -> io::Result<()> = UdpSocket::set_read_timeout;
            let _: fn(&UdpSocket, Time) -> io::Result<()> = UdpSocket::set_write_timeout;
            let _: fn(&UdpSocket) -> io::Result<Time> = UdpSocket::read_timeout;
            let _: fn(&UdpSocket) -> io::Result<Time> = UdpSocket::write_timeout;
            let _: fn(&UdpSocket, bool) -> io::Result<()> = UdpSocket::set_broadcast;
            let _: fn(&UdpSocket) -> io::Result<bool> = UdpSocket::broadcast;
            let _: fn(&UdpSocket, bool) -> io::Result<()> = UdpSocket::set_multicast_loop_v4;
            let _: fn(&UdpSocket) -> io::Result<bool> = UdpSocket::multicast_loop_v4;
            let _: fn(&UdpSocket, u32) -> io::Result<()> = UdpSocket::set_multicast_ttl_v4;
            let _: fn(&UdpSocket) -> io::Result<u32> = UdpSocket::multicast_ttl_v4;
            let _: fn(&UdpSocket, bool) -> io::Result<()> = UdpSocket::set_multicast_loop_v6;
            let _: fn(&UdpSocket) -> io::Result<bool> = UdpSocket::multicast_loop_v6;
            let _: fn(&UdpSocket, u32) -> io::Result<()> = UdpSocket::set_ttl;
            let _: fn(&UdpSocket) -> io::Result<u32> = UdpSocket::ttl;
            type V4 = fn(&UdpSocket, &Ipv4Addr, &Ipv4Addr) -> io::Result<()>;
            let _: [V4; 2] = [UdpSocket::join_multicast_v4, UdpSocket::leave_multicast_v4];
            type V6 = fn(&UdpSocket, &Ipv6Addr, u32) -> io::Result<()>;
            let _: [V6; 2] = [UdpSocket::join_multicast_v6, UdpSocket::leave_multicast_v6];
            let _: fn(&UdpSocket) -> io::Result<Option<io::Error>> = UdpSocket::take_error;
            let _: fn(&UdpSocket, SocketAddr) -> io::Result<()> = UdpSocket::connect;
            let _: fn(&UdpSocket, &[u8]) -> io::Result<usize> = UdpSocket::send;
            let _: fn(&UdpSocket, &mut [u8]) -> io::Result<usize> = UdpSocket::recv;
            let _: fn(&UdpSocket, &mut [u8]) -> io::Result<usize> = UdpSocket::peek;
            let _: fn(&UdpSocket, bool) -> io::Result<()> = UdpSocket::set_nonblocking;
        }

        pub(crate) fn unix() {
            type Error = io::Result<Option<io::Error>>;
            let _: fn(&'static str) -> io::Result<UnixListener> = UnixListener::bind;
            let _: fn(&UnixAddr) -> io::Result<UnixListener> = UnixListener::bind_addr;
            let _: fn(&UnixListener) -> io::Result<(UnixStream, UnixAddr)> = UnixListener::accept;
            let _: fn(&UnixListener) -> io::Result<UnixListener> = UnixListener::try_clone;
            let _: fn(&UnixListener) -> io::Result<UnixAddr> = UnixListener::local_addr;
            let _: fn(&UnixListener, bool) -> io::Result<()> = UnixListener::set_nonblocking;
            let _: fn(&UnixListener) -> Error = UnixListener::take_error;
            let _: fn(&UnixListener) -> UnixIncoming<'_> = UnixListener::incoming;

            let _: fn(&'static str) -> io::Result<UnixStream> = UnixStream::connect;
            let _: fn(&UnixAddr) -> io::Result<UnixStream> = UnixStream::connect_addr;
            let _: fn() -> io::Result<(UnixStream, UnixStream)> = UnixStream::pair;
            let _: fn(&UnixStream) -> io::Result<UnixStream> = UnixStream::try_clone;
            let _: fn(&UnixStream) -> io::Result<UnixAddr> = UnixStream::local_addr;
            let _: fn(&UnixStream) -> io::Result<UnixAddr> = UnixStream::peer_addr;
            let _: fn(&UnixStream, Time) -> io::Result<()> = UnixStream::set_read_timeout;
            let _: fn(&UnixStream, Time) -> io::Result<()> = UnixStream::set_write_timeout;
            let _: fn(&UnixStream) -> io::Result<Time> = UnixStream::read_timeout;
            let _: fn(&UnixStream) -> io::Result<Time> = UnixStream::write_timeout;
            let _: fn(&UnixStream, bool) -> io::Result<()> = UnixStream::set_nonblocking;
            let _: fn(&UnixStream) -> Error = UnixStream::take_error;
            let _: fn(&UnixStream, Shutdown) -> io::Result<()> = UnixStream::shutdown;

            type Received = io::Result<(usize, UnixAddr)>;
            let _: fn(&'static str) -> io::Result<UnixDatagram> = UnixDatagram::bind;
            let _: fn(&UnixAddr) -> io::Result<UnixDatagram> = UnixDatagram::bind_addr;
            let _: fn() -> io::Result<UnixDatagram> = UnixDatagram::unbound;
            let _: fn() -> io::Result<(UnixDatagram, UnixDatagram)> = UnixDatagram::pair;
            let _: fn(&UnixDatagram, &'static str) -> io::Result<()> = UnixDatagram::connect;
            let _: fn(&UnixDatagram, &UnixAddr) -> io::Result<()> = UnixDatagram::connect_addr;
            let _: fn(&UnixDatagram) -> io::Result<UnixDatagram> = UnixDatagram::try_clone;
            let _: fn(&UnixDatagram) -> io::Result<UnixAddr> = UnixDatagram::local_addr;
            let _: fn(&UnixDatagram) -> io::Result<UnixAddr> = UnixDatagram::peer_addr;
            let _: fn(&UnixDatagram, &mut [u8]) -> Received = UnixDatagram::recv_from;
            let _: fn(&UnixDatagram, &mut [u8]) -> io::Result<usize> = UnixDatagram::recv;
            let _: fn(&UnixDatagram, &[u8], &'static str) -> io::Result<usize> =
                UnixDatagram::send_to;
            let _: fn(&UnixDatagram, &[u8], &UnixAddr) -> io::Result<usize> =
                UnixDatagram::send_to_addr;
            let _: fn(&UnixDatagram, &[u8]) -> io::Result<usize> = UnixDatagram::send;
            let _: fn(&UnixDatagram, Time) -> io::Result<()> = UnixDatagram::set_read_timeout;
            let _: fn(&UnixDatagram, Time) -> io::Result<()> = UnixDatagram::set_write_timeout;
            let _: fn(&UnixDatagram) -> io::Result<Time> = UnixDatagram::read_timeout;
            let _: fn(&UnixDatagram) -> io::Result<Time> = UnixDatagram::write_timeout;
            let _: fn(&UnixDatagram, bool) -> io::Result<()> = UnixDatagram::set_nonblocking;
            let _: fn(&UnixDatagram) -> Error = UnixDatagram::take_error;
            let _: fn(&UnixDatagram, Shutdown) -> io::Result<()> = UnixDatagram::shutdown;
        }

        pub(crate) fn files() {
            type P = &'static str;
            let _: fn(P) -> io::Result<PathBuf> = fs::canonicalize;
            let _: fn(P, P) -> io::Result<u64> = fs::copy;
            let _: [fn(P) -> io::Result<()>; 5] = [
                fs::create_dir,
                fs::create_dir_all,
                fs::remove_dir,
                fs::remove_dir_all,
                fs::remove_file,
            ];
            let _: fn(P) -> io::Result<bool> = fs::exists;
            let _: [fn(P, P) -> io::Result<()>; 3] = [fs::hard_link, fs::rename, symlink];
            let _: [fn(P) -> io::Result<Metadata>; 2] = [fs::metadata, fs::symlink_metadata];
            let _: fn(P) -> io::Result<Vec<u8>> = fs::read;
            let _: fn(P) -> io::Result<ReadDir> = fs::read_dir;
            let _: fn(P) -> io::Result<PathBuf> = fs::read_link;
            let _: fn(P) -> io::Result<String> = fs::read_to_string;
            let _: fn(P, Permissions) -> io::Result<()> = fs::set_permissions;
            let _: fn(P, Vec<u8>) -> io::Result<()> = fs::write;
            let _: fn(P, Option<u32>, Option<u32>) -> io::Result<()> = chown;

            let _: [fn(P) -> io::Result<File>; 3] = [File::open, File::create, File::create_new];
            let _: fn() -> OpenOptions = File::options;
            let _: [fn(&File) -> io::Result<()>; 5] =
                [File::sync_all, File::sync_data, File::lock, File::lock_shared, File::unlock];
            let _: [fn(&File) -> Result<(), TryLockError>; 2] =
                [File::try_lock, File::try_lock_shared];
            let _: fn(&File, u64) -> io::Result<()> = File::set_len;
            let _: fn(&File) -> io::Result<Metadata> = File::metadata;
            let _: fn(&File) -> io::Result<File> = File::try_clone;
            let _: fn(&File, Permissions) -> io::Result<()> = File::set_permissions;
            let _: fn(&File, FileTimes) -> io::Result<()> = File::set_times;
            let _: fn(&File, SystemTime) -> io::Result<()> = File::set_modified;
            let _: fn(&File, &mut [u8], u64) -> io::Result<usize> = FileExt::read_at;
            let _: fn(&File, &mut [u8], u64) -> io::Result<()> = FileExt::read_exact_at;
            let _: fn(&File, &[u8], u64) -> io::Result<usize> = FileExt::write_at;
            let _: fn(&File, &[u8], u64) -> io::Result<()> = FileExt::write_all_at;

            type Set = fn(&mut OpenOptions, bool) -> &mut OpenOptions;
            let _: fn() -> OpenOptions = OpenOptions::new;
            let _: [Set; 3] = [OpenOptions::read, OpenOptions::write, OpenOptions::append];
            let _: [Set; 3] = [OpenOptions::truncate, OpenOptions::create, OpenOptions::create_new];
            let _: fn(&OpenOptions, P) -> io::Result<File> = OpenOptions::open;
            let _: fn(&mut OpenOptions, u32) -> &mut OpenOptions = OpenOptionsExt::mode;
            let _: fn(&mut OpenOptions, i32) -> &mut OpenOptions = OpenOptionsExt::custom_flags;

            let _: fn() -> DirBuilder = DirBuilder::new;
            let _: fn(&mut DirBuilder, bool) -> &mut DirBuilder = DirBuilder::recursive;
            let _: fn(&DirBuilder, P) -> io::Result<()> = DirBuilder::create;
            let _: fn(&mut DirBuilder, u32) -> &mut DirBuilder = DirBuilderExt::mode;
            let _: fn(&DirEntry) -> PathBuf = DirEntry::path;
            let _: fn(&DirEntry) -> io::Result<Metadata> = DirEntry::metadata;
            let _: fn(&DirEntry) -> io::Result<FileType> = DirEntry::file_type;
            let _: fn(&DirEntry) -> OsString = DirEntry::file_name;
            let _: fn(&DirEntry) -> u64 = DirEntryExt::ino;
        }

        pub(crate) fn processes() {
            type P = &'static str;
            type This = Command;
            let _: fn(P) -> Command = Command::new;
            let _: [fn(&mut This, P) -> &mut This; 3] =
                [Command::arg, Command::env_remove, Command::current_dir];
            let _: fn(&mut This, [P; 2]) -> &mut This = Command::args;
            let _: fn(&mut This, P, P) -> &mut This = Command::env;
            let _: fn(&mut This, [(P, P); 2]) -> &mut This = Command::envs;
            let _: fn(&mut This) -> &mut This = Command::env_clear;
            let _: [fn(&mut This, Stdio) -> &mut This; 3] =
                [Command::stdin, Command::stdout, Command::stderr];
            let _: fn(&mut This) -> io::Result<Child> = Command::spawn;
            let _: fn(&mut This) -> io::Result<Output> = Command::output;
            let _: fn(&mut This) -> io::Result<ExitStatus> = Command::status;
            let _: fn(&This) -> &OsStr = Command::get_program;
            let _: fn(&This) -> CommandArgs<'_> = Command::get_args;
            let _: fn(&This) -> CommandEnvs<'_> = Command::get_envs;
            let _: fn(&This) -> Option<&Path> = Command::get_current_dir;
            let _: [fn(&mut This, u32) -> &mut This; 2] = [Command::uid, Command::gid];
            let _: fn(&mut This, i32) -> &mut This = Command::process_group;
            let _: fn(&mut This, P) -> &mut This = Command::arg0;
            let _: fn(&mut This) -> io::Error = Command::exec;
            let _: unsafe fn(&mut This, fn() -> io::Result<()>) -> &mut This = Command::pre_exec;

            let _: fn(&Child) -> u32 = Child::id;
            let _: fn(&mut Child) -> io::Result<()> = Child::kill;
            let _: fn(&mut Child) -> io::Result<ExitStatus> = Child::wait;
            let _: fn(&mut Child) -> io::Result<Option<ExitStatus>> = Child::try_wait;
            let _: fn(Child) -> io::Result<Output> = Child::wait_with_output;
        }

        pub(crate) fn threads() {
            let _: fn(fn() -> u8) -> JoinHandle<u8> = thread::spawn;
            let _: fn() = thread::yield_now;
            let _: fn() -> Thread = thread::current;
            let _: fn() -> bool = thread::panicking;
            let _: fn() -> io::Result<NonZero<usize>> = thread::available_parallelism;
            let _: fn(JoinHandle<u8>) -> thread::Result<u8> = JoinHandle::join;
            let _: fn(&JoinHandle<u8>) -> bool = JoinHandle::is_finished;
            let _: fn(&Thread) = Thread::unpark;
            let _: fn(&Thread) -> ThreadId = Thread::id;
            let _: fn(&Thread) -> Option<&str> = Thread::name;
            let _: fn() -> Builder = Builder::new;
            let _: fn(Builder, String) -> Builder = Builder::name;
            let _: fn(Builder, usize) -> Builder = Builder::stack_size;
            let _: fn(Builder, fn() -> u8) -> io::Result<JoinHandle<u8>> = Builder::spawn;
        }

        pub(crate) fn locks() {
            let _: fn(u8) -> Mutex<u8> = Mutex::new;
            let _: fn(u8) -> Mutex<u8> = From::from;
            let _: fn() -> Mutex<u8> = Default::default;
            let _: fn(Mutex<u8>) -> LockResult<u8> = Mutex::into_inner;
            let _: fn(&mut Mutex<u8>) -> LockResult<&mut u8> = Mutex::get_mut;
            let _: fn(u8) -> RwLock<u8> = RwLock::new;
            let _: fn(u8) -> RwLock<u8> = From::from;
            let _: fn(RwLock<u8>) -> LockResult<u8> = RwLock::into_inner;
            let _: fn(&mut RwLock<u8>) -> LockResult<&mut u8> = RwLock::get_mut;
            let _: fn(RwLockWriteGuard<'static, u8>) -> RwLockReadGuard<'static, u8> =
                RwLockWriteGuard::downgrade;
            let _: fn() -> Condvar = Condvar::new;
            let _: [fn(&Condvar); 2] = [Condvar::notify_one, Condvar::notify_all];
            let _: fn(&WaitTimeoutResult) -> bool = WaitTimeoutResult::timed_out;
            let _: fn(usize) -> Barrier = Barrier::new;
            let _: fn(&BarrierWaitResult) -> bool = BarrierWaitResult::is_leader;
            let _: fn() -> OnceLock<u8> = OnceLock::new;
            let _: fn(u8) -> OnceLock<u8> = From::from;
            let _: fn(&OnceLock<u8>) -> Option<&u8> = OnceLock::get;
            let _: fn(&mut OnceLock<u8>) -> Option<&mut u8> = OnceLock::get_mut;
            let _: fn(&OnceLock<u8>, u8) -> Result<(), u8> = OnceLock::set;
            let _: fn(OnceLock<u8>) -> Option<u8> = OnceLock::into_inner;
            let _: fn(&mut OnceLock<u8>) -> Option<u8> = OnceLock::take;
            let _: fn(fn() -> u8) -> LazyLock<u8> = LazyLock::new;
            let _: fn(&LazyLock<u8>) -> &u8 = LazyLock::force;
            assert_eq!(OnceLock::from(1).clone(), OnceLock::from(1));
        }

        pub(crate) fn channels() {
            let _: fn() -> (Sender<u8>, Receiver<u8>) = mpsc::channel;
            let _: fn(usize) -> (SyncSender<u8>, Receiver<u8>) = mpsc::sync_channel;
            let _: fn(&Sender<u8>, u8) -> Result<(), SendError<u8>> = Sender::send;
            let _: fn(&SyncSender<u8>, u8) -> Result<(), SendError<u8>> = SyncSender::send;
            let _: fn(&SyncSender<u8>, u8) -> Result<(), TrySendError<u8>> = SyncSender::try_send;
            let _: fn(&Receiver<u8>) -> Result<u8, RecvError> = Receiver::recv;
            let _: fn(&Receiver<u8>) -> Result<u8, TryRecvError> = Receiver::try_recv;
            let _: fn(&Receiver<u8>, Duration) -> Result<u8, RecvTimeoutError> =
                Receiver::recv_timeout;
            let _: fn(&Receiver<u8>) -> mpsc::Iter<'_, u8> = Receiver::iter;
            let _: fn(&Receiver<u8>) -> mpsc::TryIter<'_, u8> = Receiver::try_iter;
            let _: fn(Receiver<u8>) -> mpsc::IntoIter<u8> = IntoIterator::into_iter;
            let (sender, receiver) = mpsc::channel();
            assert_eq!(sender.send(1), Ok(()));
            assert_eq!(receiver.recv(), Ok(1));
            assert_eq!(receiver.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
        }

        pub(crate) fn traits() {
            fn descriptor<T: AsFd + AsRawFd + IntoRawFd + Into<OwnedFd> + Debug>() {}
            descriptor::<TcpListener>();
            descriptor::<TcpStream>();
            descriptor::<UdpSocket>();
            descriptor::<UnixListener>();
            descriptor::<UnixStream>();
            descriptor::<UnixDatagram>();
            descriptor::<File>();
            descriptor::<ChildStdin>();
            descriptor::<ChildStdout>();
            descriptor::<ChildStderr>();
            fn stream<T: Read + Write>()
            where
                for<'a> &'a T: Read + Write,
            {
            }
            stream::<TcpStream>();
            stream::<UnixStream>();
            stream::<File>();
            fn written<T: Write + Into<Stdio>>() {}
            written::<ChildStdin>();
            written::<File>();
            fn read<T: Read + Into<Stdio>>() {}
            read::<ChildStdout>();
            read::<ChildStderr>();
            fn iterates<T>()
            where
                for<'a> &'a T: IntoIterator,
            {
            }
            iterates::<UnixListener>();
            iterates::<Receiver<u8>>();
            fn between_threads<T: Send + Sync>() {}
            between_threads::<Mutex<u8>>();
            between_threads::<RwLock<u8>>();
            between_threads::<Condvar>();
            between_threads::<Barrier>();
            between_threads::<OnceLock<u8>>();
            between_threads::<LazyLock<u8>>();
            between_threads::<Sender<u8>>();
            between_threads::<SyncSender<u8>>();
            between_threads::<Thread>();
            fn shown<T: Debug + Display>() {}
            shown::<MutexGuard<'static, u8>>();
            shown::<RwLockReadGuard<'static, u8>>();
            shown::<RwLockWriteGuard<'static, u8>>();
        }
    };
}

/// What both use of std.
macro_rules! common {
    () => {
        use std::ffi::{OsStr, OsString};
        use std::fmt::{Debug, Display};
        use std::io::{self, Read, Write};
        use std::num::NonZero;
        use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
        use std::path::{Path, PathBuf};
        use std::time::{Duration, SystemTime};
    };
}

mod with_std {
    use std::fs::{
        self, DirBuilder, DirEntry, File, FileTimes, FileType, Metadata, OpenOptions, Permissions,
        ReadDir, TryLockError,
    };
    use std::net::{
        Incoming, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
    };
    use std::os::unix::fs::{DirBuilderExt, DirEntryExt, FileExt, OpenOptionsExt, chown, symlink};
    use std::os::unix::net::{
        Incoming as UnixIncoming, SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream,
    };
    use std::os::unix::process::CommandExt;
    use std::process::{
        Child, ChildStderr, ChildStdin, ChildStdout, Command, CommandArgs, CommandEnvs, ExitStatus,
        Output, Stdio,
    };
    use std::sync::mpsc::{
        self, Receiver, RecvError, RecvTimeoutError, SendError, Sender, SyncSender, TryRecvError,
        TrySendError,
    };
    use std::sync::{
        Barrier, BarrierWaitResult, Condvar, LazyLock, LockResult, Mutex, MutexGuard, OnceLock,
        RwLock, RwLockReadGuard, RwLockWriteGuard, WaitTimeoutResult,
    };
    use std::thread::{self, Builder, JoinHandle, Thread, ThreadId};

    common!();
    signatures!();
}

mod with_cede {
    use cede::fs::{
        self, DirBuilder, DirEntry, File, FileTimes, FileType, Metadata, OpenOptions, Permissions,
        ReadDir, TryLockError,
    };
    use cede::net::{
        Incoming, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
    };
    use cede::os::unix::fs::{DirBuilderExt, DirEntryExt, FileExt, OpenOptionsExt, chown, symlink};
    use cede::os::unix::net::{
        Incoming as UnixIncoming, SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream,
    };
    use cede::process::{
        Child, ChildStderr, ChildStdin, ChildStdout, Command, CommandArgs, CommandEnvs, ExitStatus,
        Output, Stdio,
    };
    use cede::sync::mpsc::{
        self, Receiver, RecvError, RecvTimeoutError, SendError, Sender, SyncSender, TryRecvError,
        TrySendError,
    };
    use cede::sync::{
        Barrier, BarrierWaitResult, Condvar, LazyLock, LockResult, Mutex, MutexGuard, OnceLock,
        RwLock, RwLockReadGuard, RwLockWriteGuard, WaitTimeoutResult,
    };
    use cede::thread::{self, Builder, JoinHandle, Thread, ThreadId};

    common!();
    signatures!();
}

/// What the compiler has proven needs no run; the few values in it do.
#[test]
fn methods_have_the_signatures_of_std() {
    macro_rules! all {
        ($names:ident) => {
            $names::net();
            $names::unix();
            $names::files();
            $names::processes();
            $names::threads();
            $names::locks();
            $names::channels();
            $names::traits();
        };
    }
    all!(with_std);
    cede::run(|| {
        all!(with_cede);
    })
    .unwrap();
}
