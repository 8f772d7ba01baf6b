"""Hypothesis strategies for permission codes and grants."""

from hypothesis import strategies as st

SEGMENTS = ("a", "b", "z")
CODES = st.builds(
    "{}:/{}/{}".format,
    st.sampled_from(["GET", "PUT"]),
    st.sampled_from(SEGMENTS),
    st.sampled_from(SEGMENTS),
)
GRANTS = st.one_of(
    CODES, st.sampled_from(["*:**", "GET:**", "*:/a/**", "PUT:/*/b", "*:/*/z", "GET:/*/**"])
)
