"""A Streamlit page that people sign in to."""

import streamlit as st

if not st.user.is_logged_in:
    st.button("Sign in", on_click=st.login)
    st.text("Nobody is signed in.")
else:
    st.text(f"Hello, {st.user.preferred_username}, {st.user.email}.")
    st.button("Sign out", on_click=st.logout)
