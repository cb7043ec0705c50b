//! Signing in, staying in and getting out, over HTTP: the production router, a simulated upstream, people with browsers.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

/// Newcomers: accounts under a derived or a chosen name (AC-1, AC-11, AC-12).
#[path = "auth/onboarding.rs"]
mod onboarding;

/// Two at once, behind a barrier, a hundred rounds (AC-1, AC-8, AC-11, UP-1).
#[path = "auth/races.rs"]
mod races;

/// The cookies of a session, and what they open (SE-1 to SE-3, SE-7, SE-9).
#[path = "auth/cookies.rs"]
mod cookies;

/// Renewal of a session by its cookie (RT, SE-4).
#[path = "auth/renewal.rs"]
mod renewal;

/// The end of a session: logout, another person, a forged request (SE-2 to SE-5).
#[path = "auth/logout.rs"]
mod logout;

/// What binds a sign-in to its browser, its provider and its moment (security UP-1 to UP-4, RD-1 to RD-3).
#[path = "auth/flows.rs"]
mod flows;

/// Upstreams that lie, break or are slow: what the person sees (security UP-3 to UP-14).
#[path = "auth/upstream_faults.rs"]
mod upstream_faults;

/// What an app's request asks of the upstream, and what proves a new login (AZ-17, AZ-18).
#[path = "auth/reauthentication.rs"]
mod reauthentication;

/// Who may join, and who may no longer come in.
#[path = "auth/signup.rs"]
mod signup;

/// Transactions that the database gave up are tried again (DB-6).
#[path = "auth/given_up.rs"]
mod given_up;

/// What is not understood, on the way in: a clear 4xx, and nothing is used up, stored or changed.
#[path = "auth/bad_input.rs"]
mod bad_input;
