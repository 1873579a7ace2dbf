//! The platform's poller behind one name, `Backend`.
//!
//! Linux waits on polling's epoll descriptor directly, everything else goes through polling itself.
//! Both offer the same five calls: `new`, `notifier`, `add`, `delete`, `wait` and `for_each` over
//! what `wait` brought.

cfg_select! {
    any(target_os = "linux", target_os = "android") => {
        mod epoll;
        pub(crate) use epoll::Backend;
        pub use epoll::Notifier;
        // The fallback is compiled and tested here too, so that it does not rot.
        #[cfg(test)]
        #[allow(unreachable_pub, reason = "public where it is the backend")]
        mod portable;
    }
    _ => {
        mod portable;
        pub(crate) use portable::Backend;
        pub use portable::Notifier;
    }
}

/// What is registered: a file descriptor, on Windows a socket.
#[cfg(unix)]
pub(crate) type RawSource = std::os::fd::RawFd;
/// What is registered: a file descriptor, on Windows a socket.
#[cfg(windows)]
pub(crate) type RawSource = std::os::windows::io::RawSocket;
