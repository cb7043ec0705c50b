//! oauth_provider
