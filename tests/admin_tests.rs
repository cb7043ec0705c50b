//! Administration over HTTP and on the command line: who may, what it does, and what it never lets happen.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

/// Who gets in: nobody but administrators, whatever is asked for (AD-1 to AD-4, SE-4, SE-5, AC-12).
#[path = "admin/access.rs"]
mod access;

/// Every write: judged before it is read, done once, on record (AD-1 to AD-3, AD-8).
#[path = "admin/writes.rs"]
mod writes;

/// Accounts: found, read, given a role, disabled, enabled, signed out, deleted.
#[path = "admin/users.rs"]
mod users;

/// Apps: registered, read, changed, disabled, given another secret, removed (AD-6, AZ-4, AZ-24, AZ-25).
#[path = "admin/clients.rs"]
mod clients;

/// Reserved names, and what an error page's id stands for.
#[path = "admin/names_and_errors.rs"]
mod names_and_errors;

/// The last administrator, under races (AC-9).
#[path = "admin/races.rs"]
mod races;

/// Who is demoted, disabled or deleted while a request of theirs waits (AD-1, SE-4).
#[path = "admin/meanwhile.rs"]
mod meanwhile;

/// Every operation of the document, accounts' and administration's, with what nobody should send (AC-12, AD-2 to AD-4, RS-2).
#[path = "admin/bad_input.rs"]
mod bad_input;

/// The same on the command line.
#[path = "admin/command_line.rs"]
mod command_line;
