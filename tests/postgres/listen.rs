//! LISTEN and NOTIFY.

use std::time::Duration;

use cede::postgres::{Client, Error, ErrorKind, Event, NOTIFICATIONS_MAX, Notifications};

use crate::common::within_reason;
use crate::postgres::Postgres;
use crate::with_client;

fn payload(notifications: &mut Notifications) -> String {
    match notifications.recv().unwrap() {
        Event::Notification(notification) => {
            assert_eq!(notification.channel, notifications.channel());
            notification.payload
        }
        other => panic!("{other:?}"),
    }
}

fn process(client: &Client) -> i32 {
    client.query_one("select pg_backend_pid()", &[]).unwrap().get(0)
}

#[test]
fn notifications_come_to_all_who_listen_in_their_order() {
    with_client(|client| {
        let sender = Client::connect(Postgres::shared().url("postgres")).unwrap();
        let mut first = client.listen("l1").unwrap();
        let mut second = client.listen("l1").unwrap();
        let mut other = client.listen("l1 \"quoted\"; drop table x --\u{e9}").unwrap();
        sender.notify("l1", "one").unwrap();
        sender.notify("l1", "").unwrap();
        sender.notify("l1 \"quoted\"; drop table x --\u{e9}", "three").unwrap();
        sender.notify("not listened to", "four").unwrap();
        for notifications in [&mut first, &mut second] {
            assert_eq!(payload(notifications), "one");
            assert_eq!(payload(notifications), "");
            assert_eq!(notifications.try_recv(), None);
        }
        assert_eq!(payload(&mut other), "three");
        // A fiber that waits is woken, and its own session's notifications count too.
        let waiter = cede::spawn(move || first.recv());
        cede::yield_now();
        client.notify("l1", "five").unwrap();
        let Event::Notification(notification) = waiter.join().unwrap().unwrap() else {
            panic!("no notification");
        };
        assert_eq!((&*notification.payload, notification.process_id), ("five", process(&client)));
        // Only what is committed.
        let failed = sender.transaction(|tx| {
            tx.notify("l1", "rolled back")?;
            tx.execute("select 1/0", &[])
        });
        assert!(failed.is_err());
        sender
            .transaction(|tx| {
                tx.notify("l1", "committed")?;
                cede::sleep(Duration::from_millis(5))?;
                Ok::<_, Error>(())
            })
            .unwrap();
        assert_eq!(payload(&mut second), "five");
        assert_eq!(payload(&mut second), "committed");
    });
}

#[test]
fn a_wait_ends_in_time_and_by_a_cancel() {
    with_client(|client| {
        let mut notifications = client.listen("l2").unwrap();
        assert_eq!(notifications.recv_timeout(Duration::from_millis(5)).unwrap(), None);
        let late = cede::with_deadline(Duration::from_millis(5), || notifications.recv());
        assert!(late.unwrap_err().is_timeout());
        let late = cede::with_deadline(Duration::from_millis(5), || {
            notifications.recv_timeout(Duration::from_secs(100))
        });
        assert!(late.unwrap_err().is_timeout());
        let fiber = cede::spawn(move || (notifications.recv().unwrap_err(), notifications));
        cede::yield_now();
        fiber.cancel();
        let (error, mut notifications) = fiber.join().unwrap();
        assert!(error.is_cancelled() && cede::is_cancelled(&error));
        client.notify("l2", "after all").unwrap();
        assert_eq!(payload(&mut notifications), "after all");
    });
}

#[test]
fn who_does_not_keep_up_is_told_how_many_are_lost() {
    with_client(|client| {
        let mut slow = client.listen("l3").unwrap();
        let total = NOTIFICATIONS_MAX as i32 + 500;
        let sql = "select count(pg_notify('l3', i::text)) from generate_series(1, $1) i";
        client.query_one(sql, &[&total]).unwrap();
        // They come before this answer.
        client.query_one("select 1", &[]).unwrap();
        for i in 1..=NOTIFICATIONS_MAX {
            assert_eq!(payload(&mut slow), i.to_string());
        }
        assert_eq!(slow.recv().unwrap(), Event::Overflowed(500));
        client.notify("l3", "next").unwrap();
        assert_eq!(payload(&mut slow), "next");
    });
}

#[test]
fn a_lost_connection_is_listened_on_again_and_said_so() {
    with_client(|client| {
        let killer = Client::connect(Postgres::shared().url("postgres")).unwrap();
        let mut notifications = client.listen("l4").unwrap();
        let mut second = client.listen("l4 other").unwrap();
        killer.notify("l4", "before").unwrap();
        let first = process(&client);
        killer.query("select pg_terminate_backend($1)", &[&first]).unwrap();
        assert_eq!(payload(&mut notifications), "before");
        // Nobody but the listener uses the client.
        assert_eq!(notifications.recv().unwrap(), Event::Reconnected);
        assert_ne!(process(&client), first);
        killer.notify("l4", "after").unwrap();
        killer.notify("l4 other", "after").unwrap();
        assert_eq!(payload(&mut notifications), "after");
        assert_eq!(second.recv().unwrap(), Event::Reconnected);
        assert_eq!(payload(&mut second), "after");
    });
}

#[test]
fn a_server_that_stays_away_is_an_error_and_then_is_waited_for() {
    let server = Postgres::start();
    let url = server.url("postgres");
    within_reason(move || {
        cede::run(move || {
            let client = Client::connect(url).unwrap();
            let mut notifications = client.listen("l5").unwrap();
            server.kill();
            let error = cede::with_deadline(Duration::from_millis(200), || notifications.recv());
            let error = error.unwrap_err();
            assert!(error.is_timeout() || error.kind() == ErrorKind::Connect, "{error}");
            let server = cede::blocking(move || {
                server.restart();
                server
            })
            .unwrap();
            let event = loop {
                match notifications.recv() {
                    Ok(event) => break event,
                    Err(error) => assert!(!error.is_cancelled(), "{error}"),
                }
            };
            assert_eq!(event, Event::Reconnected);
            client.notify("l5", "again").unwrap();
            assert_eq!(payload(&mut notifications), "again");
            drop((client, notifications));
            server
        })
        .unwrap()
    });
}

#[test]
fn nobody_listens_when_the_last_one_is_gone() {
    with_client(|client| {
        let channels = || -> Vec<String> {
            let sql = "select c from pg_listening_channels() c order by c";
            let rows = client.query(sql, &[]).unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        };
        let (one, two) = (client.listen("l6").unwrap(), client.listen("l6").unwrap());
        let three = client.listen("l7").unwrap();
        assert_eq!(channels(), ["l6", "l7"]);
        drop(one);
        drop(three);
        while channels().len() > 1 {
            cede::yield_now();
        }
        assert_eq!(channels(), ["l6"]);
        drop(two);
        // Somebody comes before it is done.
        let mut again = client.listen("l6").unwrap();
        cede::sleep(Duration::from_millis(5)).unwrap();
        assert_eq!(channels(), ["l6"]);
        client.notify("l6", "still").unwrap();
        assert_eq!(payload(&mut again), "still");
    });
}

#[test]
fn channels_that_cannot_be_are_refused() {
    with_client(|client| {
        for channel in ["", &"x".repeat(64)] {
            let error = client.listen(channel).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::State, "{error}");
        }
        let long = "\u{e9}".repeat(31);
        let mut notifications = client.listen(&long).unwrap();
        client.notify(&long, "x").unwrap();
        assert_eq!(payload(&mut notifications), "x");
        let error = client.transaction(|tx| tx.listen("l8").map(drop)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State, "{error}");
        let error = client.notify("l8", &"x".repeat(8000)).unwrap_err();
        assert!(error.as_db_error().is_some(), "{error}");
    });
}
