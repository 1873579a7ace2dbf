//! SQLite: real files, other processes that hold locks, deaths in the middle, and the answers of
//! another program to the same questions.

mod backups;
mod calls;
#[path = "../common/mod.rs"]
mod common;
mod damage;
mod folder;
mod giving_up;
mod opening;
mod others;
mod places;
#[path = "../common/spans.rs"]
mod spans;
mod tells;
mod values;
