//! The macro `select!`.
//!
//! It turns its branches into the list `(first, (second, ()))`, waits for one of them by
//! [`wait`](crate::sync::select::wait), drops the list, and only then runs the arm: what an arm
//! does is not held up by what the others borrow.

/// Waits for the first of several things and runs its arm.
///
/// ```text
/// select! {
///     [biased;]
///     PATTERN = WHAT(..) [, if CONDITION] => ARM,
///     ...
///     [default => ARM,]
/// }
/// ```
///
/// | what | gives | when |
/// |---|---|---|
/// | `recv(&receiver)` | `Result<T, RecvError>` | something came through an mpsc or oneshot channel |
/// | `recv(&mut receiver)` | what its `recv` or `changed` gives | the same for broadcast and watch |
/// | `send(&sender, value)` | `Result<(), SendError<T>>` | a channel with a limit has room |
/// | `sleep(duration)`, `timeout(duration)`, `sleep_until(instant)` | `()` | the time has come |
/// | `join(&mut handle)` | `Result<T, JoinError>` | a fiber has ended, here or on another shard |
/// | `future(&mut future)` | its output | a future is ready |
/// | `readable(&socket)` | `io::Result<()>` | there is something to read, the end, or a connection to accept |
/// | `park()` | `()` | this fiber was woken by [`Fiber::wakeup`](crate::Fiber::wakeup) |
///
/// The whole is an `io::Result` of what the arms give: the error is that of a wait that was cut
/// short by a cancel or a deadline, and then no arm was run. With `default` it does not wait: if
/// nothing is there, that arm is run.
///
/// **Nothing is lost.** A branch that is not taken has taken nothing: its value stays in the
/// channel, and the `value` of `send` is not even evaluated. When several can be taken, one is
/// chosen by chance, so none starves; with `biased;` it is the first. A pattern must match always;
/// a branch whose condition is false is left out. Patterns and arms are written as in `match`; an
/// arm may `break`, `return` and use `?`.
///
/// It works in plain threads as well, for what is not bound to a shard.
///
/// # Examples
///
/// A worker that ends when it is told to, or when it has had nothing to do for a while:
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use std::time::Duration;
/// use cede::{select, sync::{mpsc, oneshot}};
///
/// let (jobs, queue) = mpsc::channel();
/// let (stop, stopped) = oneshot::channel::<()>();
/// let worker = cede::spawn(move || {
///     let mut done = Vec::new();
///     loop {
///         select! {
///             job = recv(&queue) => match job {
///                 Ok(job) => done.push(job),
///                 Err(_) => return Ok(done), // no more senders
///             },
///             _ = recv(&stopped) => return Ok(done),
///             _ = sleep(Duration::from_secs(5)) => return Ok(done),
///         }?;
///     }
///     # #[allow(unreachable_code)]
///     std::io::Result::Ok(done)
/// });
/// jobs.send(1).unwrap();
/// jobs.send(2).unwrap();
/// while !jobs.is_empty() {
///     cede::yield_now();
/// }
/// stop.send(()).unwrap();
/// assert_eq!(worker.join().unwrap()?, [1, 2]);
/// # Ok(()) }).unwrap().unwrap();
/// ```
///
/// Whatever is possible first, or nothing at all:
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::{select, sync::mpsc};
///
/// let (sender, receiver) = mpsc::sync_channel(1);
/// let mut log = Vec::new();
/// for _ in 0..3 {
///     let done = select! {
///         biased;
///         sent = send(&sender, "a value") => { sent.unwrap(); "sent" }
///         got = recv(&receiver), if log.len() < 2 => { assert!(got.is_ok()); "received" }
///         default => "nothing",
///     }?;
///     log.push(done);
/// }
/// assert_eq!(log, ["sent", "received", "sent"]);
/// assert_eq!(select! { _ = send(&sender, "b") => "sent", default => "nothing" }?, "nothing");
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[macro_export]
macro_rules! select {
    (biased; $($branches:tt)+) => {
        $crate::__select!(@next (true) () () $($branches)+)
    };
    ($($branches:tt)+) => {
        $crate::__select!(@next (false) () () $($branches)+)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    // @next (biased) (branches so far) (default so far) rest: reads a head, or is done.
    (@next ($biased:expr) ($($done:tt)+) ()) => {{
        let output = $crate::sync::select::wait(&$crate::__select!(@list $($done)+), $biased);
        #[allow(unreachable_code, clippy::diverging_sub_expression)]
        let result: ::std::io::Result<_> = match output {
            ::std::result::Result::Ok(output) => {
                ::std::result::Result::Ok($crate::__select!(@arms output $($done)+))
            }
            ::std::result::Result::Err(error) => ::std::result::Result::Err(error),
        };
        result
    }};
    (@next ($biased:expr) ($($done:tt)*) ($default:expr)) => {{
        let output = $crate::sync::select::poll(&$crate::__select!(@list $($done)*), $biased);
        #[allow(unreachable_code, clippy::diverging_sub_expression)]
        let result: ::std::io::Result<_> = ::std::result::Result::Ok(match output {
            ::std::option::Option::Some(output) => $crate::__select!(@arms output $($done)*),
            ::std::option::Option::None => $default,
        });
        result
    }};
    (@next $biased:tt $done:tt () default => $($rest:tt)+) => {
        $crate::__select!(@body $biased $done () {default} $($rest)+)
    };
    (@next $biased:tt $done:tt $default:tt
        $pattern:pat = $name:ident($($args:tt)*), if $on:expr => $($rest:tt)+) => {
        $crate::__select!(
            @body $biased $done $default {branch ($pattern) $name ($($args)*) ($on)} $($rest)+
        )
    };
    (@next $biased:tt $done:tt $default:tt
        $pattern:pat = $name:ident($($args:tt)*) => $($rest:tt)+) => {
        $crate::__select!(
            @body $biased $done $default {branch ($pattern) $name ($($args)*) (true)} $($rest)+
        )
    };

    // @body (biased) (branches) (default) {head} rest: reads an arm.
    (@body $biased:tt $done:tt $default:tt $head:tt $body:block, $($rest:tt)*) => {
        $crate::__select!(@add $biased $done $default $head ($body) $($rest)*)
    };
    (@body $biased:tt $done:tt $default:tt $head:tt $body:block $($rest:tt)*) => {
        $crate::__select!(@add $biased $done $default $head ($body) $($rest)*)
    };
    (@body $biased:tt $done:tt $default:tt $head:tt $body:expr, $($rest:tt)*) => {
        $crate::__select!(@add $biased $done $default $head ($body) $($rest)*)
    };
    (@body $biased:tt $done:tt $default:tt $head:tt $body:expr) => {
        $crate::__select!(@add $biased $done $default $head ($body))
    };

    (@add $biased:tt $done:tt $default:tt {default} $body:tt $($rest:tt)*) => {
        $crate::__select!(@next $biased $done $body $($rest)*)
    };
    (@add $biased:tt ($($done:tt)*) $default:tt {branch $($head:tt)+} $body:tt $($rest:tt)*) => {
        $crate::__select!(@next $biased ($($done)* [$($head)+ $body]) $default $($rest)*)
    };

    // @list [branch]...: the value that is waited with.
    (@list) => { () };
    (@list [$pattern:tt $name:ident $args:tt ($on:expr) $body:tt] $($rest:tt)*) => {
        (
            $crate::sync::select::OnlyIf::new($crate::__select!(@branch $name $args), $on),
            $crate::__select!(@list $($rest)*),
        )
    };
    (@branch send ($sender:expr, $value:expr $(,)?)) => {
        $crate::sync::select::send($sender)
    };
    (@branch $name:ident ($($args:tt)*)) => {
        $crate::sync::select::$name($($args)*)
    };

    // @arms output [branch]...: runs the arm of the branch that was taken.
    (@arms $output:ident) => { match $output {} };
    (@arms $output:ident
        [($pattern:pat) send ($sender:expr, $value:expr $(,)?) $on:tt ($body:expr)]
        $($rest:tt)*) => {
        match $output {
            $crate::sync::select::Either::First(permit) => {
                let $pattern = permit.send($value);
                $body
            }
            $crate::sync::select::Either::Rest(output) => {
                $crate::__select!(@arms output $($rest)*)
            }
        }
    };
    (@arms $output:ident
        [($pattern:pat) $name:ident $args:tt $on:tt ($body:expr)] $($rest:tt)*) => {
        match $output {
            $crate::sync::select::Either::First(value) => {
                let $pattern = value;
                $body
            }
            $crate::sync::select::Either::Rest(output) => {
                $crate::__select!(@arms output $($rest)*)
            }
        }
    };
}
